"""`cartpole`: a policy learns to balance a pole on a cart, by actor and critic; gymnasium's CartPole-v1.

A row is the state that an episode begins in, so that a batch is as many episodes: whole ones, acted anew at each step
by the policy as it then is. All optimizers meet the same states in the same order, as on any other task.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from edsl.errors import EdslError
from edsl.lab.models.actor_critic import ActorCritic
from edsl.lab.tasks.catalogue import TASKS
from edsl.lab.tasks.task import Data, Split, Task

STEPS = 500  # after which an episode ends well
SPREAD = 0.05  # of the four numbers of a first state, uniform on both sides of 0, as gymnasium draws them
SIZES = (4096, 64, 128)  # first states for training, validation, test
EVALUATED = 128  # first states of a split that a policy is judged on
DISCOUNT = 0.99
VALUE, ENTROPY = 0.5, 0.01  # weights of the critic's error and of the policy's entropy


class Episodes(NamedTuple):
    """What was met, a column an episode, a row a step: (steps, episodes), up to the longest.

    Attributes:
        chosen: log-probability of the action. entropy: of the policy there. values: the critic's.
        alive: whether the episode had not ended before this step.
    """

    chosen: Tensor
    entropy: Tensor
    values: Tensor
    alive: Tensor

    @property
    def lengths(self) -> Tensor:
        """Steps of each episode: gymnasium's return."""
        return self.alive.sum(0)


class CartPole(nn.Module):
    """A policy in its environment: first states (episodes, 4) → `Episodes`, sampled in training, greedy in evaluation.

    Two layers of 64 with tanh, a head for the policy and one for the value: 4,675 parameters.

    Raises:
        EdslError: without gymnasium.
    """

    def __init__(self) -> None:
        super().__init__()
        self.network = ActorCritic(observations=4, actions=2)

    def forward(self, starts: Tensor) -> Episodes:
        states, actions, alive = self._acted(starts)
        probabilities, values = self.network(states)
        chosen = probabilities.gather(-1, actions[..., None]).squeeze(-1)
        entropy = -(probabilities.exp() * probabilities).sum(-1)
        return Episodes(chosen, entropy, values, alive)

    @torch.no_grad()
    def _acted(self, starts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """States (steps, episodes, 4), actions and whether each episode was alive, until all have ended."""
        environment = environment_at(starts)
        states, actions, alive = [], [], []
        state, running = starts, torch.ones(len(starts), dtype=torch.bool, device=starts.device)
        while running.any() and len(states) < STEPS:
            probabilities, _ = self.network(state)
            action = torch.multinomial(probabilities.exp(), 1)[:, 0] if self.training else probabilities.argmax(-1)
            states.append(state)
            actions.append(action)
            alive.append(running)
            observed, _, ended, *_ = environment.step(action.cpu().numpy())
            running = running & ~torch.from_numpy(ended.copy()).to(running.device)
            state = torch.from_numpy(observed).to(starts.device)
        return torch.stack(states), torch.stack(actions), torch.stack(alive)


def environment_at(starts: Tensor) -> Any:
    """As many of gymnasium's cart-poles, each in a state of its own.

    Raises:
        EdslError: without gymnasium.
    """
    try:
        from gymnasium.envs.classic_control.cartpole import CartPoleVectorEnv
    except ImportError:
        raise EdslError("task cartpole needs gymnasium 1 or later: pip install 'edsl-optim[rl]'") from None
    environment: Any = CartPoleVectorEnv(len(starts), max_episode_steps=STEPS + 1)
    environment.reset(seed=0)
    environment.state = starts.detach().cpu().numpy().astype(np.float64).T.copy()
    return environment


@lru_cache(maxsize=1)
def data() -> Data:
    """First states, drawn as gymnasium draws them; the targets are zeros that nobody reads."""
    environment_at(torch.zeros(1, 4))  # it says what is missing before anything runs
    drawn = torch.rand(sum(SIZES), 4, generator=torch.Generator().manual_seed(0))
    starts = (SPREAD * (2 * drawn - 1)).split(SIZES)
    return Data(*(Split(part, torch.zeros(len(part))) for part in starts))


def fallen(outputs: Episodes) -> Tensor:
    """The mean share of the 500 steps for which the pole was down."""
    return 1 - outputs.lengths.to(outputs.values.dtype).mean() / STEPS


def loss(outputs: Episodes, targets: Tensor) -> Tensor:
    """The share of steps for which the pole was down, whose gradient is the actor's and critic's.

        A_k = (1 − γ) Σ_{j ≥ k} γ^(j−k) − V(s_k),   −mean(Â log π(a_k | s_k)) + ½ mean(A²) − .01 mean(entropy)

    over the steps of all episodes, where Â is A with mean 0 and deviation 1, and the reward is 1 a step: the critic
    learns (1 − γ) times the return. The value is what is lost, so that losses of different policies can be compared,
    and those that read the loss alone (`spsa`) descend it too.

    Source: Sutton and Barto 2018, section 13.5; Mnih et al. 2016.
    """
    lost = fallen(outputs)
    if not outputs.chosen.requires_grad:
        return lost
    left = outputs.alive.flip(0).cumsum(0).flip(0).to(outputs.values.dtype)  # steps from here to the end
    error = (1 - DISCOUNT**left - outputs.values)[outputs.alive]
    advantage = error.detach()
    advantage = (advantage - advantage.mean()) / (advantage.std(correction=0) + 1e-6)
    actor = -(advantage * outputs.chosen[outputs.alive]).mean()
    surrogate = actor + VALUE * error.square().mean() - ENTROPY * outputs.entropy[outputs.alive].mean()
    return lost + surrogate - surrogate.detach()


def balanced(outputs: Episodes, targets: Tensor) -> float:
    """The mean share of the 500 steps that the pole stood: gymnasium's return over 500."""
    return float(1 - fallen(outputs))


CARTPOLE = Task(
    name="cartpole",
    data=data,
    models={"mlp": CartPole},
    loss=loss,
    accuracy=balanced,
    batch=16,
    steps=40,
    about=TASKS["cartpole"][1],
    evaluated=EVALUATED,
)
