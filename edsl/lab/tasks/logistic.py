"""`logistic`: logistic regression with an L2 penalty, convex, whose least loss is known to 1e-10."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from edsl.lab.tasks.catalogue import TASKS
from edsl.lab.tasks.task import Data, Split, Task

DIMENSIONS = 30
PENALTY = 1e-3  # λ of λ/2 ‖w‖²
SIZES = (8192, 1024, 1024)  # train, validation, test


@lru_cache(maxsize=1)
def data() -> Data:
    """Labels 1 with probability σ(⟨x, w⟩), where the inputs' deviations go from 1 to 1/10."""
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    inputs = normal(sum(SIZES), DIMENSIONS) * torch.logspace(0, -1, DIMENSIONS, dtype=torch.float64)
    chance = torch.sigmoid(inputs @ normal(DIMENSIONS))
    labels = torch.rand(len(inputs), generator=generator, dtype=torch.float64) < chance
    return Data(*map(Split, inputs.float().split(SIZES), labels.float().split(SIZES)))


class Penalised(nn.Module):
    """A weight for each of 30 inputs, from 0, and the penalty on them: 30 parameters, no bias."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1, DIMENSIONS))

    def forward(self, inputs: Tensor) -> Tensor:
        """(examples, 30) → (examples, 2): the logit, and λ/2 ‖w‖² in every row."""
        logits = inputs @ self.weight[0]
        penalty = PENALTY / 2 * self.weight.square().sum()
        return torch.stack([logits, penalty.expand_as(logits)], 1)


def loss(outputs: Tensor, targets: Tensor) -> Tensor:
    """mean log(1 + exp(∓logit)) + λ/2 ‖w‖²."""
    return binary_cross_entropy_with_logits(outputs[:, 0], targets) + outputs[:, 1].mean()


def accuracy(outputs: Tensor, targets: Tensor) -> float:
    """The share of rows whose logit has the sign of their class."""
    return ((outputs[:, 0] > 0) == (targets > 0.5)).float().mean().item()


@lru_cache(maxsize=1)
def solution() -> np.ndarray:
    """The weights (30,) of the least training loss, where its gradient is 0 but for rounding."""
    from scipy.optimize import root

    x, y = (part.double().numpy() for part in data().train)

    def gradient(w: np.ndarray) -> np.ndarray:
        return x.T @ (_sigmoid(x @ w) - y) / len(y) + PENALTY * w

    def hessian(w: np.ndarray) -> np.ndarray:
        share = _sigmoid(x @ w)
        return x.T @ (x * (share * (1 - share))[:, None]) / len(y) + PENALTY * np.eye(len(w))

    return root(gradient, np.zeros(DIMENSIONS), jac=hessian, tol=1e-14).x


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def optimum() -> float:
    """The least training loss: what a gradient g there leaves is at most ‖g‖²/2λ, so rounding alone, 1e-15."""
    x, y = (part.double() for part in data().train)
    w = torch.from_numpy(solution())
    return (binary_cross_entropy_with_logits(x @ w, y) + PENALTY / 2 * w @ w).item()


LOGISTIC = Task(
    name="logistic",
    data=data,
    models={"linear": Penalised},
    loss=loss,
    accuracy=accuracy,
    batch=64,
    steps=1000,
    about=TASKS["logistic"][1],
    optimum=optimum,
)
