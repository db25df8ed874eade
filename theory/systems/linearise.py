"""Stage definitions → the linear recurrence that they are on a quadratic.

On f = hθ²/2 with gradient noise ξ, g = hθ + ξ. The stages' own `step` is run on sympy symbols, and
the next state is differentiated by the state: x_k = A x_{k−1} + B ξ_k. What is claimed linear is
checked to be linear, with coefficients that do not change with k. What is idealised is said: in
`notes`, that a root √v̂ is frozen (as for Adam near a stationary point) or the mean taken of noise; in
`transients`, that a debiasing is at its limit, 1, or what happens at the first step alone left out.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from fractions import Fraction
from functools import cached_property, lru_cache
from typing import Any

import sympy

from edsl.errors import EdslError, brief
from edsl.language.context import Draws, NamedAt
from edsl.language.operations import OPERATIONS
from edsl.language.pipeline import Pipeline
from edsl.language.schedules.layerwise import is_plain
from edsl.language.stage import Stage

THETA, CURVATURE, NOISE, Z = sympy.Symbol("theta"), sympy.Symbol("h"), sympy.Symbol("xi"), sympy.Symbol("z")
OWN_THETA, STEP = sympy.Symbol("theta_"), sympy.Symbol("k", positive=True)  # θ as a stage reads it; the step number


class NotLinear(EdslError):
    """A stage whose recurrence is not linear in gradient and state; names the stage and the reason."""


@dataclass(frozen=True)
class LinearSystem:
    """x_k = A x_{k−1} + B ξ_k on f = hθ²/2, in symbols.

    Attributes:
        states: θ first, then the buffers, as symbols named `label.buffer`.
        A, B: sympy matrices in the hyper-parameters' symbols and the curvature h; shapes (n, n), (n, 1).
        values: the pipeline's own hyper-parameters, as exact rationals.
        notes: what was idealised, in words.
        transients: what differs in the first steps, in words; it moves no eigenvalue.
        periods: n of everything that a stage does every n steps.
    """

    states: tuple[sympy.Symbol, ...]
    A: sympy.Matrix
    B: sympy.Matrix
    values: dict[sympy.Symbol, Any]
    notes: tuple[str, ...]
    transients: tuple[str, ...] = ()
    periods: frozenset[int] = frozenset()

    def at(self, **values: Any) -> LinearSystem:
        """The system with its own values, or these instead, put in; the curvature `h` if given."""
        numbers = {**self.values, **{sympy.Symbol(name): exact(value) for name, value in values.items()}}
        return LinearSystem(self.states, self.A.subs(numbers), self.B.subs(numbers), {}, self.notes, self.transients)

    @cached_property
    def characteristic(self) -> sympy.Poly:
        """det(zI − A) as a polynomial in z, all modes."""
        return sympy.Poly((Z * sympy.eye(len(self.states)) - self.A).det(method="berkowitz"), Z)

    @cached_property
    def minimal_characteristic(self) -> sympy.Poly:
        """The denominator of the transfer from ξ to θ: the modes that the noise reaches and θ shows."""
        resolvent = (Z * sympy.eye(len(self.states)) - self.A).adjugate() * self.B
        transfer = sympy.cancel(resolvent[0] / self.characteristic.as_expr())
        return sympy.Poly(sympy.fraction(transfer)[1], Z)


def exact(value: Any) -> Any:
    """A number as the rational that its decimal text says: 0.99 is 99/100; raises NotLinear for one on a schedule."""
    if not is_plain(value):
        raise NotLinear(f"the linear model is of constant numbers, got {value!r}; write its value of some step")
    if isinstance(value, Fraction):
        return sympy.Rational(value.numerator, value.denominator)
    return sympy.Rational(repr(value)) if isinstance(value, float) else sympy.sympify(value)


_REFUSED = {
    "norm": "a factor that depends on the layer's norm",
    "ratio": "a ratio of norms",
    "clamp": "a bound on each element",
    "min": "a minimum",
    "max": "a maximum",
    "sign": "a sign, whose slope at 0 nothing bounds",
    "positive": "a mask",
    "where": "a choice by values",
    "row_mean": "a mean over each row",
    "column_mean": "a mean over each column",
    "equal": "a choice by values",
    "either": "a choice by values",
    "isfinite": "a choice by values",
    "mean": "a mean over the layer",
    "total": "a sum over all layers",
    "every": "it acts only every few steps",
    "orthogonal": "the orthogonalisation of a matrix",
}
_MATRIX = "a preconditioner made of matrices"


class LinearAt(NamedAt):
    """Where a step happens, in symbols, refusing what is not linear."""

    def __init__(self, stage: Stage, lr: Any, constants: Collection[sympy.Symbol], phase: int | None = None) -> None:
        self.stage = stage
        self.lr = lr
        self.phase = phase
        self.periods: set[int] = set()
        self.constants = constants
        self.theta = OWN_THETA
        self.k = self.looks = STEP
        self.normals = Draws(lambda _: sympy.Integer(0))  # additive noise of its own moves no pole
        self.hessian = CURVATURE
        self.rows = self.columns = sympy.Integer(1)
        self.frozen: dict[sympy.Symbol, Any] = {}
        self.transients: list[str] = []

    @property
    def total_norm(self) -> Any:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self._refuse("a bound on the norm of all gradients")

    def function(self, name: str, *arguments: Any) -> Any:
        if self.stage.buffer_shapes(1, 1) and name in ("norm", "ratio"):
            return self._refuse(_MATRIX)  # and only beside it a norm
        said = _REFUSED.get(name) or (f"{name} of each element" if name in OPERATIONS else _MATRIX)
        removable = name == "norm" and hasattr(self.stage, "layerwise")
        return self._refuse(f"{said} (layerwise=False removes it)" if removable else said)

    def sqrt(self, x: Any) -> Any:
        if sympy.sympify(x).free_symbols <= set(self.constants):
            return sympy.sqrt(x)
        scale = sympy.Symbol(f"{self.stage.name}.scale{len(self.frozen)}", positive=True)
        self.frozen[scale] = x
        return scale

    def debias(self, x: Any, beta: Any, count: Any = None) -> Any:
        self.transients.append("debiasing is at its limit, 1")
        return x

    def first(self, x: Any, otherwise: Any) -> Any:
        self.transients.append("what its first step alone does is left out")
        return otherwise

    def every(self, period: int, x: Any, otherwise: Any) -> Any:
        if self.phase is None:
            return super().every(period, x, otherwise)
        self.periods.add(int(period))
        return otherwise if self.phase % int(period) else x

    def fresh(self, x: Any, otherwise: Any) -> Any:
        return x

    def finite(self, x: Any) -> Any:
        return x

    def _refuse(self, what: str) -> Any:
        raise NotLinear(f"{self.stage.name} has no linear model: {what}")


@dataclass(frozen=True)
class Passage:
    """One stage run on symbols: what flows out, its next memory, and what was left aside, in words.

    What a frozen root divides by, √v̂ + ε₁, is taken as 1, so the curvature is the preconditioned one.

    Attributes:
        periods: n of everything that the stage does every n steps.
    """

    out: Any
    memory: dict[sympy.Symbol, Any]
    frozen: tuple[str, ...]
    transients: tuple[str, ...]
    periods: frozenset[int] = frozenset()


def run(
    pipeline: Pipeline,
    index: int,
    incoming: Any,
    gradient: Any,
    values: Mapping[str, Any] | None = None,
    phase: int | None = None,
) -> Passage:
    """One stage's step on symbols, which are named by the pipeline's keys.

    Args:
        values: numbers that stand for hyper-parameters instead of their symbols.
        phase: the step's number, for a stage that acts every few steps; None refuses such a stage.

    Raises:
        NotLinear: with the stage's name.
    """
    stage, label = pipeline.stages[index], pipeline.labels[index]
    given = values or {}
    live = {field: given.get(key, sympy.Symbol(key)) for field, key in live_names(pipeline, index).items()}
    constants = {symbol for value in live.values() for symbol in sympy.sympify(value).free_symbols}
    at = LinearAt(stage, given.get("lr", sympy.Symbol("lr")), constants, phase)
    at.gradient = gradient
    kind: Any = type(stage.init(0.0))
    old = kind(*[sympy.Symbol(f"{label}.{name}") for name in kind._fields])
    try:
        constant = {name: exact(getattr(stage, name)) for name in stage.hidden_constants()}
        out, new = stage.bind(live | constant).step(incoming, old, at)
        out, entries = _rational(out), {symbol: _rational(entry) for symbol, entry in zip(old, new)}
    except NotLinear:
        raise
    except EdslError as reason:  # another package's optimizer has no step to run
        raise NotLinear(str(reason)) from None
    except Exception as reason:  # a plugin's step may do what symbols can't, such as to branch on a value
        said = brief(reason)
        raise NotLinear(f"{stage.name} has no linear model: its step can't be run on symbols: {said}") from None
    # A buffer that is only seen through a frozen root is frozen with it.
    rooted = {symbol for x in at.frozen.values() for symbol in sympy.sympify(x).free_symbols}
    hidden = (rooted & set(old)) - _reached(out, entries)
    absent = [sympy.Symbol(key) for field, key in live_names(pipeline, index).items() if getattr(stage, field) == 0]
    frozen = tuple(_frozen(at, out, absent))
    out, *kept = (_unit_scales(x, at.frozen.keys(), constants).subs(OWN_THETA, THETA) for x in (out, *entries.values()))
    memory = {symbol: entry for symbol, entry in zip(entries, kept) if symbol not in hidden}
    return Passage(out, memory, frozen, tuple(dict.fromkeys(at.transients)), frozenset(at.periods))


def _rational(expression: Any) -> Any:
    """The same with every decimal number in it as the rational that its text says."""
    found = sympy.sympify(expression)
    return found.xreplace({number: exact(float(number)) for number in found.atoms(sympy.Float)})


def _frozen(at: LinearAt, out: Any, absent: Collection[sympy.Symbol]) -> list[str]:
    """What is said of a frozen root, which divides λ too where θ itself passes through.

    Args:
        absent: hyper-parameters that are 0.
    """
    if not at.frozen:
        return []
    letters = {field.name: field.metadata["letter"] for field in fields(at.stage)}
    added = next((letter for letter in map(letters.get, at.stage.live_fields()) if letter and letter[0] == "ε"), "")
    scale = f"√v̂ + {added}" if added else "√v̂"
    own = out.diff(at.theta).subs(dict.fromkeys(absent, 0))
    decay = ", and λ alike" if own.has(*at.frozen) else ""
    return [f"√v̂ is frozen, and h is the preconditioned curvature h/({scale}){decay}"]


def _unit_scales(expression: Any, scales: Collection[sympy.Symbol], constants: set[sympy.Symbol]) -> Any:
    """Every frozen root, with the constants that are added to it, as 1."""
    if not scales:
        return expression

    def is_scale(term: Any) -> bool:
        return term in scales or (term.is_Pow and term.base in scales)

    def divides(node: Any) -> bool:
        rest = [term for term in node.args if not is_scale(term)] if node.is_Add else node.args
        return node.is_Add and len(rest) < len(node.args) and all(term.free_symbols <= constants for term in rest)

    return expression.replace(divides, lambda *_: sympy.Integer(1)).subs(dict.fromkeys(scales, 1))


def _reached(out: Any, entries: dict[sympy.Symbol, Any]) -> set[sympy.Symbol]:
    """The buffers that what flows out depends on, at once or by way of others."""
    reached: set[sympy.Symbol] = set()
    waiting = out.free_symbols & entries.keys()
    while waiting:
        reached |= waiting
        waiting = {symbol for one in waiting for symbol in entries[one].free_symbols & entries.keys()} - reached
    return reached


@lru_cache(maxsize=64)
def linearise(pipeline: Pipeline, phase: int | None = None) -> LinearSystem:
    """The linear system of a pipeline on f = hθ²/2, in the symbols of its hyper-parameters.

    Args:
        phase: the step's number, for stages that act every few steps; None refuses them.

    Raises:
        NotLinear: for a stage that has no linear model (clip, Lamb's layerwise factor, another
            package's optimizer), by name.

    Example:
        >>> import edsl
        >>> from edsl.theory.systems.linearise import linearise
        >>> linearise(edsl.parse("sgd(lr=0.1)")).A
        Matrix([[-h*lr - lr*weight_decay + 1]])
    """
    if not pipeline.estimator.is_linear:
        raise NotLinear(f"{pipeline.estimator.name} has no linear model: its gradient is taken away from θ")
    gradient = CURVATURE * THETA + NOISE
    flow: Any = gradient
    memory: dict[sympy.Symbol, Any] = {}
    notes: list[str] = []
    transients: list[str] = []
    periods: frozenset[int] = frozenset()
    if pipeline.estimator.draws_directions:
        notes.append(f"{pipeline.estimator.name}: the mean of its estimates, without their noise")
    for index, stage in enumerate(pipeline.stages[1:], start=1):
        passage = run(pipeline, index, flow, gradient, phase=phase)
        periods |= passage.periods
        notes += [f"{stage.name}: {said}" for said in passage.frozen]
        transients += [f"{stage.name}: {said}" for said in passage.transients]
        if stage.needs_noise:
            notes.append(f"{stage.name}: its noise, of mean 0, is left out")
        flow = passage.out
        memory.update(passage.memory)
        for expression in (flow, *(memory[symbol] for symbol in passage.memory)):
            _check_linear(stage, expression, [THETA, NOISE, *memory])
    states = (THETA, *memory)
    following: Any = sympy.Matrix([THETA + flow, *memory.values()])
    return LinearSystem(
        states=states,
        A=following.jacobian(sympy.Matrix(states)).applyfunc(sympy.expand),
        B=following.diff(NOISE).applyfunc(sympy.expand),
        values={sympy.Symbol(key): exact(value) for key, value in pipeline.hyperparameters.items()},
        notes=tuple(dict.fromkeys(notes)),
        transients=tuple(dict.fromkeys(transients)),
        periods=periods,
    )


def live_names(pipeline: Pipeline, index: int) -> dict[str, str]:
    """field → key in the pipeline, for the live fields of one stage."""
    live = pipeline.stages[index].live_fields()
    return {field: key for key, (owner, field) in pipeline.keys.items() if owner == index and field in live}


def _check_linear(stage: Stage, expression: Any, variables: list[sympy.Symbol]) -> None:
    """The certificate: all slopes are free of the variables, and without them nothing is left."""
    slopes = [expression.diff(variable) for variable in variables]
    bent = any(slope.free_symbols & set(variables) for slope in slopes)
    if bent:
        bent = any(sympy.expand(slope).free_symbols & set(variables) for slope in slopes)
    if bent or sympy.expand(expression.subs(dict.fromkeys(variables, 0))) != 0:
        raise NotLinear(f"{stage.name} has no linear model: its step is not linear in gradient and state")
    if expression.has(STEP):
        raise NotLinear(f"{stage.name} has no linear model that stays: its coefficients change with the step number k")
