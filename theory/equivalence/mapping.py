"""Hyper-parameters with which one pipeline takes another's steps.

They are sought by least squares on the steps of both from the same random gradients, from several
starts, then rounded to as few digits as they bear. What is found is confirmed; that nothing is found
proves nothing.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import fields
from itertools import islice, permutations
from typing import Any

import numpy as np

from edsl.errors import EdslError
from edsl.language.domain import DECAY
from edsl.language.pipeline import Pipeline
from edsl.theory.equivalence.agreement import RUN_TOLERANCE, agree, may_agree, run_difference
from edsl.theory.equivalence.trajectory import ELEMENTS, LAYERS, PRECISE, Walk, walked

STARTS, ROUNDS, LENGTH = 6, 24, 30
_SLOW, _PATIENCE = 0.9, 4  # rounds that gain less than a tenth, before it gives up
_NEARLY_ONE = 1 - 1e-9
_NOTHING, _CLOSE = 1e-12, 1e-6
_RELATIVE = 1e-7  # of a hyper-parameter, to differentiate by it


def find_map(first: Pipeline, second: Pipeline) -> dict[str, float] | None:
    """Values of the second's hyper-parameters, other than its own, that make its steps the first's; or None.

    Raises:
        EdslError: as `compare` does.
    """
    if "" not in second.branches or not may_agree(first, second):  # a route's numbers have names of their own
        return None
    starts = _starts(first, second)
    if run_difference(first, first) is None:  # nothing but the first itself could be confirmed
        return next((_changed(second, start.hyperparameters) for start in starts if start == first), None)
    for start in starts:
        if _confirmed(first, start):
            return _changed(second, _plainest(first, second, start.hyperparameters, refits=False))
    for start in starts:
        values = _fitted(first, start)
        if values is None:
            continue
        found = _plainest(first, second, values, refits=True)
        if _confirmed(first, _with(second, found)):
            return _changed(second, found)
    return None


def _starts(first: Pipeline, second: Pipeline) -> list[Pipeline]:
    """The second with the first's values where names are shared; then with the first's decays in every order.

    A decay of 0 may be an average that the second does without: starts come first where it stays so.
    """
    shared = {key: value for key, value in first.hyperparameters.items() if key in second.hyperparameters}
    decays = _decays(second)
    used = [key for key in decays if second.hyperparameters[key] > 0]
    pool = [value for value in dict.fromkeys(_own(first, _decays(first)) + _own(second, decays)) if value > 0]
    choices: list[dict[str, float]] = [shared, {}]
    for keys in (used, decays):
        for order in islice(permutations(pool or [0.9], min(len(keys), len(pool))), STARTS):
            choices += [{**known, **dict(zip(keys, order))} for known in ({}, shared)]
    unused = [key for key in decays if key not in used]
    choices.sort(key=lambda choice: sum(choice.get(key, 0) > 0 for key in unused))
    starts = [start for choice in choices if (start := _with(second, choice)) is not None]
    return list({str(start): start for start in starts}.values())[:STARTS]


def _own(pipeline: Pipeline, names: Sequence[str]) -> list[float]:
    return [pipeline.hyperparameters[name] for name in names]


def _decays(pipeline: Pipeline) -> list[str]:
    """The names of the decays of its EMAs."""
    found = []
    for key, (index, name) in pipeline.keys.items():
        stage = pipeline.stages[index]
        domains = {one.name: one.metadata["domain"] for one in fields(stage) if "domain" in one.metadata}
        if domains.get(name) == DECAY:
            found.append(key)
    return found


def _with(pipeline: Pipeline, values: Mapping[str, float]) -> Pipeline | None:
    """The pipeline with these values, all at once; None where they aren't allowed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return pipeline.override(**values)
    except EdslError:
        return None


def _confirmed(first: Pipeline, candidate: Pipeline | None) -> bool:
    """Whether it takes the first's steps, as `compare` says it, in a run of float64 too."""
    if candidate is None or not agree(first, candidate):
        return False
    run = run_difference(first, candidate)
    return run is not None and run <= RUN_TOLERANCE


def _changed(second: Pipeline, values: Mapping[str, float]) -> dict[str, float]:
    own = second.hyperparameters
    return {key: float(values[key]) for key in sorted(values) if values[key] != own[key]}


def _plainest(first: Pipeline, second: Pipeline, values: Mapping[str, float], refits: bool) -> dict[str, float]:
    """The same map with the second's own values where they do, and with as few digits as do.

    A value of its own may do only with others beside it: `refits` looks for them.
    """
    found = {key: float(value) if abs(value) > _NOTHING else 0.0 for key, value in values.items()}

    def holds(other: Mapping[str, float]) -> bool:
        candidate = _with(second, other)
        return candidate is not None and agree(first, candidate)

    for key, own in second.hyperparameters.items():
        if found[key] == own:
            continue
        other: Mapping[str, float] | None = {**found, key: own}
        if not holds(other):
            kept = [name for name in found if name == key or found[name] == second.hyperparameters[name]]
            start = _with(second, other) if refits else None
            other = None if start is None else _fitted(first, start, kept)
        if other is not None and holds(other):
            found = dict(other)
    for digits in range(1, 16):
        rounded = {key: float(f"{value:.{digits}g}") for key, value in found.items()}
        if holds(rounded):
            return rounded
    return found


