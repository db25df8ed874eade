"""The steps of a pipeline in numbers, by its stages' own definitions and without torch.

Many runs at once: an array has the shape (walks, variants, layers, elements). A walk is a sequence of
gradients, a variant a set of hyper-parameters. What is no arithmetic (a sign, a bound, a matrix's root,
another package's optimizer) is real, or a stand-in: some smooth function of all its arguments. Two
pipelines that agree with stand-ins call the same functions with the same arguments, whatever the bounds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from zlib import crc32

import numpy as np

from edsl.errors import EdslError, first_line
from edsl.language.context import NamedAt
from edsl.language.operations import function_named
from edsl.language.pipeline import Pipeline
from edsl.language.stage import BaseUpdate, Stage

LAYERS, ELEMENTS = 2, 3
PRECISE = np.longdouble
IDEALS = ("estimator", "guard", "evaluated", "spared", "noise", "first", "debias", "root", "decay")
_OF_MATRICES = frozenset(
    (
        *("transpose", "product", "blocks", "whole", "orthogonal", "inverse_power", "eigenbasis", "refined"),
        *("started", "balanced", "factored", "solved", "fitted", "preconditioned"),
        *("row_mean", "column_mean"),
    )
)


class Unreadable(EdslError):
    """A stage that can't be stepped here: one of matrices, another package's optimizer, or one that speaks torch."""


@dataclass(frozen=True)
class Reading:
    """How steps are read.

    Attributes:
        ideal: those of `IDEALS` that are left out. A root is frozen at 1, with what is added to it; a
            debiasing is at its limit; the first step is as any later one; noise is 0; θ itself is not seen.
        real: functions that are no arithmetic are themselves, else stand-ins.
    """

    ideal: frozenset[str] = frozenset()
    real: bool = False


EXACT, REAL, LINEAR = Reading(), Reading(real=True), Reading(frozenset(IDEALS))


@dataclass(frozen=True)
class Walk:
    """Where pipelines step: the same for all that are compared.

    Attributes:
        start: θ₀. gradient: of step k at θ, the estimator's.
        length: how many steps.
        seed: of the diagonal Hessians, the noise and the estimator's own differences.
    """

    start: Any
    gradient: Callable[[int, Any], Any]
    length: int
    seed: int = 0

    def drawn(self, *of: Any) -> Any:
        """Normal numbers that depend on the seed and these words and numbers alone."""
        generator = np.random.default_rng([self.seed, crc32(repr(of).encode())])
        return generator.normal(size=(LAYERS, ELEMENTS)).astype(self.start.dtype)


@dataclass
class Trajectory:
    """What a pipeline did.

    Attributes:
        steps: Δθ of every step. evaluated: the weights to evaluate with, where they aren't θ.
        size: of θ, at each step.
        idealised: which of `IDEALS` a stage has, as (ideal, stage).
        functions: the names of the functions other than arithmetic that were called.
    """

    steps: list[Any] = field(default_factory=list)
    evaluated: list[Any] = field(default_factory=list)
    size: list[Any] = field(default_factory=list)
    idealised: set[tuple[str, str]] = field(default_factory=set)
    functions: set[str] = field(default_factory=set)


class FrozenRoot:
    """A frozen root, replaced by 1: whatever is added to it is frozen with it."""

    __array_ufunc__ = None  # numpy leaves arithmetic with it to it

    def __add__(self, other: Any) -> FrozenRoot:
        return self

    __radd__ = __sub__ = __pow__ = __add__

    def __mul__(self, other: Any) -> Any:
        return self if isinstance(other, FrozenRoot) else other

    __rmul__ = __rtruediv__ = __mul__

    def __truediv__(self, other: Any) -> Any:
        return self if isinstance(other, FrozenRoot) else 1 / other


class NumberAt(NamedAt):
    """Where a step happens, in numbers."""

    def __init__(self, reading: Reading, estimator: Any, walk: Walk, trajectory: Trajectory) -> None:
        self.reading, self.estimator, self.walk, self.trajectory = reading, estimator, walk, trajectory
        self.rows, self.columns = PRECISE(LAYERS), PRECISE(ELEMENTS)
        self.lr: Any = 1
        self.stage: Stage = estimator

    def arrive(self, k: int, theta: Any, gradient: Any) -> None:
        """The next step begins."""
        ideal = self.reading.ideal
        self.number, self.k = k, theta.dtype.type(k)
        self.theta = 0 * theta if "decay" in ideal else theta
        self.gradient = gradient
        looks, before = (k, k - 1) if "estimator" in ideal else (self.estimator.looks(k), self.estimator.looks(k - 1))
        self.looks, self.looked = theta.dtype.type(looks), looks > before

    @property
    def hessian(self) -> Any:  # pyright: ignore[reportIncompatibleVariableOverride]
        return abs(self.walk.drawn("hessian", self.number)) + self.walk.start.dtype.type(0.1)

    def enter(self, stage: Stage, label: str, x: Any) -> None:
        """A stage's step begins."""
        self.stage = stage
        self.normals, self.probes = (
            [
                self.walk.drawn(getattr(one, "seed", 0), own, self.number) * ("noise" not in self.reading.ideal)
                for one, own in drawing
            ]
            for drawing in (stage.draws(label), stage.probes(label))
        )
        if stage.needs_total_norm:
            self.trajectory.functions.add("total_norm")
            self.total_norm = np.sqrt((x * x).sum((-2, -1), keepdims=True))

    def function(self, name: str, *arguments: Any) -> Any:
        self.trajectory.functions.add(name)
        if self.reading.real:
            if name in _OF_MATRICES:
                raise Unreadable(f"{self.stage.name} is about matrices")
            return _REAL[name](*arguments)
        return stand_in(name, *arguments)

    def elementwise(self, name: str, *parts: Any) -> Any:
        self.trajectory.functions.add(name)
        return getattr(np, function_named(name).method)(*parts) if self.reading.real else stand_in(name, *parts)

    def sqrt(self, x: Any) -> Any:
        if np.shape(x)[-2:] in {(), (1, 1)}:  # of hyper-parameters and k, which no ideal is about
            return np.sqrt(x if self.reading.real else abs(x))
        self.trajectory.idealised.add(("root", self.stage.name))
        if "root" in self.reading.ideal:
            return FrozenRoot()
        return np.sqrt(x if self.reading.real else abs(x))

    def norm(self, x: Any) -> Any:
        self.trajectory.functions.add("norm")
        return np.sqrt((x * x).sum(-1, keepdims=True))

    def mean(self, x: Any) -> Any:
        self.trajectory.functions.add("mean")
        mean = x.mean(-1, keepdims=True)
        return mean if self.reading.real else stand_in("mean", mean)

    def total(self, x: Any) -> Any:
        self.trajectory.functions.add("total")
        return x.sum((-2, -1), keepdims=True) + np.zeros((LAYERS, 1), x.dtype)  # each layer's own, as data are

    def debias(self, x: Any, beta: Any, count: Any = None) -> Any:
        self.trajectory.idealised.add(("debias", self.stage.name))
        if "debias" in self.reading.ideal:
            return x
        return x / (1 - beta ** (self.k if count is None else count))

    def first(self, x: Any, otherwise: Any) -> Any:
        self.trajectory.idealised.add(("first", self.stage.name))
        return x if self.number == 1 and "first" not in self.reading.ideal else otherwise

    def ratio(self, x: Any, y: Any, where: Any = None) -> Any:
        self.trajectory.functions.add("ratio")
        zero = ((x if where is None else where) == 0) | (y == 0)
        return np.where(zero, 1, x / np.where(zero, 1, y))

    def fresh(self, x: Any, otherwise: Any) -> Any:
        return x if self.looked else otherwise

    def difference(self, x: Any, past: Any) -> Any:
        if self.estimator.gives_difference and x is self.gradient and "estimator" not in self.reading.ideal:
            return x - past + self.walk.drawn("difference", self.number)
        return x - past

    def finite(self, x: Any) -> Any:
        if "guard" in self.reading.ideal:
            return x
        return np.where(np.isfinite(x), x, 0) if self.reading.real else stand_in("finite", x)

    def every(self, period: int, x: Any, otherwise: Any) -> Any:
        self.trajectory.functions.add("every")
        if self.reading.real or period == 1:
            return x if self.number % period == 0 else otherwise
        return x if _is_due(str(period), self.number) else otherwise

    def refreshes(self, stage: Stage) -> bool:
        if stage.refresh_every == 0 or self.number == 1:
            return stage.refresh_every > 0
        return stage.rhythm == "each step" or _is_due(stage.rhythm, self.number - 1)


