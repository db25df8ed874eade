"""How far the weights have come, and along which way."""

from __future__ import annotations

import math
from statistics import median

import torch
from torch import Tensor

from edsl.lab.measures.measure import Measure, Run


def copies(run: Run) -> list[Tensor]:
    """The weights as they are now."""
    return [parameter.detach().clone() for parameter in run.parameters]


def distance(run: Run, other: list[Tensor]) -> float:
    """‖θ − other‖ over all parameters."""
    squares = [(parameter.detach() - past).double().square().sum() for parameter, past in zip(run.parameters, other)]
    return math.sqrt(torch.stack(squares).sum().item())


class Drift(Measure):
    """‖θ−θ₀‖, and over ‖θ₀‖."""

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self.start = copies(run)
        self.norm = math.sqrt(sum(start.double().square().sum().item() for start in self.start))

    def read(self) -> dict[str, float]:
        drift = distance(self.run, self.start)
        return {"drift": drift, "drift_relative": drift / self.norm if self.norm else math.nan}


class Path(Measure):
    """The length of the way: Σ‖θₖ₊₁−θₖ‖, and over the drift how winding it is."""

    each_step = True

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self.start = copies(run)
        self.length = 0.0

    def before(self) -> None:
        self.past = copies(self.run)

    def after(self) -> None:
        self.length += distance(self.run, self.past)

    def read(self) -> dict[str, float]:
        drift = distance(self.run, self.start)
        return {"path": self.length, "path_over_drift": self.length / drift if drift else math.nan}


class Update(Measure):
    """‖Δθ‖/‖θ‖ of one step: the median over the layers whose weights aren't 0."""

    def before(self) -> None:
        self.past = copies(self.run)

    def read(self) -> dict[str, float]:
        ratios = []
        for parameter, past in zip(self.run.parameters, self.past):
            norm = past.double().norm().item()
            if norm:
                ratios.append((parameter.detach() - past).double().norm().item() / norm)
        return {"update": median(ratios)} if ratios else {}
