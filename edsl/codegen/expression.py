"""Values that record how they are computed: a step as expressions of θ, g, its memory and its hyper-parameters.

A value is an element of a tensor, or a scalar that a whole layer shares. Scalars that stand on a norm
or a mean over the layer are known only after a pass over its elements: the number of such passes
before a value is its round, as in edsl.language.reductions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from edsl.language.context import LEAST, At, Branching, NotElementwise
from edsl.language.operations import OPERATIONS, function_named


@dataclass(frozen=True, eq=False)
class Expression:
    """What a value is made of.

    Attributes:
        op: an operator or function, or what it is read from: "live", "constant" or a tensor's name.
        parts: what it is made of; of a leaf its place or its number.
        is_element: it differs from element to element.
        round: how many passes over the layer it stands on.
    """

    op: str
    parts: tuple[Any, ...]
    is_element: bool
    round: int

    @property
    def is_leaf(self) -> bool:
        return self.op in ("live", "constant", "read")

    @property
    def operands(self) -> tuple[Expression, ...]:
        """The expressions that it is made of."""
        return () if self.is_leaf else self.parts

    @property
    def is_condition(self) -> bool:
        return self.op in OPERATIONS and OPERATIONS[self.op].is_condition

    def __add__(self, other: Any) -> Expression:
        return apply("+", self, other)

    def __radd__(self, other: Any) -> Expression:
        return apply("+", other, self)

    def __sub__(self, other: Any) -> Expression:
        return apply("-", self, other)

    def __rsub__(self, other: Any) -> Expression:
        return apply("-", other, self)

    def __mul__(self, other: Any) -> Expression:
        return apply("*", self, other)

    def __rmul__(self, other: Any) -> Expression:
        return apply("*", other, self)

    def __truediv__(self, other: Any) -> Expression:
        return apply("/", self, other)

    def __rtruediv__(self, other: Any) -> Expression:
        return apply("/", other, self)

    def __pow__(self, other: Any) -> Expression:
        return apply("pow", self, other)

    def __rpow__(self, other: Any) -> Expression:
        return apply("pow", other, self)

    def __neg__(self) -> Expression:
        return apply("neg", self)

    def __abs__(self) -> Expression:
        return apply("abs", self)

    def __lt__(self, other: Any) -> Expression:
        return apply("<", self, other)

    def __gt__(self, other: Any) -> Expression:
        return apply(">", self, other)

    def __le__(self, other: Any) -> Expression:
        return apply("<=", self, other)

    def __ge__(self, other: Any) -> Expression:
        return apply(">=", self, other)

    def __bool__(self) -> NoReturn:
        raise Branching


def _operands(node: Expression) -> Iterable[Expression]:
    return node.operands


def postorder(
    roots: Iterable[Expression], needed: Callable[[Expression], Iterable[Expression]] = _operands
) -> list[Expression]:
    """All expressions that these are made of, each once, parts first.

    Args:
        needed: what an expression is made of, where it is not all of its operands.
    """
    order: dict[Expression, None] = {}
    stack = [(root, False) for root in reversed([*roots])]
    while stack:
        node, ready = stack.pop()
        if ready:
            order[node] = None
        elif node not in order:
            stack.append((node, True))
            stack.extend((part, False) for part in reversed([*needed(node)]))
    return list(order)


def load(name: str, place: int = 0) -> Expression:
    """An element of a tensor."""
    return Expression("read", (name, place), True, 0)


def live_value(place: int) -> Expression:
    """An entry of the vector of live values."""
    return Expression("live", (place,), False, 0)


def apply(op: str, *parts: Any) -> Expression:
    """What an operator makes of its parts, of which some may be numbers.

    Raises:
        NotElementwise: for a part that is neither an expression nor a number.
    """
    made = tuple(part if isinstance(part, Expression) else _constant(part) for part in parts)
    return Expression(op, made, any(part.is_element for part in made), max(part.round for part in made))


def _constant(value: Any) -> Expression:
    if not isinstance(value, (int, float)):
        raise NotElementwise(f"a step computes with a {type(value).__name__}")
    return Expression("constant", (float(value),), False, 0)


class TracingContext(At):
    """Where a step happens on expressions.

    Args:
        k: the place of the step's number in the live vector; that of the looks, and of the total norm, follow.
        powers: (β, βᵏ) for every decay.
        apart: the raw gradient is something else than what flows in.
        looked: there is a new estimate of the Hessian at this step.
        differs: the estimator gives its own difference of raw gradients.
    """

    def __init__(
        self, k: int, powers: Sequence[tuple[Expression, Expression]], apart: bool, looked: bool, differs: bool
    ) -> None:
        self.theta = load("theta")
        self.x = load("x")
        self.gradient = load("gradient") if apart else self.x
        self.k, self.looks, self.total_norm = live_value(k), live_value(k + 1), live_value(k + 2)
        self.hessian = load("hessian") if looked else self.theta
        self._powers = powers
        self._looked = looked
        self._differs = differs

    def function(self, name: str, *arguments: Any) -> NoReturn:
        raise NotElementwise(f"a step asks for at.{name}")

    def elementwise(self, name: str, *parts: Any) -> Expression:
        function_named(name)
        return apply(name, *parts)

    def sqrt(self, x: Any) -> Expression:
        return apply("sqrt", x)

    def norm(self, x: Any) -> Expression:
        return self._of_layer("norm", x)

    def mean(self, x: Any) -> Expression:
        return self._of_layer("mean", x)

    def _of_layer(self, op: str, x: Any) -> Expression:
        if not isinstance(x, Expression) or not x.is_element:
            raise NotElementwise(f"a step asks for the {op} of a scalar")
        return Expression(op, (x,), False, x.round + 1)

    def debias(self, x: Any, beta: Any, count: Any = None) -> Expression:
        if count is not None:
            return x * (1 / (1 - beta**count))
        power = next((power for known, power in self._powers if known is beta), None)
        return x * (1 / (1 - (beta**self.k if power is None else power)))

    def first(self, x: Any, otherwise: Any) -> Expression:
        return apply("where", apply("==", self.k, 1), x, otherwise)

    def ratio(self, x: Any, y: Any, where: Any = None) -> Expression:
        zero = apply("or", apply("==", x if where is None else where, 0), apply("==", y, 0))
        return apply("where", zero, 1, x / apply("where", zero, 1, y))

    def fresh(self, x: Any, otherwise: Any) -> Any:
        return x if self._looked else otherwise

    def difference(self, x: Any, past: Any) -> Any:
        return load("difference") if self._differs and x is self.gradient else x - past

    def finite(self, x: Any) -> Expression:
        return apply("where", apply("isfinite", x), x, 0)

    def clamp(self, x: Any, bound: Any) -> Expression:
        return self.minimum(self.maximum(x, -bound), bound)

    def minimum(self, x: Any, y: Any) -> Expression:
        return self._either("<", x, y)

    def maximum(self, x: Any, y: Any) -> Expression:
        return self._either(">", x, y)

    def _either(self, order: str, x: Any, y: Any) -> Expression:
        """y where it comes before x, or is NaN, which alone does not equal itself; else x."""
        if not isinstance(y, Expression):
            return apply("where", apply(order, y, x), y, x)  # a number is not NaN
        return apply("where", apply(order, y, x), y, apply("where", apply("==", y, y), x, y))

    def sign(self, x: Any) -> Expression:
        above, below = (apply("where", apply(">=", side, LEAST), 1, 0) for side in (x, -x))
        return apply("-", above, below)

    def filled(self, x: Any) -> Expression:
        return x if isinstance(x, Expression) else _constant(x)

    def where(self, condition: Any, x: Any, y: Any) -> Any:
        return apply("where", condition, x, y) if isinstance(condition, Expression) else x if condition else y

    def positive(self, x: Any) -> Expression:
        return apply("where", apply(">", x, 0), 1, 0)

    def every(self, period: int, x: Any, otherwise: Any) -> Expression:
        return apply("where", apply("==", apply("mod", self.k, period), 0), x, otherwise)
