"""`quadratic`: least squares with an ill-conditioned Hessian and noisy gradients, whose least loss is known."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor, nn

from edsl.lab.tasks.catalogue import TASKS
from edsl.lab.tasks.task import Data, Split, Task

DIMENSIONS = 50
NOISE = 0.1  # standard deviation of what no weights explain
SIZES = (8192, 1024, 1024)  # train, validation, test


@lru_cache(maxsize=1)
def data() -> Data:
    """b = ⟨a, w⟩ + noise with a ~ N(0, QΛQᵀ), Λ from 1 to 1/1000 in even ratios, Q any rotation."""
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    scales = torch.logspace(0, -3, DIMENSIONS, dtype=torch.float64).sqrt()
    rotation = torch.linalg.qr(normal(DIMENSIONS, DIMENSIONS)).Q
    weights = normal(DIMENSIONS)
    rows = normal(sum(SIZES), DIMENSIONS) * scales @ rotation.T
    answers = rows @ weights + NOISE * normal(sum(SIZES))
    inputs, targets = rows.float().split(SIZES), answers.float()[:, None].split(SIZES)
    return Data(*map(Split, inputs, targets))


def linear() -> nn.Module:
    """A weight for each of 50 inputs, no bias: 50 parameters."""
    return nn.Linear(DIMENSIONS, 1, bias=False)


def loss(outputs: Tensor, targets: Tensor) -> Tensor:
    """½ mean (output − target)²."""
    return (outputs - targets).square().mean() / 2


def solution() -> Tensor:
    """The weights (1, 50) of the least training loss, in float64."""
    inputs, targets = data().train
    return torch.linalg.lstsq(inputs.double(), targets.double(), driver="gelsd").solution.T


def optimum() -> float:
    """The least training loss, from the normal equations' solution in float64."""
    inputs, targets = data().train
    return loss(inputs.double() @ solution().T, targets.double()).item()


QUADRATIC = Task(
    name="quadratic",
    data=data,
    models={"linear": linear},
    loss=loss,
    accuracy=None,
    batch=64,
    steps=1000,
    about=TASKS["quadratic"][1],
    optimum=optimum,
)
