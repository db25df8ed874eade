"""Stage definitions → the linear recurrence that they are on a quadratic.

On f = hθ²/2 with gradient noise ξ, g = hθ + ξ. The stages' own `step` is run on sympy symbols, and
the next state is differentiated by the state: x_k = A x_{k−1} + B ξ_k. What is claimed linear is
checked to be linear. Two things are idealised, and said so in `notes`: a root √v̂ is frozen (as for
Adam near a stationary point) and a debiasing is at its limit, 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import sympy

from edsl.errors import EdslError
from edsl.pipeline import Pipeline
from edsl.stage import At, Stage

THETA, CURVATURE, NOISE, Z = sympy.Symbol("theta"), sympy.Symbol("h"), sympy.Symbol("xi"), sympy.Symbol("z")


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
    """

    states: tuple[sympy.Symbol, ...]
    A: sympy.Matrix
    B: sympy.Matrix
    values: dict[sympy.Symbol, Any]
    notes: tuple[str, ...]

    def at(self, **values: Any) -> LinearSystem:
        """The system with its own values, or these instead, put in; the curvature `h` if given."""
        numbers = {**self.values, **{sympy.Symbol(name): exact(value) for name, value in values.items()}}
        return LinearSystem(self.states, self.A.subs(numbers), self.B.subs(numbers), {}, self.notes)

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
    """A number as the rational that its decimal text says: 0.99 is 99/100."""
    return sympy.Rational(repr(value)) if isinstance(value, float) else sympy.sympify(value)


_REFUSED = {
    "norm": "a factor that depends on the layer's norm (layerwise=False removes it)",
    "ratio": "a ratio of norms",
    "clamp": "a bound on each element",
    "min": "a minimum",
    "max": "a maximum",
    "sign": "a sign",
    "positive": "a mask",
    "mean": "a mean over the layer",
    "every": "it acts only every few steps",
    "orthogonal": "the orthogonalisation of a matrix",
}
_MATRIX = "a preconditioner made of matrices"


class LinearAt(At):
    """Where a step happens, in symbols, refusing what is not linear."""

    def __init__(self, stage: Stage, lr: Any) -> None:
        self.stage = stage
        self.lr = lr
        self.theta = THETA
        self.k = self.looks = sympy.Symbol("k", positive=True)
        self.normal = sympy.Integer(0)  # additive noise of its own moves no pole
        self.hessian = CURVATURE
        self.rows = self.columns = sympy.Integer(1)
        self.frozen: dict[sympy.Symbol, Any] = {}

    @property
    def total_norm(self) -> Any:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self._refuse("a bound on the norm of all gradients")

    def function(self, name: str, *arguments: Any) -> Any:
        return self._refuse(_REFUSED.get(name, _MATRIX))

    def sqrt(self, x: Any) -> Any:
        scale = sympy.Symbol(f"{self.stage.name}.scale{len(self.frozen)}", positive=True)
        self.frozen[scale] = x
        return scale

    def norm(self, x: Any) -> Any:
        return self.function("norm")

    def debias(self, x: Any, beta: Any, count: Any = None) -> Any:
        return x

    def first(self, x: Any, otherwise: Any) -> Any:
        return otherwise

    def ratio(self, x: Any, y: Any, where: Any = None) -> Any:
        return self.function("ratio")

    def _refuse(self, what: str) -> Any:
        raise NotLinear(f"{self.stage.name} has no linear model: {what}")


@dataclass(frozen=True)
class Passage:
    """One stage run on symbols: what flows out, its next memory, and whether a root was frozen.

    A frozen root plus ε₁ is taken as 1, so the curvature is the preconditioned one.
    """

    out: Any
    memory: dict[sympy.Symbol, Any]
    frozen: bool


