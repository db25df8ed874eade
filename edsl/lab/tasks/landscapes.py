"""`cardioid`, `rosenbrock`, `f1`, `f2`: a point that walks on a function, as a race."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from edsl.lab.landscapes.landscapes import LANDSCAPES, STEPS, Landscape
from edsl.lab.tasks.task import Data, Split, Task


class Point(nn.Module):
    """A point (d,) in float64, at a start that torch's global generator draws; its output is the function there."""

    def __init__(self, landscape: Landscape) -> None:
        super().__init__()
        seed = int(torch.randint(2**31, ()))
        self.function = landscape.function
        self.point = nn.Parameter(landscape.starts(1, seed)[0])

    def forward(self, inputs: Tensor) -> Tensor:
        return self.function(self.point).expand(len(inputs))


def data() -> Data:
    """One empty example in each split: the loss depends on the point alone."""
    row = Split(torch.zeros(1, 1), torch.zeros(1))
    return Data(row, row, row)


def loss(outputs: Tensor, targets: Tensor) -> Tensor:
    """f itself, which the model has computed."""
    return outputs.mean()


def _task(landscape: Landscape) -> Task:
    optimum = landscape.optimum
    return Task(
        name=landscape.name,
        data=data,
        models={"point": partial(Point, landscape)},
        loss=loss,
        accuracy=None,
        batch=1,
        steps=STEPS,
        about=f"{landscape.formula}: {landscape.about}",
        optimum=None if optimum is None else lambda: optimum,
    )


CARDIOID, ROSENBROCK, F1, F2 = (_task(LANDSCAPES[name]) for name in ("cardioid", "rosenbrock", "f1", "f2"))
