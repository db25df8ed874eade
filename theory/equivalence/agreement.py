"""Whether two recurrences take the same steps of the same gradients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from edsl.language.pipeline import Pipeline
from edsl.theory.equivalence.trajectory import (
    ELEMENTS,
    EXACT,
    LAYERS,
    LINEAR,
    PRECISE,
    REAL,
    Reading,
    Unreadable,
    Walk,
    walked,
)

BEYOND, RUN_STEPS, RUN_TOLERANCE = 16, 60, 1e-9
_ULPS = 2.0**-51  # a hyper-parameter is known to so much of itself


def agree(first: Pipeline, second: Pipeline, reading: Reading = EXACT) -> bool:
    """Whether two recurrences make the same steps of the same gradients, up to the rounding of their numbers."""
    return parting_step(first, second, reading) is None


def parting_step(first: Pipeline, second: Pipeline, reading: Reading = EXACT) -> int | None:
    """The first step that two recurrences take apart, of the same random gradients; None if they take all alike.

    The steps are those of `trajectory`. Recurrences of n buffers that agree for 2n steps agree for ever
    where they are linear; here it is for BEYOND steps more.
    """
    if not may_agree(first, second, reading):
        return 1
    pairs = [(first, second)]
    if "spared" not in reading.ideal and (first.without_decay(), second.without_decay()) != pairs[0]:
        pairs.append((first.without_decay(), second.without_decay()))
    found = [step for pair in pairs if (step := _parting_step(*pair, reading)) is not None]
    return min(found, default=None)


def may_agree(first: Pipeline, second: Pipeline, reading: Reading = EXACT) -> bool:
    """Whether they have the same estimator, guard and kind of evaluation weights, which no numbers make up for."""
    return (
        ("estimator" in reading.ideal or str(first.estimator) == str(second.estimator))
        and ("guard" in reading.ideal or first.nonfinite_policy == second.nonfinite_policy)
        and ("evaluated" in reading.ideal or bool(first.evaluation_buffer) == bool(second.evaluation_buffer))
    )


def _parting_step(first: Pipeline, second: Pipeline, reading: Reading) -> int | None:
    walk = open_walk((first, second))
    one, two = (walked(pipeline, walk, reading, _variants(pipeline)) for pipeline in (first, second))
    rows = [(one.steps, two.steps)]
    if "evaluated" not in reading.ideal:
        rows.append((one.evaluated, two.evaluated))
    for ours, theirs in rows:
        for step, (a, b, size) in enumerate(zip(ours, theirs, one.size), start=1):
            if not _near(a, b, size[:, :1]):
                return step
    return None


@np.errstate(all="ignore")
def _near(a: Any, b: Any, size: Any) -> bool:
    """Whether values (their first variant) differ by no more than the rounding of hyper-parameters explains."""
    eps = np.finfo(PRECISE).eps
    explained = sum(abs(x - x[:, :1]).sum(1, keepdims=True) for x in (a, b))
    a, b = a[:, :1], b[:, :1]
    largest = np.maximum(abs(a), abs(b)).max((-2, -1), keepdims=True)
    bound = 2 * explained + 100 * eps * largest + 4 * eps * size
    near = (abs(a - b) <= bound) | (a == b)
    lost = np.isnan(a) & np.isnan(b)  # 0/0 of a walk that begins with zeros, or of one out of range
    return bool(near[0].all() and (near | lost).all())


def _variants(pipeline: Pipeline) -> dict[str, Any]:
    """The hyper-parameters as they are, then with one after another a few last digits off; (variants, 1, 1)."""
    names = list(pipeline.hyperparameters)
    values = {}
    for place, name in enumerate(names, start=1):
        value = PRECISE(repr(pipeline.hyperparameters[name]))
        column = np.full(len(names) + 1, value)
        column[place] *= 1 + PRECISE(_ULPS)
        values[name] = column[:, None, None]
    return values


def open_walk(pipelines: Sequence[Pipeline]) -> Walk:
    """Random gradients, whatever θ does: as large as each of the pipelines' numbers, and zero at first."""
    numbers = {abs(value) for pipeline in pipelines for value in pipeline.hyperparameters.values() if value}
    decades = {round(float(np.log10(value) * power)) for value in numbers for power in (1, 0.5)} - {0}
    scales = np.array([1, 1, *(PRECISE(10) ** decade for decade in sorted(decades))], dtype=PRECISE)
    memory = sum(len(stage.init(0.0)) for pipeline in pipelines for stage in pipeline.stages)
    length = BEYOND + 2 * memory
    generator = np.random.default_rng(0)
    drawn = generator.normal(size=(length, len(scales), 1, LAYERS, ELEMENTS)) * scales[:, None, None, None]
    drawn[:3, 1] = 0
    start = np.broadcast_to(generator.normal(size=(LAYERS, ELEMENTS)), (len(scales), 1, LAYERS, ELEMENTS))
    return Walk(start.astype(PRECISE), lambda k, theta: drawn[k - 1], length)