def _is_due(rhythm: str, k: int) -> bool:
    """Of a stand-in, at steps of its own for each rhythm, since a period may be longer than the walk."""
    return crc32(f"{rhythm} {k}".encode()) % 3 == 0


_REAL: Mapping[str, Callable[..., Any]] = {
    "clamp": lambda x, bound: np.clip(x, -bound, bound),
    "min": np.minimum,
    "max": np.maximum,
    "sign": np.sign,
    "positive": lambda x: np.where(x > 0, 1, 0),
    "equal": np.equal,
    "either": np.logical_or,
    "isfinite": np.isfinite,
    "where": np.where,
}


def stand_in(name: str, *arguments: Any) -> Any:
    """A smooth function of this name, of all its arguments: the same only where name and arguments are."""
    total: Any = 0
    for place, argument in enumerate((0, *arguments)):
        if isinstance(argument, (bool, np.bool_)) or (isinstance(argument, np.ndarray) and argument.dtype == bool):
            argument = np.asarray(argument, PRECISE)
        weight = 0.5 + crc32(f"{name} {place}".encode()) / 2**32
        if isinstance(argument, str):
            argument = crc32(argument.encode()) / 2**32
        total = total + weight * np.sign(argument) * abs(argument) ** PRECISE(1 / (2 + place))
    return total


