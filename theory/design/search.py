"""The smallest worst rate: differential evolution over what each hyper-parameter may be, then Nelder and Mead."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from edsl.errors import EdslError, nearest
from edsl.language.domain import Number
from edsl.language.pipeline import Pipeline
from edsl.theory.design.objective import Objective, phases
from edsl.theory.systems.exploration import places_of_e

_ROUGH = 24  # curvatures, or angles, on the grid of differential evolution
_MEMBERS, _GENERATIONS, _STARTS = 14, 70, 3
_POLISH = ((24, 200, 2), (120, 500, 2), (120, 500, 2))  # grid, most iterations, how many of the best go on
_DIGITS = 7
_NINES = 5.0  # the decay nearest to 1 that is tried is 1 − 10⁻⁵
_LR = (1e-5, 1e4)  # lr times the highest curvature
_STRONGEST = 0.999999  # |α|(1 − β₁) below the bound of 1
_FIXED = ("weight_decay", "rate")  # which would change what is minimised


@dataclass(frozen=True)
class Side:
    """One hyper-parameter, and how the search walks along it.

    Attributes:
        kind: "decay" (its distance from 1 in powers of ten), "lr" (powers of ten), "alpha" (times 1 − β₁) or "plain".
        low, high: of what the search sees.
    """

    name: str
    kind: str
    low: float
    high: float

    def value(self, x: Any, beta1: Any) -> Any:
        """The hyper-parameter at a place of the search."""
        if self.kind == "decay":
            return 1 - 10.0**-x
        if self.kind == "lr":
            return 10.0**x
        return x / (1 - beta1) if self.kind == "alpha" else x

    def place(self, value: float, beta1: float) -> float:
        """Where a value lies, or the end nearest to it."""
        with np.errstate(divide="ignore"):
            x = {
                "decay": -np.log10(max(1 - value, 1e-300)),
                "lr": np.log10(max(value, 1e-300)),
                "alpha": value * (1 - beta1),
            }.get(self.kind, value)
        return float(np.clip(x, self.low, self.high))


def best_values(objective: Objective) -> dict[str, float]:
    """The hyper-parameters of the smallest worst rate that the search finds, to seven digits."""
    from scipy.optimize import differential_evolution, minimize

    sides = [side_of(objective.pipeline, name, objective.spectrum[1]) for name in objective.free]

    def values(places: Any) -> Any:
        return _values(objective.pipeline, sides, places)

    own = objective.pipeline.hyperparameters
    beta1 = next((own[side.name] for side in sides if side.name.endswith("beta1")), 0.0)
    start = [side.place(own[side.name], beta1) for side in sides]
    bounds = [(side.low, side.high) for side in sides]
    rough = differential_evolution(
        lambda places: objective.worst(values(places.T), _ROUGH),
        bounds,
        x0=start,
        popsize=_MEMBERS,
        maxiter=_GENERATIONS,
        tol=1e-10,
        rng=np.random.default_rng(0),
        polish=False,
        vectorized=True,
        updating="deferred",
    )
    order = np.argsort(rough.population_energies)
    found = [np.asarray(rough.x), *(rough.population[i] for i in order[1 : 1 + _STARTS])]
    for points, longest, kept in _POLISH:

        def worst(place: Any, points: int = points) -> float:
            return float(objective.worst(values(np.clip(place, *np.transpose(bounds))[None]), points)[0])

        options = {"maxiter": longest, "xatol": 1e-9, "fatol": 1e-11}
        ended = [minimize(worst, place, method="Nelder-Mead", bounds=bounds, options=options) for place in found]
        found = [one.x for one in sorted(ended, key=lambda one: one.fun)[:kept]]
    numbers = [[_short(x) for x in values(np.asarray(place)[None])[0]] for place in found]
    chosen = [dict(zip(objective.free, number)) for number in numbers]
    return min(chosen, key=lambda one: objective.settled(one)[0])


def side_of(pipeline: Pipeline, name: str, high: float) -> Side:
    """How the search walks along a hyper-parameter.

    Raises:
        EdslError: for one that the pipeline does not have.
    """
    if name not in pipeline.keys:
        raise EdslError(f"unknown hyper-parameter {name!r}; {nearest(name, pipeline.hyperparameters, 'it has')}")
    index, field = pipeline.keys[name]
    domain = next(one.metadata["domain"] for one in fields(pipeline.stages[index]) if one.name == field)
    if field == "alpha" and index in places_of_e(pipeline):
        return Side(name, "alpha", -_STRONGEST, _STRONGEST)
    if field == "lr":
        return Side(name, "lr", *(float(np.log10(x / high)) for x in _LR))
    if isinstance(domain, Number) and domain.low == 0 and domain.high == 1 and domain.open_high:
        return Side(name, "decay", 0.0, _NINES)
    low, top = (getattr(domain, end, None) for end in ("low", "high"))
    return Side(
        name,
        "plain",
        *(default if end is None or not np.isfinite(end) else end for end, default in ((low, -10.0), (top, 10.0))),
    )


def free_names(pipeline: Pipeline, asked: Sequence[str]) -> tuple[str, ...]:
    """What is searched over: the names that are asked for, or all that move a pole but weight decay.

    Raises:
        EdslError: for a name that the pipeline does not have, or that changes no pole.
        NotLinear: for a stage that has no linear model, by name.
    """
    held = set().union(*(phase.system.A.free_symbols for phase in phases(pipeline)))
    moving = {str(symbol) for symbol in held} & {*pipeline.hyperparameters}
    for name in asked:
        if name not in pipeline.keys:
            raise EdslError(f"unknown hyper-parameter {name!r}; {nearest(name, pipeline.hyperparameters, 'it has')}")
        if name not in moving:
            raise EdslError(f"{name} changes no rate on a quadratic; choose among {', '.join(sorted(moving))}")
    chosen = tuple(asked) or tuple(
        name for name in pipeline.hyperparameters if name in moving and name.rpartition(".")[2] not in _FIXED
    )
    if not chosen:
        raise EdslError("no hyper-parameter of this pipeline changes its rate on a quadratic")
    return chosen


def _values(pipeline: Pipeline, sides: Sequence[Side], places: Any) -> Any:
    """The hyper-parameters at (P, sides) places; each alpha with the β₁ of its own stage."""
    columns = dict(zip((side.name for side in sides), np.asarray(places, dtype=float).T))
    found = {side.name: side.value(columns[side.name], 0.0) for side in sides if side.kind != "alpha"}
    for side in sides:
        if side.kind == "alpha":
            index = pipeline.keys[side.name][0]
            beta1 = next(key for key, (owner, field) in pipeline.keys.items() if (owner, field) == (index, "beta1"))
            found[side.name] = side.value(columns[side.name], found.get(beta1, pipeline.hyperparameters[beta1]))
    return np.stack([found[side.name] for side in sides], axis=-1)


def _short(x: float) -> float:
    return float(f"{x:.{_DIGITS}g}")