def run(pipeline: Pipeline, index: int, incoming: Any, gradient: Any) -> Passage:
    """One stage's step on symbols, which are named by the pipeline's keys.

    Raises:
        NotLinear: with the stage's name.
    """
    stage, label = pipeline.stages[index], pipeline.labels[index]
    names = live_names(pipeline, index)
    at = LinearAt(stage, sympy.Symbol("lr"))
    at.gradient = gradient
    kind: Any = type(stage.init(0.0))
    old = kind(*[sympy.Symbol(f"{label}.{name}") for name in kind._fields])
    bound = stage.bind({field: sympy.Symbol(key) for field, key in names.items()})
    try:
        out, new = bound.step(incoming, old, at)
    except NotLinear:
        raise
    except EdslError as reason:  # another package's optimizer has no step to run
        raise NotLinear(str(reason)) from None
    # A buffer that is only seen through a frozen root is frozen with it.
    entries = {symbol: sympy.sympify(entry) for symbol, entry in zip(old, new)}
    rooted = {symbol for x in at.frozen.values() for symbol in sympy.sympify(x).free_symbols}
    hidden = (rooted & set(old)) - _reached(sympy.sympify(out), entries)
    memory = {symbol: entry for symbol, entry in entries.items() if symbol not in hidden}
    unit = dict.fromkeys(at.frozen, 1)
    if at.frozen and "eps1" in names:
        unit[sympy.Symbol(names["eps1"])] = 0
    memory = {symbol: entry.subs(unit) for symbol, entry in memory.items()}
    return Passage(sympy.sympify(out).subs(unit), memory, bool(at.frozen))


def _reached(out: Any, entries: dict[sympy.Symbol, Any]) -> set[sympy.Symbol]:
    """The buffers that what flows out depends on, at once or by way of others."""
    reached: set[sympy.Symbol] = set()
    waiting = out.free_symbols & entries.keys()
    while waiting:
        reached |= waiting
        waiting = {symbol for one in waiting for symbol in entries[one].free_symbols & entries.keys()} - reached
    return reached


@lru_cache(maxsize=64)
def linearise(pipeline: Pipeline) -> LinearSystem:
    """The linear system of a pipeline on f = hθ²/2.

    Raises:
        NotLinear: for a stage that has no linear model (clip, Lamb's layerwise factor, another
            package's optimizer), by name.

    Example:
        >>> import edsl
        >>> from edsl.theory.linearise import linearise
        >>> linearise(edsl.parse("sgd(lr=0.1)")).A
        Matrix([[-h*lr - lr*weight_decay + 1]])
    """
    if not pipeline.estimator.is_linear:
        raise NotLinear(f"{pipeline.estimator.name} has no linear model: its gradient is taken away from θ")
    gradient = CURVATURE * THETA + NOISE
    flow: Any = gradient
    memory: dict[sympy.Symbol, Any] = {}
    notes: list[str] = []
    values = {sympy.Symbol(key): exact(value) for key, value in pipeline.hyperparameters.items()}
    for index, stage in enumerate(pipeline.stages[1:], start=1):
        passage = run(pipeline, index, flow, gradient)
        if passage.frozen:
            notes.append(f"{stage.name}: √v̂ is frozen, and h is the preconditioned curvature h/(√v̂ + ε₁)")
        flow = passage.out
        memory.update(passage.memory)
        for expression in (flow, *passage.memory.values()):
            _check_linear(stage, expression, [THETA, NOISE, *memory])
    states = (THETA, *memory)
    following: Any = sympy.Matrix([THETA + flow, *memory.values()])
    return LinearSystem(
        states=states,
        A=following.jacobian(sympy.Matrix(states)).applyfunc(sympy.expand),
        B=following.diff(NOISE).applyfunc(sympy.expand),
        values=values,
        notes=tuple(notes),
    )


def live_names(pipeline: Pipeline, index: int) -> dict[str, str]:
    """field → key in the pipeline, for the live fields of one stage."""
    live = pipeline.stages[index].live_fields()
    return {field: key for key, (owner, field) in pipeline.keys.items() if owner == index and field in live}


def _check_linear(stage: Stage, expression: Any, variables: list[sympy.Symbol]) -> None:
    """The certificate: the expression is its own first-order part."""
    linear = sum(expression.diff(variable) * variable for variable in variables)
    slopes = [expression.diff(variable) for variable in variables]
    if sympy.expand(expression - linear) != 0 or any(slope.free_symbols & set(variables) for slope in slopes):
        raise NotLinear(f"{stage.name} has no linear model: its step is not linear in gradient and state")
