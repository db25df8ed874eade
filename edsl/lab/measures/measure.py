"""What a measure is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

ROWS = 1024  # of the training split that curvature and noise are measured on, drawn by the run's seed


@dataclass(frozen=True)
class Run:
    """What is measured."""

    task: Any
    model: Any
    optimizer: Any
    pipeline: Any
    train: Any
    seed: int

    @property
    def parameters(self) -> list[Tensor]:
        return [parameter for parameter in self.model.parameters() if parameter.requires_grad]

    def rows(self, most: int = ROWS) -> tuple[Tensor, Tensor]:
        """The same examples at every look: inputs and targets on the model's device."""
        generator = torch.Generator().manual_seed(self.seed)
        chosen = torch.randperm(len(self.train.inputs), generator=generator)[:most]
        device = self.parameters[0].device
        return self.train.inputs[chosen].to(device), self.train.targets[chosen].to(device)

    @contextmanager
    def looking(self) -> Iterator[None]:
        """The model in evaluation mode, and random numbers as they were afterwards."""
        training = self.model.training
        self.model.eval()
        try:
            with torch.random.fork_rng():
                torch.manual_seed(self.seed)
                yield
        finally:
            self.model.train(training)


class Measure:
    """One measure of one run; `each_step` ones hear of every step, others of those that are read."""

    each_step = False

    def __init__(self, run: Run) -> None:
        self.run = run

    def before(self) -> None:
        """Before a step."""

    def after(self) -> None:
        """After it."""

    def read(self) -> dict[str, float]:
        """The values by name; empty where the optimizer has none."""
        raise NotImplementedError
