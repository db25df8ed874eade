"""The learning rates of a pipeline: one, or one for each route."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from edsl.errors import EdslError
from edsl.language.pipeline import Pipeline

DIGITS = 4  # of a tuned learning rate: what a person can type again


def learning_rates(pipeline: Pipeline) -> dict[str, float]:
    """Every learning rate by its argument's name, such as lr and, behind routes, other_lr.

    Another package's may be None or a word, which stands for a rule of its own; then it is none.

    Raises:
        EdslError: for an optimizer without one.
    """
    found: dict[str, float] = {}
    for argument, (index, field) in pipeline.keys.items():
        if index == pipeline.update_index and (field == "lr" or field.endswith("_lr")):
            for route, branch in pipeline.branches.items():
                name = pipeline.name_in(route, argument)
                value = _value(branch, name) if name else None
                if isinstance(value, (int, float)) and not isinstance(value, bool):
                    found[argument] = float(value)
    if not found:
        raise EdslError(f"{pipeline.update.name} has no learning rate to tune; give --lr default")
    return found


def _value(pipeline: Pipeline, name: str) -> Any:
    update: Any = pipeline.update
    return update.value_of(name) if update.moves_weights else pipeline.hyperparameters[name]


def values_of(pipeline: Pipeline, names: Collection[str]) -> dict[str, Any]:
    """The arguments of a pipeline among these names, of any stage, with their values."""
    found: dict[str, Any] = {}
    for name in names:
        if name not in pipeline.keys:
            continue
        stage, argument = pipeline.owner_of(name)
        update: Any = pipeline.update
        foreign = stage is update and update.moves_weights
        found[name] = update.value_of(argument) if foreign else getattr(stage, argument)
    return found


def scaled(pipeline: Pipeline, factor: float) -> Pipeline:
    """The same pipeline with every learning rate times a factor, to four digits."""
    if factor == 1:
        return pipeline
    rates = {name: float(f"{value * factor:.{DIGITS}g}") for name, value in learning_rates(pipeline).items()}
    return pipeline.override(**rates)
