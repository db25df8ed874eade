"""Known optimizers that E is, by name and source."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from edsl.domain import plain
from edsl.pipeline import Pipeline

SOURCES = {
    "QHM": "Ma and Yarats 2019",
    "heavy ball": "Polyak 1964",
    "Nesterov": "Nesterov 1983",
    "optimistic gradient": "Daskalakis et al. 2018",
    "MARS (approximate)": "Yuan et al. 2024",
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
        >>> from edsl.theory.relations import known_relations
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
    found = [*_of_explorations(first, second)]
    for one, other in ((first, second), (second, first)):
        if _is_plain_exploration(one):
            found += _of_momentum(one.stages[1], other)
    return tuple(found)


def _is_plain_exploration(pipeline: Pipeline) -> bool:
    """E alone before plain gradient descent."""
    names = [stage.name for stage in pipeline.stages[1:]]
    return names[:2] == ["e", "sgd"] and getattr(pipeline.update, "momentum", 1) == 0


def _of_momentum(e: Any, other: Pipeline) -> list[Relation]:
    """What another pipeline without E is, that agrees with E before plain gradient descent."""
    update: Any = other.update
    if any(stage.name == "e" for stage in other.stages) or update.name not in ("sgd", "qhm"):
        return []
    if update.name == "qhm":
        name = "QHM"
    elif update.momentum == 0:
        return []
    else:
        name = "Nesterov" if update.nesterov else "heavy ball"
    beta = plain(update.momentum)
    statement = {
        "QHM": f"E before plain gradient descent is QHM with β = β₁ = {beta} and ν = −α(1−β₁)/β₁",
        "heavy ball": f"E before plain gradient descent with α = −β₁/(1−β₁) is heavy ball, momentum β₁ = {beta}",
        "Nesterov": f"E before plain gradient descent with α = −β₁²/(1−β₁) is Nesterov's, momentum β₁ = {beta}",
    }[name]
    return [Relation(name, statement, SOURCES[name])]


def _of_explorations(first: Pipeline, second: Pipeline) -> list[Relation]:
    """E's in another order, or in the paper's form with two buffers."""
    ones, others = ([stage for stage in pipeline.stages if stage.name == "e"] for pipeline in (first, second))
    if not ones or len(ones) != len(others):
        return []
    values = [[(e.alpha, e.beta1) for e in stages] for stages in (ones, others)]
    found = []
    if values[0] != values[1] and sorted(values[0]) == sorted(values[1]):
        found.append(
            Relation("reordered E's", "E's are linear filters, and filters in a row commute", "Zhao et al. 2025, eq. 3")
        )
    if sorted(values[0]) == sorted(values[1]) and any(a.buffers != b.buffers for a, b in zip(ones, others)):
        found.append(
            Relation(
                "one buffer for two",
                "a = (1−β₁)(g − ḡ), ḡ the EMA of past gradients, at a constant β₁",
                "Zhao et al. 2025, Algorithm 5",
            )
        )
    return found
