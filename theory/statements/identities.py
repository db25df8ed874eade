"""Known identities: which optimizers E is, by name and source, and by which two pipelines agree."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from edsl.language.domain import plain
from edsl.language.pipeline import Pipeline

SOURCES = {
    "QHM": "Ma and Yarats 2019",
    "heavy ball": "Polyak 1964",
    "Nesterov": "Nesterov 1983",
    "optimistic gradient": "Daskalakis et al. 2018",
    "MARS (approximate)": "Yuan et al. 2024",
    "two EMAs": "Zhao et al. 2025, eq. 3",
    "Grokfast-EMA": "Lee et al. 2024",
}


@dataclass(frozen=True)
class Relation:
    """A known optimizer that E is, and with which numbers."""

    name: str
    statement: str
    source: str = ""


def known_relations(alpha: float, beta1: float, beta2: float = 0.0) -> list[Relation]:
    """What E with (α, β₁), and a momentum EMA of β₂ behind it, is otherwise known as.

    Sources: Ma and Yarats 2019 (QHM), Polyak 1964, Nesterov 1983, Daskalakis et al. 2018 (optimistic
    gradient), Yuan et al. 2024 (MARS, its approximate form with E's β₁ = 0), Lee et al. 2024
    (Grokfast-EMA, which amplifies slow gradients before any optimizer: g + λ·EMA_β(g)).

    Example:
        >>> from edsl.theory.statements.identities import known_relations
        >>> [relation.name for relation in known_relations(-9, 0.9)]
        ['QHM', 'heavy ball']
    """
    gamma = alpha * (1 - beta1)
    relations: list[Relation] = []

    def known(name: str, statement: str) -> None:
        relations.append(Relation(name, statement, SOURCES.get(name, "")))

    if beta1 == 0:
        known("optimistic gradient", f"strength {plain(alpha)}, once past the first step")
        known("MARS (approximate)", f"γβ/(1−β) = {plain(alpha)} in its letters, before its clip")
        return relations
    heavy, nesterov = bool(np.isclose(gamma, -beta1)), bool(np.isclose(gamma, -(beta1**2)))
    if beta2 == 0:
        known("QHM", f"β = {plain(beta1)}, ν = −γ/β₁ = {-gamma / beta1:.6g}, the same lr")
        if heavy:
            known("heavy ball", f"momentum {plain(beta1)}, lr · (1−β₁) = lr · {1 - beta1:.6g}")
        if nesterov:
            known("Nesterov", f"momentum {plain(beta1)}, lr · {1 - beta1:.6g}, θ extrapolated")
    elif beta1 != beta2:
        share = -gamma * (1 - beta2) / (beta1 - beta2)
        known(
            "two EMAs",
            f"the momentum is {share:.6g} · EMA({plain(beta1)}) + {1 - share:.6g} · EMA({plain(beta2)}) of g",
        )
    if -beta1 < gamma < 0 and not (heavy or nesterov):
        strength = -gamma / (beta1 + gamma)
        known(
            "Grokfast-EMA",
            f"β = {plain(beta1)}, λ = −γ/(β₁+γ) = {strength:.6g}: g + λ·EMA(g) is 1+λ times what E gives, "
            "a factor that Adam divides out but for ε",
        )
    return relations


def relations_between(first: Pipeline, second: Pipeline) -> tuple[Relation, ...]:
    """By which known relations two pipelines that agree do so."""
    found = _of_several(_explorations(first), _explorations(second))
    for one, other in ((first, second), (second, first)):
        before: list[Any] = list(one.stages[1 : one.update_index])
        if [stage.name for stage in before] == ["e"] and not _explorations(other):
            found += _of_one(before[0], one.update, other.update)
    return tuple(found)


def _explorations(pipeline: Pipeline) -> list[Any]:
    return [stage for stage in pipeline.stages if stage.name == "e"]


def _of_one(e: Any, update: Any, other: Any) -> list[Relation]:
    """What an update without E before it is, that agrees with E before another."""
    decay = _decay(update)
    if decay > 0 and update.averages == other.averages == "ema":
        return [one for one in known_relations(e.alpha, e.beta1, decay) if one.name == "two EMAs"]
    if update.name != "sgd" or decay > 0 or other.name not in _NAMES or not np.isclose(_decay(other), e.beta1):
        return []
    name = "Nesterov" if getattr(other, "nesterov", False) else _NAMES[other.name]
    return [Relation(name, f"E before plain gradient descent {_STATEMENTS[name]} {plain(e.beta1)}", SOURCES[name])]


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
        found.append(Relation("reordered E's", statement, "Zhao et al. 2025, eq. 3"))
    if any(one.buffers != other.buffers for one, other in zip(ones, others)):
        statement = "a = (1−β₁)(g − ḡ), ḡ the EMA of past gradients, at a constant β₁"
        found.append(Relation("one buffer for two", statement, "Zhao et al. 2025, Algorithm 5"))
    return found
