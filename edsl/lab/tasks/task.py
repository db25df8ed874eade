"""What a task is: data, models, a loss, a budget."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from edsl.errors import EdslError, nearest

PART = 4096  # rows evaluated at once, where the scale sets no fewer


class Split(NamedTuple):
    """Inputs and targets with one row an example: tensors, or what gives tensors for rows asked for."""

    inputs: Any
    targets: Any


class Data(NamedTuple):
    """The rows of a task, cut in three."""

    train: Split
    validation: Split
    test: Split


@dataclass(frozen=True)
class Scale:
    """How a large task is trained on an accelerator.

    Attributes:
        autocast: the dtype of matrix products, such as "bfloat16", or "" for none.
        micro_batch: most examples at once; a larger batch is accumulated from several.
        compile_model: torch.compile the model.
    """

    autocast: str = ""
    micro_batch: int | None = None
    compile_model: bool = False


@dataclass(frozen=True, kw_only=True)
class Task:
    """Data, models to train on it, and the budget of a race.

    One of your own is an object, or stands in a file that `--task FILE.py` names, as in docs/lab/tasks.md.

    Attributes:
        data: makes the three splits, the same at each call. Of your own task also three pairs (inputs, targets), for
            training, validation and test, or one pair, which edsl splits 70/15/15 %; of tensors, arrays or
            `edsl.Rows`, one row an example.
        models: builds an untrained model from torch's global seed, by name; the first is the default. A single
            builder may stand without a name.
        loss: (outputs, targets) → mean loss, a scalar tensor.
        accuracy: (outputs, targets) → share of right answers in [0, 1], or another score there of which more is
            better, averaged over parts of a split by their rows; None to rank by the loss.
        batch, steps: the default budget.
        name: what it is called; that of its file by default.
        about: one line for people.
        augment: (inputs of a batch, CPU generator) → inputs as they are trained on, or None.
        optimum: the least training loss, where it is known.
        scale: how it is trained on an accelerator.
        evaluated: most rows of a split that its loss is taken over, the first ones; None for all.
        source: where a task of one's own comes from, an `edsl.lab.tasks.own.Source`; edsl sets it.
    """

    data: Callable[[], Any]
    models: Mapping[str, Callable[[], Any]] | Callable[[], Any]
    loss: Callable[[Any, Any], Any]
    accuracy: Callable[[Any, Any], float] | None = None
    batch: int = 128
    steps: int = 300
    name: str = ""
    about: str = ""
    augment: Callable[[Any, Any], Any] | None = None
    optimum: Callable[[], float] | None = None
    scale: Scale = Scale()
    evaluated: int | None = None
    source: Any = field(default=None, repr=False, compare=False)

    @property
    def builders(self) -> Mapping[str, Callable[[], Any]]:
        """What builds each model, by its name."""
        if isinstance(self.models, Mapping):
            return self.models
        return {getattr(self.models, "__name__", "model"): self.models}

    def rows(self, split: Split) -> int:
        """How many rows a split is evaluated on."""
        return len(split.inputs) if self.evaluated is None else min(self.evaluated, len(split.inputs))

    def parts(self, split: Split) -> Iterator[tuple[Any, Any]]:
        """Inputs and targets of the rows that a split is evaluated on, in parts that fit memory."""
        rows = self.rows(split)
        part = min(PART, self.scale.micro_batch or PART)
        for first in range(0, rows, part):
            chosen = slice(first, min(first + part, rows))
            yield split.inputs[chosen], split.targets[chosen]

    def model(self, name: str | None) -> tuple[str, Callable[[], Any]]:
        """The name and builder of a model; raises EdslError for an unknown one.

        A mapping of builders may hold others than it lists: it says by `others` which, and by `whole_name` how a race
        records them.
        """
        held = self.builders
        name = next(iter(held)) if name is None else name
        if name not in held:
            others = getattr(held, "others", "")
            raise EdslError(f"task {self.name}: unknown model {name!r}; {nearest(name, held, 'models')}{others}")
        return getattr(held, "whole_name", str)(name), held[name]
