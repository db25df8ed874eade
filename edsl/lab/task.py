"""What a task is: data, models, a loss, a budget."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from edsl.errors import EdslError, nearest


class Split(NamedTuple):
    """Inputs and targets, tensors with one row an example."""

    inputs: Any
    targets: Any


class Data(NamedTuple):
    train: Split
    validation: Split
    test: Split


@dataclass(frozen=True)
class Task:
    """Data that needs no download, models to train on it, and the budget of a race.

    Attributes:
        data: makes the three splits, the same at each call.
        models: builds an untrained model from torch's global seed, by name; the first is the default.
        loss: (outputs, targets) → mean loss, a scalar tensor.
        accuracy: (outputs, targets) → share of right answers in [0, 1], or None for regression.
        batch, steps: the default budget.
    """

    name: str
    data: Callable[[], Data]
    models: Mapping[str, Callable[[], Any]]
    loss: Callable[[Any, Any], Any]
    accuracy: Callable[[Any, Any], float] | None
    batch: int
    steps: int

    def model(self, name: str | None) -> tuple[str, Callable[[], Any]]:
        """The name and builder of a model; raises EdslError for an unknown one."""
        name = next(iter(self.models)) if name is None else name
        if name not in self.models:
            raise EdslError(f"task {self.name}: unknown model {name!r}; {nearest(name, self.models, 'models')}")
        return name, self.models[name]