def _fitted(first: Pipeline, start: Pipeline, kept: Sequence[str] = ()) -> dict[str, float] | None:
    """The start's hyper-parameters, but for those that are kept, moved until its steps are the first's; or None.

    The learning rate alone is fitted first, then all but the decays; if that does not do, all together.
    """
    free = [name for name in start.hyperparameters if name not in kept]
    decays = _decays(start)
    rate, linear = ([name for name in free if name == "lr"], [name for name in free if name not in decays])
    began = _least_squares(first, start, start.hyperparameters, rate, np.float64, 5, 0.0)[0]
    for names in (linear, free):
        values, worst = _least_squares(first, start, began, names, np.float64, ROUNDS, 1e-10)
        if worst < _CLOSE:
            values, _ = _least_squares(first, start, values, names, PRECISE, 6, 1e-17)
            return {name: float(value) for name, value in values.items()}
    return None


@np.errstate(all="ignore")
def _least_squares(
    first: Pipeline,
    start: Pipeline,
    values: Mapping[str, Any],
    names: Sequence[str],
    dtype: Any,
    rounds: int,
    enough: float,
) -> tuple[dict[str, Any], float]:
    """Levenberg and Marquardt's method: the values with some moved, and the largest residual that is left."""
    if not names:
        return dict(values), float("inf")
    low, high = _bounds(start, names)
    walk = _fixed_walk(dtype)
    wanted = np.array(walked(first, walk).steps)
    size = _size(wanted)
    if not (np.isfinite(size) and size > 0):
        return dict(values), float("inf")
    x = np.array([values[name] for name in names], dtype=dtype)
    damping = 1e-3 if dtype is np.float64 else 1e-15
    slow, (residual, slopes) = 0, _slopes(start, values, names, x, walk, wanted, size)
    for _ in range(rounds):
        unit = float(abs(residual).max())
        if not np.isfinite(unit) or unit <= enough or damping > 1e8:
            break
        scale = np.sqrt((slopes**2).sum(0))
        scale = np.where(scale > 0, scale, 1)
        scaled = np.nan_to_num(np.asarray(slopes / scale, dtype=float))
        aim = scaled.T @ np.asarray(-residual / unit, dtype=float)
        move = np.linalg.lstsq(scaled.T @ scaled + damping * np.eye(len(x)), aim, rcond=None)[0]
        after = np.clip(x + unit * move / scale, low, high)
        following = _slopes(start, values, names, after, walk, wanted, size)
        gain = float(_size(following[0]) / _size(residual))
        if gain < 1:
            x, (residual, slopes), damping = after, following, damping / 10
        else:
            damping *= 10
        slow = slow + 1 if gain > _SLOW else 0
        if slow == _PATIENCE:
            break
    return {**values, **dict(zip(names, x))}, float(abs(residual).max())


def _size(x: Any) -> Any:
    return np.sqrt((x**2).mean())


def _bounds(pipeline: Pipeline, names: Sequence[str]) -> tuple[Any, Any]:
    """What each hyper-parameter may be, the bounds that are open a little within."""
    low, high = [], []
    for name in names:
        index, own = pipeline.keys[name]
        domain = next(one.metadata["domain"] for one in fields(pipeline.stages[index]) if one.name == own)
        low.append(domain.low)
        high.append(domain.high * _NEARLY_ONE if domain.open_high else domain.high)
    return np.array(low), np.array(high)


def _slopes(
    pipeline: Pipeline, values: Mapping[str, Any], names: Sequence[str], x: Any, walk: Walk, wanted: Any, size: Any
) -> tuple[Any, Any]:
    """How far the steps are from those that are wanted, and the slopes of that by some hyper-parameters."""
    nudges = np.maximum(abs(x), 1e-3) * x.dtype.type(_RELATIVE)
    columns = np.repeat(x[:, None], len(x) + 1, axis=1)
    columns[np.arange(len(x)), np.arange(1, len(x) + 1)] += nudges
    moved = {name: column[:, None, None] for name, column in zip(names, columns)}
    steps = np.array(walked(pipeline, walk, values={**values, **moved}).steps)[:, 0]
    apart = (steps - wanted[:, 0]) / size
    residual = apart[:, 0].reshape(-1)
    slopes = np.moveaxis((apart[:, 1:] - apart[:, :1]) / nudges[:, None, None], 1, -1).reshape(len(residual), -1)
    return residual, np.nan_to_num(slopes)


def _fixed_walk(dtype: Any) -> Walk:
    """Random gradients of size 1."""
    generator = np.random.default_rng(2)
    drawn = generator.normal(size=(LENGTH, 1, 1, LAYERS, ELEMENTS)).astype(dtype)
    start = generator.normal(size=(1, 1, LAYERS, ELEMENTS)).astype(dtype)
    return Walk(start, lambda k, theta: drawn[k - 1], LENGTH)
