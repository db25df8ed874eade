"""By which known identities two pipelines agree."""

from __future__ import annotations

from typing import Any

import numpy as np

from edsl.language.domain import plain
from edsl.language.pipeline import Pipeline
from edsl.theory.statements.relations import Relation, relations
from edsl.theory.systems.exploration import places_of_e


def relations_between(first: Pipeline, second: Pipeline) -> tuple[Relation, ...]:
    """By which known relations two pipelines that agree do so."""
    found = _of_several(_explorations(first), _explorations(second))
    for one, other in ((first, second), (second, first)):
        before = one.stages[1 : one.update_index]
        if len(before) == 1 and _explorations(one) == [*before] and not _explorations(other):
            found += _of_one(one, before[0], other.update)
    return tuple(found)


def _explorations(pipeline: Pipeline) -> list[Any]:
    return [pipeline.stages[place] for place in places_of_e(pipeline)]


def _of_one(one: Pipeline, e: Any, other: Any) -> list[Relation]:
    """What an update without E before it is, that agrees with this pipeline, where E stands alone before its own."""
    update: Any = one.update
    decay = _decay(update)
    if decay > 0 and update.averages == other.averages == "ema":
        return [relation for relation in relations(one) if relation.name in ("one EMA", "two EMAs")]
    if update.name != "sgd" or decay > 0 or other.name not in _NAMES or not np.isclose(_decay(other), e.beta1):
        return []
    name = "Nesterov" if getattr(other, "nesterov", False) else _NAMES[other.name]
    return [Relation(name, f"E before plain gradient descent {_STATEMENTS[name]} {plain(e.beta1)}")]


_NAMES = {"qhm": "QHM", "sgd": "heavy ball"}
_STATEMENTS = {
    "QHM": "is QHM with ν = −α(1−β₁)/β₁ and β = β₁ =",
    "heavy ball": "with α = −β₁/(1−β₁) is heavy ball with the momentum β₁ =",
    "Nesterov": "with α = −β₁²/(1−β₁) is Nesterov's with the momentum β₁ =",
}


def _decay(update: Any) -> float:
    """Of an update's momentum."""
    names = [name for name in ("momentum", "beta2") if name in update.argument_names()]
    return getattr(update, names[0]) if names else 0.0


def _of_several(ones: list[Any], others: list[Any]) -> list[Relation]:
    """E's in another order, or in the paper's form with two buffers."""
    values = [[(e.alpha, e.beta1) for e in stages] for stages in (ones, others)]
    if sorted(values[0]) != sorted(values[1]):
        return []
    found = []
    if values[0] != values[1]:
        statement = "E's are linear filters, and filters in a row commute"
        found.append(Relation("reordered E's", statement))
    if any(one.buffers != other.buffers for one, other in zip(ones, others)):
        statement = "a = (1−β₁)(g − ḡ), ḡ the EMA of past gradients, at a constant β₁"
        found.append(Relation("one buffer for two", statement))
    return found
