"""A small network that acts and judges where it is: a policy over two actions, and the value of a state."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import log_softmax


class ActorCritic(nn.Module):
    """Observations → 64 → 64 with tanh, then a head of log-probabilities and one of the value.

    With o observations and a actions it has 64 o + 64² + 64 a + 192 + a + 1 parameters: 4,675 for o = 4, a = 2.
    """

    def __init__(self, observations: int, actions: int, width: int = 64) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(observations, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh())
        self.policy = nn.Linear(width, actions)
        self.value = nn.Linear(width, 1)

    def forward(self, observed: Tensor) -> tuple[Tensor, Tensor]:
        """(…, observations) → log-probabilities (…, actions), values (…)."""
        seen = self.body(observed)
        return log_softmax(self.policy(seen), -1), self.value(seen).squeeze(-1)
