"""How a step scales: its degrees of homogeneity in the gradient and in θ, by running the stages on degrees.

If all gradients are multiplied by a and all parameters by b, a step of degrees (p, q) is multiplied by aᵖ bᵠ
once the buffers have filled. So lr must follow a loss that is multiplied by a as a⁻ᵖ. What is added for safety
(ε, and any number below 10⁻⁶) and weight decay are taken as 0.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from fractions import Fraction
from typing import Any

from edsl.errors import EdslError
from edsl.language.context import Draws, NamedAt
from edsl.language.pipeline import Pipeline
from edsl.language.stage import Stage

_KEEPS = ("sqrt", "norm", "mean", "total", "row_mean", "column_mean", "abs", "neg", "transpose", "blocks", "whole")
_PURE = (
    *("sign", "positive", "orthogonal", "eigenbasis", "refined", "equal", "either", "isfinite"),
    *("started", "balanced", "factored", "solved", "fitted", "preconditioned"),  # white once the factors are fitted
)
_TINY = 1e-6  # a number that is added for safety alone
_HUGE = 1e15  # a bound that stands for "what floats can hold"
_ROUNDS = 4  # until buffers have the degree of what they hold


@dataclass(frozen=True)
class Degree:
    """aᵍ bᵗ as a quantity.

    Attributes:
        blank: it is still 0, and has any degree. mixed: it is a sum of different degrees, and has none.
    """

    g: Fraction = Fraction(0)
    t: Fraction = Fraction(0)
    blank: bool = False
    mixed: bool = False

    def __add__(self, other: Any) -> Degree:
        return _joined(self, other)

    __radd__ = __sub__ = __rsub__ = __add__

    def __mul__(self, other: Any) -> Degree:
        return _combined(self, other, 1)

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> Degree:
        return _combined(self, other, -1)

    def __rtruediv__(self, other: Any) -> Degree:
        return _combined(_of(other), self, -1)

    def __pow__(self, power: Any) -> Degree:
        if self.blank or self.mixed:
            return self
        return Degree(self.g * Fraction(power), self.t * Fraction(power))

    def __neg__(self) -> Degree:
        return self

    def __abs__(self) -> Degree:
        return self

    def __rpow__(self, base: Any) -> Degree:
        return _number(self)

    def _compared(self, other: Any) -> Degree:
        return Degree()

    __lt__ = __gt__ = __le__ = __ge__ = _compared


@dataclass(frozen=True)
class Degrees:
    """The degrees of what each stage hands on, and of the step.

    Attributes:
        stages: by their labels, (in the gradient, in θ).
    """

    stages: dict[str, tuple[float, float]]

    @property
    def step(self) -> tuple[float, float]:
        return list(self.stages.values())[-1]


def degrees(pipeline: Pipeline) -> Degrees:
    """How each stage's output scales with the gradient and with θ.

    Raises:
        EdslError: for a stage that scales with no power of them, such as a bound; by name.

    Example:
        >>> import edsl
        >>> from edsl.theory.statements.homogeneity import degrees
        >>> degrees(edsl.parse("lamb")).step
        (0.0, 1.0)
    """
    gradient = flow = Degree(Fraction(1))
    found = {}
    for stage, label in zip(pipeline.stages[1:], pipeline.labels[1:]):
        flow = _settled(stage, flow, gradient)
        found[label] = (float(flow.g), float(flow.t))
    return Degrees(found)


def _settled(stage: Stage, flow: Degree, gradient: Degree) -> Degree:
    at = _DegreeAt(gradient)
    bare = stage.bind({field.name: 0.0 for field in fields(stage) if _is_left_out(stage, field)})
    try:
        memory = bare.init(Degree(blank=True))
        out = Degree(blank=True)
        for _ in range(_ROUNDS):
            if stage.refresh_every:
                memory = bare.refresh(flow, memory, at)
            out, memory = bare.step(flow, memory, at)
    except EdslError:
        raise
    except Exception as reason:  # a plugin's step may do what degrees can't
        raise EdslError(f"{stage.name}: its step can't be run on degrees") from reason
    if _of(out).mixed:
        raise EdslError(f"{stage.name} has no degree: it adds, or chooses among, quantities that scale differently")
    return _of(out)


def _is_left_out(stage: Stage, field: Any) -> bool:
    letter = field.metadata.get("letter") or ""
    decays = field.metadata.get("spared") is not None or field.name == "weight_decay"
    return field.name in stage.live_fields() and (letter.startswith("ε") or decays)


def _of(x: Any) -> Degree:
    return x if isinstance(x, Degree) else Degree(blank=isinstance(x, (int, float)) and abs(x) < _TINY)


def _number(x: Degree) -> Degree:
    """A function of x that keeps no power of it: a number, of numbers alone."""
    return Degree(mixed=x.mixed or bool(not x.blank and (x.g or x.t)))


def _joined(x: Any, y: Any) -> Degree:
    first, second = _of(x), _of(y)
    if first.blank or second.blank:
        return second if first.blank else first
    return first if first == second else Degree(mixed=True)


def _combined(x: Any, y: Any, sign: int) -> Degree:
    first, second = _of(x), _of(y)
    if first.mixed or second.mixed:
        return Degree(mixed=True)
    if first.blank or second.blank:
        return Degree(blank=True)
    return Degree(first.g + sign * second.g, first.t + sign * second.t)


class _DegreeAt(NamedAt):
    """Where a step happens, on degrees."""

    def __init__(self, gradient: Degree) -> None:
        self.gradient = gradient
        self.theta = Degree(t=Fraction(1))
        self.hessian = gradient / self.theta
        self.total_norm = gradient
        self.k = self.looks = self.rows = self.columns = Degree()
        self.normals = self.probes = Draws(lambda _: Degree())
        self.lr = 1.0

    def function(self, name: str, *arguments: Any) -> Any:
        if name in _PURE:
            return Degree()
        if name == "product":
            return _combined(arguments[0], arguments[1], 1)
        if name in ("fresh", "where", "min", "max", "clamp"):
            kept = [x for x in arguments[-2:] if not _is_huge(x)]
            return _joined(kept[0], kept[-1])
        if name == "ratio":
            if _is_huge(arguments[0]):
                return arguments[0]
            return _combined(arguments[0], arguments[1], -1)
        if name == "inverse_power":
            return _of(arguments[0]) ** -Fraction(arguments[1]).limit_denominator(64)
        if name == "sqrt":
            return _of(arguments[0]) ** Fraction(1, 2)
        if name in _KEEPS or name in ("debias", "finite"):
            return _of(arguments[0])
        return _number(_of(arguments[0]))

    def every(self, period: int, x: Any, otherwise: Any) -> Any:
        return _joined(x, otherwise)

    def first(self, x: Any, otherwise: Any) -> Any:
        return _of(otherwise)

    def orthogonal(self, x: Any, steps: int, polynomials: str, precision: str) -> Any:
        return Degree()


def _is_huge(x: Any) -> bool:
    return isinstance(x, (int, float)) and abs(x) > _HUGE