@np.errstate(all="ignore")
def walked(pipeline: Pipeline, walk: Walk, reading: Reading = EXACT, values: Mapping[str, Any] | None = None) -> Any:
    """The trajectory of a pipeline.

    Args:
        values: its hyper-parameters, of the shape (variants, 1, 1) where there are several.

    Raises:
        Unreadable: for a stage that has no real reading, if one is asked for.
    """
    dtype = walk.start.dtype.type
    values = {**{key: dtype(repr(value)) for key, value in pipeline.hyperparameters.items()}, **(values or {})}
    bound = [_bound(pipeline, index, values) for index in range(len(pipeline.stages))]
    found = Trajectory()
    at = NumberAt(reading, pipeline.estimator, walk, found)
    theta, zero = walk.start, 0 * walk.start
    shape = np.broadcast_shapes(theta.shape, *(np.shape(value) for value in values.values()))
    memory = [stage.init(zero) for stage in pipeline.stages]
    for k in range(1, walk.length + 1):
        x = gradient = walk.gradient(k, theta)
        at.arrive(k, theta, gradient)
        for index, stage in enumerate(bound[1:], start=1):
            at.enter(pipeline.stages[index], pipeline.labels[index], x)
            x, memory[index] = _stepped(stage, x, memory[index], at)
        found.steps.append(np.broadcast_to(x, shape))
        found.size.append(abs(theta).max((-2, -1), keepdims=True))
        theta = theta + x
        if pipeline.evaluation_buffer:
            label, _, name = pipeline.evaluation_buffer.rpartition(".")
            found.evaluated.append(getattr(memory[pipeline.labels.index(label)], name))
    return found


def _bound(pipeline: Pipeline, index: int, values: Mapping[str, Any]) -> Any:
    """A stage with numbers in it; one without (an estimator, another package's optimizer) as it is."""
    stage = pipeline.stages[index]
    live = stage.live_fields()
    named = {name: values[key] for key, (owner, name) in pipeline.keys.items() if owner == index and name in live}
    within = {name: PRECISE(repr(getattr(stage, name))) for name in stage.hidden_constants()}
    return stage.bind(named | within) if named else stage


def _stepped(stage: Stage, x: Any, memory: Any, at: NumberAt) -> tuple[Any, Any]:
    """What flows out of a stage, and its next memory."""
    if isinstance(stage, BaseUpdate):
        at.lr = getattr(stage, "lr", 1)
        if stage.moves_weights:
            return _opaque(stage, x, at.theta, at.reading), memory
    if stage.staggers:
        raise Unreadable(f"{stage.name} with stagger renews each matrix at steps that its name tells: compare without")
    try:
        if at.refreshes(stage):
            memory = (stage.begin if at.number == 1 else stage.refresh)(x, memory, at)
        return stage.step(x, memory, at)
    except EdslError:
        raise
    except Exception as reason:  # a plugin's step may be written for torch alone
        raise Unreadable(f"{stage.name} can't be read: {first_line(reason)}") from None


def _opaque(stage: Stage, x: Any, theta: Any, reading: Reading) -> Any:
    """Another package's optimizer: some step that depends on its text, on u and on θ."""
    if reading.real:
        raise Unreadable(f"{stage.name} is another package's optimizer: edsl does not know its recurrence")
    return -stand_in(str(stage), x, theta) / 100
