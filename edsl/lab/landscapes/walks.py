"""A walk over a landscape from many starts at once, and what it has seen of the valley."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from edsl.errors import EdslError, ShapeError, brief
from edsl.lab.closure import closure_for
from edsl.lab.landscapes.landscapes import STEPS, Landscape, Valley
from edsl.language.pipeline import Pipeline
from edsl.language.reductions import asks_of_all
from edsl.language.spec import as_pipeline
from edsl.optim.compile import compile

_ALONG = 1.1  # how much longer than a step its way along the valley may be
RATES = np.logspace(-3, 0, 51)  # of a walk over many learning rates


@dataclass(frozen=True)
class Walk:
    """Where a pipeline went.

    Attributes:
        points: (steps + 1, walks, dimension), float64, the starts first; losses: (steps + 1, walks).
        rates: the learning rate of each walk, where they differ.
    """

    spec: str
    points: np.ndarray
    losses: np.ndarray
    rates: np.ndarray | None = None


@dataclass(frozen=True)
class Visit:
    """What one walk in the plane has seen.

    Attributes:
        reached: whether it was ever on the valley: at a loss below the landscape's level.
        arc: range of the arc coordinate among its points on the valley, as figures are quoted. On the
            closed cardioid it jumps to the whole length as soon as a walk crosses the cusp.
        covered: length of valley that it went along: of all steps between two points on the valley
            whose ends lie no further apart on it than 1.1 times the step's length, joined together. A zigzag
            that leaves the valley at each turn counts less than it spans.
        path: length of its path.
        flattest: the least of the Hessian's top eigenvalue at its points on the valley; NaN off it.
        final, lowest: the loss at its end, and its least.
    """

    reached: bool
    arc: float
    covered: float
    path: float
    flattest: float
    final: float
    lowest: float


def walk(
    landscape: Landscape,
    spec: Any,
    starts: Tensor,
    steps: int = STEPS,
    rates: Sequence[float] | np.ndarray | None = None,
    tick: Callable[[int], None] | None = None,
) -> Walk:
    """Take steps from each start, (n, d); all of them share each compiled step, and nothing else.

    Every start is a parameter of its own, so that a layer's norm is that of one point. Pipelines
    that read all parameters together (`clip(norm=…)`, `spsa`, another package's, …) walk from one
    start after the other.

    Args:
        steps: also T of schedules.
        rates: a learning rate for each start, or None for the spec's.
        tick: called with the number of each finished step.

    Raises:
        EdslError: for a bad spec, one that can't take a point, or rates for one without lr.
    """
    pipeline = as_pipeline(spec)
    if rates is not None and not all(_has_rate(one) for one in pipeline.branches.values()):
        raise EdslError(
            f"{landscape.name} is walked at many learning rates, and {pipeline.update.name} has no lr: "
            "choose an update that has, such as adam"
        )
    parts = [[row] for row in range(len(starts))] if _reads_all_together(pipeline) else [list(range(len(starts)))]
    points = np.empty((steps + 1, len(starts), landscape.dimension))
    for rows in parts:
        chosen = None if rates is None else [float(rates[row]) for row in rows]
        try:
            points[:, rows] = _walk_together(landscape, pipeline, starts[rows], steps, chosen, tick)
        except ShapeError:
            raise EdslError(_refused(landscape, pipeline)) from None
        except Exception as reason:
            if isinstance(reason, EdslError) or not pipeline.update.moves_weights:
                raise
            raise EdslError(f"{_refused(landscape, pipeline)} ({brief(reason, 200)})") from None
    with torch.no_grad():
        losses = landscape.function(torch.from_numpy(points)).numpy()
    return Walk(pipeline.line, points, losses, None if rates is None else np.asarray(rates, float))


def _has_rate(pipeline: Pipeline) -> bool:
    update = pipeline.update
    return "lr" in (update.defaults() if update.moves_weights else pipeline.hyperparameters)


def _refused(landscape: Landscape, pipeline: Pipeline) -> str:
    numbers = "1 number" if landscape.dimension == 1 else f"{landscape.dimension} numbers"
    return (
        f"{pipeline.update.name} can't step a point of {landscape.name}, a vector of {numbers}: "
        "choose an update for vectors, such as adam or lamb"
    )


def _reads_all_together(pipeline: Pipeline) -> bool:
    estimator = pipeline.estimator
    return (
        estimator.needs_closure
        or pipeline.update.moves_weights
        or bool(pipeline.nonfinite_policy)
        or any(
            stage.needs_total_norm or asks_of_all(stage)
            for one in pipeline.branches.values()
            for stage in one.stages[1:]
        )
    )


def _walk_together(
    landscape: Landscape,
    pipeline: Pipeline,
    starts: Tensor,
    steps: int,
    rates: list[float] | None,
    tick: Callable[[int], None] | None,
) -> np.ndarray:
    parameters: list[Tensor] = [torch.nn.Parameter(start.clone()) for start in starts.double()]
    groups: Any = parameters
    if rates is not None:
        groups = [{"params": [parameter], "lr": rate} for parameter, rate in zip(parameters, rates)]
    optimizer: Any = compile(pipeline, groups, total_steps=steps)
    closure = closure_for(pipeline, optimizer, lambda: landscape.function(torch.stack(parameters)).sum())
    seen = torch.empty(steps + 1, *starts.shape, dtype=torch.float64)
    seen[0] = starts
    for step in range(1, steps + 1):
        for _ in range(pipeline.estimator.calls):
            optimizer.step(closure)
        with torch.no_grad():
            torch.stack(parameters, out=seen[step])
        if tick is not None:
            tick(step)
    return seen.numpy()


def visits(landscape: Landscape, walked: Walk) -> tuple[Visit, ...]:
    """What each walk in the plane has seen of the valley; raises EdslError for a landscape without one."""
    if landscape.valley is None or landscape.arc is None:
        raise EdslError(f"{landscape.name} has no valley to measure: it is one-dimensional")
    valley = landscape.valley()
    on = walked.losses < landscape.level
    quoted = landscape.arc(torch.from_numpy(walked.points)).numpy()
    nearest = valley.arc_of(walked.points)
    sharp = np.full(on.shape, np.inf)
    if on.any():
        sharp[on] = landscape.sharpness(torch.from_numpy(walked.points[on])).numpy()
    lengths = np.linalg.norm(np.diff(walked.points, axis=0), axis=-1)
    found = []
    for i in range(on.shape[1]):
        here = on[:, i]
        both = here[1:] & here[:-1]
        begins, ends, taken = nearest[:-1, i][both], nearest[1:, i][both], lengths[:, i][both]
        reached = bool(here.any())
        found.append(
            Visit(
                reached=reached,
                arc=float(np.ptp(quoted[here, i])) if reached else 0.0,
                covered=covered(valley, begins, ends, taken),
                path=float(lengths[:, i].sum()),
                flattest=float(sharp[:, i].min()) if reached else math.nan,
                final=float(walked.losses[-1, i]),
                lowest=float(np.nanmin(walked.losses[:, i])),
            )
        )
    return tuple(found)


def covered(valley: Valley, begins: np.ndarray, ends: np.ndarray, lengths: np.ndarray) -> float:
    """Length of the union of steps along a valley.

    They go from arc coordinates `begins` to `ends` and are `lengths` long in the plane.

    A step whose way along the valley, the shorter one of a closed valley, is longer than 1.1 times
    its length has cut across, and counts nothing.
    """
    low, high = np.minimum(begins, ends), np.maximum(begins, ends)
    first, last = valley.arcs[0], valley.arcs[-1]
    around = np.zeros(len(low), bool)
    if valley.closed:
        around = high - low > valley.length / 2
    way = np.where(around, valley.length - (high - low), high - low)
    kept = way <= _ALONG * lengths
    inner, outer = kept & ~around, kept & around
    pieces_low = np.concatenate([low[inner], np.full(outer.sum(), first), high[outer]])
    pieces_high = np.concatenate([high[inner], low[outer], np.full(outer.sum(), last)])
    if len(pieces_low) == 0:
        return 0.0
    order = np.argsort(pieces_low)
    pieces_low, pieces_high = pieces_low[order], np.maximum.accumulate(pieces_high[order])
    before = np.concatenate([[-np.inf], pieces_high[:-1]])
    return float(np.maximum(0, pieces_high - np.maximum(pieces_low, before)).sum())


@dataclass(frozen=True)
class MedianInterval:
    """A median over starts and its 95 % bootstrap interval, equal ends where nothing varies."""

    median: float
    low: float
    high: float


def median_interval(values: Sequence[float], seed: int = 0) -> MedianInterval:
    """The median with scipy's BCa interval, or the percentiles' where that is undefined.

    Example:
        >>> from edsl.lab.landscapes.walks import median_interval
        >>> median_interval([1.0, 1.0, 1.0])
        MedianInterval(median=1.0, low=1.0, high=1.0)
    """
    import warnings

    from scipy.stats import bootstrap

    sample = np.asarray(values, float)
    sample = sample[np.isfinite(sample)]
    if len(sample) == 0:
        return MedianInterval(math.nan, math.nan, math.nan)
    median = float(np.median(sample))
    if len(sample) < 3 or np.ptp(sample) == 0:
        return MedianInterval(median, float(sample.min()), float(sample.max()))
    low, high = math.nan, math.nan
    for method in ("BCa", "percentile"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # degenerate samples, which the second method takes
            found = bootstrap(
                (sample,), np.median, n_resamples=9999, method=method, rng=np.random.default_rng(seed)
            ).confidence_interval
        low, high = float(found.low), float(found.high)
        if math.isfinite(low) and math.isfinite(high):
            break
    return MedianInterval(median, low, high)


@dataclass(frozen=True)
class Tour:
    """What one pipeline's walks in the plane have seen, over all starts."""

    name: str
    spec: str
    arc: MedianInterval
    covered: MedianInterval
    reached: float
    final: MedianInterval
    flattest: MedianInterval
    visits: tuple[Visit, ...]

    def record(self) -> dict[str, Any]:
        return asdict(self)


def tour(landscape: Landscape, name: str, walked: Walk) -> Tour:
    """The walks' visits, summed up."""
    with np.errstate(over="ignore", invalid="ignore"):  # of walks that blow up
        seen = visits(landscape, walked)
    return Tour(
        name=name,
        spec=walked.spec,
        arc=median_interval([one.arc for one in seen]),
        covered=median_interval([one.covered for one in seen]),
        reached=float(np.mean([one.reached for one in seen])),
        final=median_interval([one.final for one in seen]),
        flattest=median_interval([one.flattest for one in seen]),
        visits=seen,
    )


@dataclass(frozen=True)
class Sweep:
    """Where walks in one dimension end, over learning rates.

    Attributes:
        ends: x at the end; basins: the number of its minimum, 0 the first and −1 none.
        first, another, none: how many learning rates end there.
        furthest: the number of the furthest minimum in which one ends, −1 for none.
    """

    name: str
    spec: str
    rates: tuple[float, ...]
    ends: tuple[float, ...]
    basins: tuple[int, ...]

    @property
    def first(self) -> int:
        return self.basins.count(0)

    @property
    def none(self) -> int:
        return self.basins.count(-1)

    @property
    def another(self) -> int:
        return len(self.basins) - self.first - self.none

    @property
    def furthest(self) -> int:
        return max(self.basins)

    def record(self) -> dict[str, Any]:
        return {**asdict(self), "first": self.first, "another": self.another, "none": self.none}


def sweep(landscape: Landscape, name: str, walked: Walk) -> Sweep:
    """Where each learning rate's walk ended."""
    assert walked.rates is not None  # a sweep is over rates
    ends = walked.points[-1, :, 0]
    return Sweep(
        name, walked.spec, tuple(walked.rates.tolist()), tuple(ends.tolist()), tuple(landscape.basin(ends).tolist())
    )