def run_difference(first: Pipeline, second: Pipeline) -> float | None:
    """The largest |a − b| / max(1, |a|) of θ in a run of both on a quadratic; None where there can be none.

    It is one of float64, or where its rounding grows beyond the tolerance, of extended precision.
    """
    try:
        apart = _run_difference(first, second, np.float64)
        return apart if apart <= RUN_TOLERANCE else _run_difference(first, second, PRECISE)
    except Unreadable:
        return None


@np.errstate(all="ignore")
def _run_difference(first: Pipeline, second: Pipeline, dtype: Any) -> float:
    generator = np.random.default_rng(1)
    size = LAYERS * ELEMENTS
    basis, _ = np.linalg.qr(generator.normal(size=(size, size)))
    hessian = np.asarray(basis * np.geomspace(0.05, 1, size) @ basis.T, dtype=dtype)
    start = np.asarray(generator.normal(size=(1, 1, LAYERS, ELEMENTS)) + 2.0, dtype=dtype)
    minimum = np.asarray(generator.normal(size=size), dtype=dtype)

    def gradient(k: int, theta: Any) -> Any:
        return ((theta.reshape(-1) - minimum) @ hessian).reshape(start.shape)

    one, two = (walked(pipeline, Walk(start, gradient, RUN_STEPS), REAL) for pipeline in (first, second))
    worst, a, b = 0.0, start, start
    for ours, theirs in zip(one.steps, two.steps):
        a, b = a + ours, b + theirs
        apart = abs(a - b) / np.maximum(1, abs(a))
        if not np.any(np.isfinite(a) | np.isfinite(b)):
            break
        worst = max(worst, float(np.nan_to_num(apart, nan=np.inf).max()))
    return worst


def first_parting(first: Pipeline, second: Pipeline) -> int | None:
    """The first step at which two pipelines diverge on the same gradients, with their functions as they are.

    That proves that they differ. None proves nothing: they may not be readable here, or part elsewhere.
    """
    if str(first.estimator) != str(second.estimator):
        return None
    try:
        return parting_step(first, second, REAL)
    except Unreadable:
        return None


@np.errstate(all="ignore")
def is_linear(pipeline: Pipeline) -> bool:
    """Whether a weighted sum of gradients makes that sum of steps, and later gradients the same steps later."""
    generator = np.random.default_rng(3)
    length, late = 16, 3
    one, other = generator.normal(size=(2, length, LAYERS, ELEMENTS)).astype(PRECISE)
    later = np.concatenate([np.zeros_like(one[:late]), one[:-late]])
    gradients = np.stack([one, other, 2 * one - 3 * other, later], axis=1)[:, :, None]
    start = np.zeros((4, 1, LAYERS, ELEMENTS), dtype=PRECISE)
    try:
        found = walked(pipeline, Walk(start, lambda k, theta: gradients[k - 1], length), LINEAR)
    except Unreadable:  # as where a function takes a frozen root
        return False
    if found.functions:
        return False
    steps = np.array(found.steps)
    a, b, both, delayed = np.moveaxis(steps, 1, 0)
    bound = 1e-12 * abs(steps).max()
    return bool(np.all(abs(2 * a - 3 * b - both) <= bound) and np.all(abs(delayed[late:] - a[:-late]) <= bound))
