"""Which pipelines are the same linear system, and which known optimizers E is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import sympy

from edsl.domain import plain
from edsl.pipeline import Pipeline
from edsl.theory.filter import Filter, update_filter
from edsl.theory.linearise import Z


@dataclass(frozen=True)
class Comparison:
    """Two pipelines as filters from gradients to steps.

    Attributes:
        equal: the same for every sequence of gradients, from zero memory on.
        maps: values of the second one's hyper-parameters that would make it equal to the first.
        first_difference: (n, weight of the gradient n steps back in the first, in the second).
        largest_difference: (frequency in cycles a step, gain of the first, of the second).
    """

    equal: bool
    maps: tuple[dict[str, float], ...]
    first_difference: tuple[int, float, float] | None
    largest_difference: tuple[float, float, float] | None


def compare(first: Pipeline, second: Pipeline) -> Comparison:
    """Whether two pipelines are equal as linear systems; if not, a map if one exists, and where they differ.

    Raises:
        NotLinear: for a stage that has no linear model, by name.

    Example:
        >>> import edsl
        >>> from edsl.theory.equivalence import compare
        >>> heavy_ball = edsl.parse("grad | sgd(lr=0.1, momentum=0.9)")
        >>> compare(heavy_ball, edsl.parse("grad | e(alpha=-9, beta1=0.9) | sgd(lr=1)")).equal
        True
    """
    one, two = update_filter(first), update_filter(second)
    if sympy.cancel(one.transfer - two.transfer) == 0:
        return Comparison(True, (), None, None)
    weights = one.impulse(200), two.impulse(200)
    apart = np.flatnonzero(~np.isclose(*weights, rtol=1e-9, atol=1e-15))
    place = int(apart[0]) if len(apart) else None
    frequencies = np.linspace(0.0005, 0.5, 500)
    gains = one.bode(frequencies)[0], two.bode(frequencies)[0]
    most = int(np.argmax(np.abs(np.log((gains[0] + 1e-300) / (gains[1] + 1e-300)))))
    return Comparison(
        False,
        tuple(_maps(one, two, second)),
        None if place is None else (place, float(weights[0][place]), float(weights[1][place])),
        (float(frequencies[most]), float(gains[0][most]), float(gains[1][most])),
    )


def _maps(target: Filter, candidate: Filter, pipeline: Pipeline) -> list[dict[str, float]]:
    """Real values in their domains that make the candidate's transfer function the target's."""
    top, bottom = sympy.fraction(target.transfer)
    symbols = sorted(candidate.symbolic.free_symbols - {Z}, key=str)
    own_top, own_bottom = sympy.fraction(candidate.symbolic)
    equations = [e for e in sympy.Poly(sympy.expand(top * own_bottom - own_top * bottom), Z).all_coeffs() if e != 0]
    if not symbols or len(equations) > 6:
        return []
    found = []
    for solution in sympy.solve(equations, symbols, dict=True):
        free = {symbol: candidate.values[symbol] for symbol in symbols if symbol not in solution}
        values = {str(symbol): value.subs(free) for symbol, value in {**solution, **free}.items()}
        if all(value.is_real for value in values.values()):
            numbers = {name: float(value) for name, value in values.items()}
            if _allowed(pipeline, numbers) and _same(target, candidate, values):
                found.append(numbers)
    return found


def _same(target: Filter, candidate: Filter, values: dict[str, Any]) -> bool:
    numbers = {sympy.Symbol(name): value for name, value in values.items()}
    return sympy.simplify(candidate.symbolic.subs(numbers) - target.transfer) == 0


def _allowed(pipeline: Pipeline, numbers: dict[str, float]) -> bool:
    from edsl.errors import EdslError

    try:
        pipeline.override(**numbers)
    except EdslError:
        return False
    return True


@dataclass(frozen=True)
class Relation:
    """A known optimizer that E before plain gradient descent is, and with which numbers."""

    name: str
    statement: str


def known_relations(alpha: float, beta1: float, beta2: float = 0.0) -> list[Relation]:
    """What E with (α, β₁), and a momentum EMA of β₂ behind it, is otherwise known as.

    Sources: Ma and Yarats 2019 (QHM), Polyak 1964, Nesterov 1983, Daskalakis et al. 2018 (optimistic
    gradient), Yuan et al. 2024 (MARS, its approximate form with E's β₁ = 0).

    Example:
        >>> from edsl.theory.equivalence import known_relations
        >>> [relation.name for relation in known_relations(-9, 0.9)]
        ['QHM', 'heavy ball']
    """
    gamma = alpha * (1 - beta1)
    relations: list[Relation] = []
    if beta1 == 0:
        relations.append(Relation("optimistic gradient", f"strength {plain(alpha)}, once past the first step"))
        relations.append(Relation("MARS (approximate)", f"γβ/(1−β) = {plain(alpha)} in its letters, before its clip"))
        return relations
    if beta2 == 0:
        relations.append(Relation("QHM", f"β = {plain(beta1)}, ν = −γ/β₁ = {-gamma / beta1:.6g}, the same lr"))
        if np.isclose(gamma, -beta1):
            relations.append(Relation("heavy ball", f"momentum {plain(beta1)}, lr · (1−β₁) = lr · {1 - beta1:.6g}"))
        if np.isclose(gamma, -(beta1**2)):
            relations.append(Relation("Nesterov", f"momentum {plain(beta1)}, lr · {1 - beta1:.6g}, θ extrapolated"))
    elif beta1 != beta2:
        share = -gamma * (1 - beta2) / (beta1 - beta2)
        relations.append(
            Relation(
                "two EMAs",
                f"the momentum is {share:.6g} · EMA({plain(beta1)}) + {1 - share:.6g} · EMA({plain(beta2)}) of g",
            )
        )
    return relations
