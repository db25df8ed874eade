"""Whether two pipelines take the same steps; where they don't, whether their linear parts do."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from edsl.domain import plain
from edsl.pipeline import Pipeline
from edsl.theory.filter import update_filter
from edsl.theory.linearise import NotLinear, linearise
from edsl.theory.relations import Relation, known_relations, relations_between
from edsl.theory.trajectory import (
    ELEMENTS,
    EXACT,
    IDEALS,
    LAYERS,
    LINEAR,
    PRECISE,
    REAL,
    Reading,
    Unreadable,
    Walk,
    walked,
)

EQUAL, LINEAR_PART, DIFFERENT = "equal", "linear part", "different"
RUN_STEPS, RUN_TOLERANCE = 60, 1e-9
_ULPS = 2.0**-51  # a hyper-parameter is known to so much of itself


class Undecided(NotLinear):
    """Two pipelines without linear models, that were shown neither equal nor different."""


@dataclass(frozen=True)
class Comparison:
    """Whether two pipelines take the same steps.

    Attributes:
        verdict: "equal", "linear part" or "different".
        run: of "equal": the largest difference |a − b| / max(1, |a|) in a run of both in float64 on a
            quadratic, from a start that is not zero; None where the two are one, or where no run without
            torch is possible (updates of matrices, other packages').
    """

    first: Pipeline
    second: Pipeline
    verdict: str
    run: float | None = None

    @property
    def equal(self) -> bool:
        """The same steps, for every sequence of gradients and every start."""
        return self.verdict == EQUAL

    @cached_property
    def left_out(self) -> tuple[str, ...]:
        """Of "linear part": what was frozen, averaged, dropped or taken at a limit, and they differ in."""
        return _left_out(branches(self.first, self.second)) if self.verdict == LINEAR_PART else ()

    @cached_property
    def relations(self) -> tuple[Relation, ...]:
        """Known relations by which they agree, with their sources."""
        return () if self.verdict == DIFFERENT else relations_between(self.first, self.second)

    @cached_property
    def maps(self) -> tuple[dict[str, float], ...]:
        """Values of the second one's hyper-parameters that make its steps the first's, if some were found.

        They were confirmed as `compare` confirms "equal". None found does not prove that there are none.
        """
        from edsl.theory.mapping import find_map

        found = None if self.equal else find_map(self.first, self.second)
        return () if found is None else (found,)

    @property
    def first_difference(self) -> tuple[int, float, float] | None:
        """(n, weight of the gradient n steps back in the first, in the second): where linear parts first differ."""
        return self._apart[0]

    @property
    def largest_difference(self) -> tuple[float, float, float] | None:
        """(frequency in cycles a step, gain of the first, of the second): where linear parts differ most."""
        return self._apart[1]

    @cached_property
    def _apart(self) -> tuple[Any, Any]:
        pairs = branches(self.first, self.second)
        if self.verdict != DIFFERENT or any(_reason(pipeline) for pair in pairs for pipeline in pair):
            return None, None
        return _where(*next(pair for pair in pairs if not agree(*pair, LINEAR)))


def compare(first: Pipeline, second: Pipeline) -> Comparison:
    """Whether two pipelines take the same steps, with their hyper-parameters held constant.

    "equal": their recurrences agree on random gradients, as small and as large as any of their numbers,
    in extended precision and up to the rounding of the numbers themselves; and so do they in a run on a
    quadratic in float64. "linear part": they agree once what `left_out` names is left out of both.
    "different": their linear parts differ; or neither has one, and runs part.

    Raises:
        NotLinear: where they are not equal, and one has no linear model; names the stage. `Undecided`
            where neither has one, and nothing parts them here.

    Example:
        >>> import edsl
        >>> from edsl.theory.equivalence import compare
        >>> heavy_ball = edsl.parse("grad | sgd(lr=0.1, momentum=0.9)")
        >>> compare(heavy_ball, edsl.parse("grad | e(alpha=-9, beta1=0.9) | sgd(lr=1)")).verdict
        'equal'
        >>> compare(edsl.parse("adam"), edsl.parse("adamw")).left_out
        ('weight decay: weight_decay=0 in the first, weight_decay=0.01 in the second',)
    """
    if first == second:
        return Comparison(first, second, EQUAL)
    pairs = branches(first, second)
    if all(agree(*pair) for pair in pairs):
        found = [run_difference(*pair) for pair in pairs]
        if any(value is not None and not value <= RUN_TOLERANCE for value in found):
            raise NotLinear("the two are one recurrence, but rounding parts them in a run of float64")
        run = None if None in found else max(value for value in found if value is not None)
        return Comparison(first, second, EQUAL, run)
    reasons = [_reason(pipeline) for pair in pairs for pipeline in pair]
    if not any(reasons):
        same = all(agree(*pair, LINEAR) for pair in pairs)
        return Comparison(first, second, LINEAR_PART if same else DIFFERENT)
    if any(_parts(*pair) for pair in pairs if all(map(_reason, pair))):
        return Comparison(first, second, DIFFERENT)
    kind = Undecided if all(all(map(_reason, pair)) or agree(*pair) for pair in pairs) else NotLinear
    raise kind(f"{next(filter(None, reasons))}; edsl verify compares runs")


def branches(first: Pipeline, second: Pipeline) -> list[tuple[Pipeline, Pipeline]]:
    """The pairs to compare: the two, or route by route.

    Raises:
        NotLinear: where the two lead parameters to different routes.
    """
    ones, others = first.branches, second.branches
    if _routes(ones) != _routes(others):
        names = [", ".join(names) or "no routes" for names in (ones, others)]
        raise NotLinear(f"parameters are led apart, to {names[0]} and to {names[1]}: compare the routes one by one")
    return [(ones[name], others[name]) for name in ones]


def _routes(names: Iterable[str]) -> Any:
    """What two routings have in common if they lead alike: kinds in any order, patterns in theirs."""
    from edsl.updates.route import KINDS

    return {name for name in names if name in KINDS}, [name for name in names if name not in KINDS]


def agree(first: Pipeline, second: Pipeline, reading: Reading = EXACT) -> bool:
    """Whether two recurrences make the same steps of the same gradients, up to the rounding of their numbers.

    The steps are those of `trajectory`, functions that are no arithmetic taken as unknown. Recurrences of n
    buffers that agree for 2n steps agree for ever where they are linear; here it is 24 steps more.
    """
    if not may_agree(first, second, reading):
        return False
    pairs = [(first, second)]
    if "spared" not in reading.ideal and (first.spared(), second.spared()) != pairs[0]:
        pairs.append((first.spared(), second.spared()))
    return all(_agree(*pair, reading) for pair in pairs)


def may_agree(first: Pipeline, second: Pipeline, reading: Reading = EXACT) -> bool:
    """Whether they have the same estimator, judge and kind of weights to evaluate with, which no numbers make up for."""
    return (
        ("estimator" in reading.ideal or str(first.estimator) == str(second.estimator))
        and ("guard" in reading.ideal or first.judges == second.judges)
        and ("evaluated" in reading.ideal or bool(first.evaluated) == bool(second.evaluated))
    )


def _agree(first: Pipeline, second: Pipeline, reading: Reading) -> bool:
    walk = _open_walk((first, second))
    one, two = (walked(pipeline, walk, reading, _variants(pipeline)) for pipeline in (first, second))
    rows = [(one.steps, two.steps)]
    if "evaluated" not in reading.ideal:
        rows.append((one.evaluated, two.evaluated))
    return all(_near(a, b, size[:, :1]) for ours, theirs in rows for a, b, size in zip(ours, theirs, one.size))


def _near(a: Any, b: Any, size: Any) -> bool:
    """Whether values (their first variant) differ by no more than the rounding of hyper-parameters explains."""
    eps = np.finfo(PRECISE).eps
    with np.errstate(all="ignore"):
        explained = sum(abs(x - x[:, :1]).sum(1, keepdims=True) for x in (a, b))
        a, b = a[:, :1], b[:, :1]
        largest = np.maximum(abs(a), abs(b)).max((-2, -1), keepdims=True)
        bound = 2 * explained + 100 * eps * largest + 4 * eps * size
        return bool(np.all((abs(a - b) <= bound) | (a == b) | (np.isnan(a) & np.isnan(b))))


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


def _open_walk(pipelines: Sequence[Pipeline]) -> Walk:
    """Random gradients, whatever θ does: as large as each of the pipelines' numbers, and zero at first."""
    numbers = {abs(value) for pipeline in pipelines for value in pipeline.hyperparameters.values() if value}
    decades = {round(float(np.log10(value) * power)) for value in numbers for power in (1, 0.5)} - {0}
    scales = np.array([1, 1, *(PRECISE(10) ** decade for decade in sorted(decades))], dtype=PRECISE)
    memory = sum(len(stage.init(0.0)) for pipeline in pipelines for stage in pipeline.stages)
    length = 24 + 2 * memory
    generator = np.random.default_rng(0)
    drawn = generator.normal(size=(length, len(scales), 1, LAYERS, ELEMENTS)) * scales[:, None, None, None]
    drawn[:3, 1] = 0
    start = np.broadcast_to(generator.normal(size=(LAYERS, ELEMENTS)), (len(scales), 1, LAYERS, ELEMENTS))
    return Walk(start.astype(PRECISE), lambda k, theta: drawn[k - 1], length)


def run_difference(first: Pipeline, second: Pipeline) -> float | None:
    """The largest |a − b| / max(1, |a|) of θ in a run of both in float64 on a quadratic; None where there can be none."""
    generator = np.random.default_rng(1)
    size = LAYERS * ELEMENTS
    basis, _ = np.linalg.qr(generator.normal(size=(size, size)))
    hessian = basis * np.geomspace(0.05, 1, size) @ basis.T
    start = generator.normal(size=(1, 1, LAYERS, ELEMENTS)) + 2.0
    minimum = generator.normal(size=size)

    def gradient(k: int, theta: Any) -> Any:
        return ((theta.reshape(-1) - minimum) @ hessian).reshape(start.shape)

    try:
        one, two = (walked(pipeline, Walk(start, gradient, RUN_STEPS), REAL) for pipeline in (first, second))
    except Unreadable:
        return None
    worst, a, b = 0.0, start, start
    for ours, theirs in zip(one.steps, two.steps):
        a, b = a + ours, b + theirs
        with np.errstate(all="ignore"):
            apart = abs(a - b) / np.maximum(1, abs(a))
        if not np.all(np.isfinite(a) | np.isfinite(b)):
            break
        worst = max(worst, float(np.nan_to_num(apart, nan=np.inf).max()))
    return worst


def _parts(first: Pipeline, second: Pipeline) -> bool:
    """Whether a run with their own functions parts two pipelines, which proves that they differ."""
    if str(first.estimator) != str(second.estimator):
        return False
    found = run_difference(first, second)
    return found is not None and (found > 1e-6 or not agree(first, second, REAL))


@lru_cache(maxsize=256)
def _reason(pipeline: Pipeline) -> str:
    """Why a pipeline has no linear model, or ""."""
    if pipeline.estimator.is_linear and _is_linear(pipeline):
        return ""
    try:
        linearise(pipeline)
    except NotLinear as reason:
        return str(reason)
    return f"{pipeline.update.name} has no linear model: its recurrence changes with k"


def _is_linear(pipeline: Pipeline) -> bool:
    """Whether the steps of a weighted sum of gradients are that sum of steps, and later ones those of later gradients."""
    generator = np.random.default_rng(3)
    length, late = 24, 3
    one, other = generator.normal(size=(2, length, LAYERS, ELEMENTS)).astype(PRECISE)
    later = np.concatenate([np.zeros_like(one[:late]), one[:-late]])
    gradients = np.stack([one, other, 2 * one - 3 * other, later], axis=1)[:, :, None]
    start = np.zeros((4, 1, LAYERS, ELEMENTS), dtype=PRECISE)
    found = walked(pipeline, Walk(start, lambda k, theta: gradients[k - 1], length), LINEAR)
    if found.functions:
        return False
    steps = np.array(found.steps)
    a, b, both, delayed = np.moveaxis(steps, 1, 0)
    bound = 1e-12 * abs(steps).max()
    return bool(np.all(abs(2 * a - 3 * b - both) <= bound) and np.all(abs(delayed[late:] - a[:-late]) <= bound))


def _left_out(pairs: Sequence[tuple[Pipeline, Pipeline]]) -> tuple[str, ...]:
    """In words, what must be left out of two pipelines that they agree: no more of it than must be."""
    ideal = set(IDEALS)
    for one in IDEALS:
        if all(agree(*pair, Reading(frozenset(ideal - {one}))) for pair in pairs):
            ideal.remove(one)
    words: dict[str, str] = {}
    for pair in pairs:
        needed = [one for one in IDEALS if one in ideal and not agree(*pair, Reading(frozenset(ideal - {one})))]
        words.update({one: _said(one, *pair) for one in needed if one not in words})
    return tuple(words[one] for one in IDEALS if one in words)


def _said(ideal: str, first: Pipeline, second: Pipeline) -> str:
    """What one of `IDEALS` leaves out of two pipelines."""
    if ideal == "decay":
        return f"weight decay: {_decays(first)} in the first, {_decays(second)} in the second"
    if ideal == "estimator":
        return f"the estimator: {first.estimator} in the first, {second.estimator} in the second"
    if ideal == "noise":
        said = [", ".join(_named(pipeline, "noise")) or "none" for pipeline in (first, second)]
        return f"noise, which is 0 on average: {said[0]} in the first, {said[1]} in the second"
    guards = dict.fromkeys([*_named(first, "guard"), *_named(second, "guard")])
    stages = " and ".join(dict.fromkeys(_having(ideal, first) + _having(ideal, second)))
    return {
        "guard": f"gradients that are not finite, judged by {' and '.join(guards)}",
        "evaluated": "the averaged weights to evaluate with",
        "spared": "parameters spared decay and layerwise scaling (biases, norms)",
        "first": f"the first step of {stages}, taken as any later one",
        "debias": f"debiasing in {stages}, taken at its limit",
        "root": f"√v̂, frozen in {stages}: beta3, eps1 and what v reads don't count",
    }[ideal]


def _named(pipeline: Pipeline, name: str) -> list[str]:
    return [str(stage) for stage in pipeline.stages if stage.name == name]


def _having(ideal: str, pipeline: Pipeline) -> list[str]:
    """The stages that something is idealised of."""
    found = walked(pipeline, _open_walk((pipeline,)), LINEAR).idealised
    return [stage.name for stage in pipeline.stages if (ideal, stage.name) in found]


def _decays(pipeline: Pipeline) -> str:
    """The hyper-parameters that spared parameters are spared, with their values."""
    spared = {
        key: value
        for key, value in pipeline.hyperparameters.items()
        if pipeline.keys[key][1] in pipeline.stages[pipeline.keys[key][0]].spared_values()
    }
    return ", ".join(f"{key}={plain(value)}" for key, value in spared.items()) or "none"


def _where(first: Pipeline, second: Pipeline) -> tuple[Any, Any]:
    """Where two linear parts differ: the first weight of a past gradient, and the frequency of the largest ratio."""
    one, two = update_filter(first), update_filter(second)
    weights = one.impulse(200), two.impulse(200)
    apart = np.flatnonzero(~np.isclose(*weights, rtol=1e-9, atol=1e-15))
    place = int(apart[0]) if len(apart) else None
    frequencies = np.linspace(0.0005, 0.5, 500)
    gains = one.bode(frequencies)[0], two.bode(frequencies)[0]
    most = int(np.argmax(np.abs(np.log((gains[0] + 1e-300) / (gains[1] + 1e-300)))))
    return (
        None if place is None else (place, float(weights[0][place]), float(weights[1][place])),
        (float(frequencies[most]), float(gains[0][most]), float(gains[1][most])),
    )
