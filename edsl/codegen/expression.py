"""Values that record how they are computed: a step as expressions of θ, g, its memory and its hyper-parameters.

A value is an element of a tensor, or a scalar that a whole layer shares. Scalars that stand on a norm
or a mean over the layer are known only after a pass over its elements: the number of such passes
before a value is its round, as in edsl.language.reductions.

Expressions are hash-consed: an operation on the same parts is the same object, so that a subexpression that
several stages write, such as 1 − β₁, is one node, computed once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from threading import Lock
from typing import Any, NoReturn
from weakref import WeakValueDictionary

from edsl.language.context import At, Branching, NotElementwise
from edsl.language.operations import OPERATIONS, Operation, function_named
from edsl.step.inputs import LiveLayout

# What a form of weights makes of θ and its rest, and of the next value; its text defines both.
OF_WEIGHTS = {
    "joined": Operation("joined({0}, {1})", "joined({0}, {1})"),
    "rest_of": Operation("rest_of({0})", "rest_of({0})"),
}


def operation(name: str) -> Operation:
    """The row of an operation that an expression is made by."""
    return OF_WEIGHTS.get(name) or OPERATIONS[name]


@dataclass(frozen=True, eq=False)
class Expression:
    """What a value is made of. Made by `interned`, which gives equal expressions as one object.

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

    def __mod__(self, other: Any) -> Expression:
        return apply("mod", self, other)

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


_nodes: WeakValueDictionary[tuple[Any, ...], Expression] = WeakValueDictionary()
_lock = Lock()  # which threads that trace at the same time need, to share their nodes


def interned(op: str, parts: tuple[Any, ...], is_element: bool, round: int) -> Expression:
    """The one expression of this operation on these parts; its arguments are the attributes of `Expression`."""
    key = (op, *(part.hex() if isinstance(part, float) else part for part in parts))  # 0.0 is not −0.0
    with _lock:
        return _nodes.setdefault(key, Expression(op, parts, is_element, round))


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
    return interned("read", (name, place), True, 0)


def scalar(place: int) -> Expression:
    """What a buffer of one number a layer holds."""
    return interned("read", ("scalar", place), False, 0)


def live_value(place: int) -> Expression:
    """An entry of the vector of live values."""
    return interned("live", (place,), False, 0)


def apply(op: str, *parts: Any) -> Expression:
    """What an operator makes of its parts, of which some may be numbers.

    Raises:
        NotElementwise: for a part that is neither an expression nor a number.
    """
    made = tuple(part if isinstance(part, Expression) else _constant(part) for part in parts)
    return interned(op, made, any(part.is_element for part in made), max(part.round for part in made))


def _constant(value: Any) -> Expression:
    if not isinstance(value, (int, float)):
        raise NotElementwise(f"a step computes with a {type(value).__name__}")
    return interned("constant", (float(value),), False, 0)


@dataclass(frozen=True)
class Conditions:
    """What a step finds beside its gradient: code is made for each of these combinations.

    Attributes:
        looked: there is a new estimate of the Hessian at this step.
        differs: the estimator gives its own difference of raw gradients.
        apart: the raw gradient is something else than what flows in.
    """

    looked: bool = False
    differs: bool = False
    apart: bool = False


ALONE = Conditions()  # the gradient is all


class TracingContext(At):
    """Where a step happens on expressions.

    Args:
        live: where the step's number and the others stand in the live vector.

    Attributes:
        addends: of what it asks for totals over all layers, in order.
    """

    addends: list[Expression]

    def __init__(self, live: LiveLayout, conditions: Conditions) -> None:
        self.theta = load("theta")
        self.x = load("x")
        self.gradient = load("gradient") if conditions.apart else self.x
        self.k, self.looks, self.total_norm = map(live_value, (live.k, live.looks, live.total_norm))
        self.hessian = load("hessian") if conditions.looked else self.theta
        self.powers = [(live_value(decay), live_value(power)) for decay, power in live.powers]
        self.live, self.addends = live, []
        self.looked = conditions.looked
        self.own_difference = load("difference") if conditions.differs else None

    def function(self, name: str, *arguments: Any) -> NoReturn:
        raise NotElementwise(f"a step asks for at.{name}")

    def elementwise(self, name: str, *parts: Any) -> Expression:
        function_named(name)
        return apply(name, *parts)

    def sqrt(self, x: Any) -> Expression:
        return apply("sqrt", x)

    def equal(self, x: Any, y: Any) -> Expression:
        return apply("==", x, y)

    def either(self, x: Any, y: Any) -> Expression:
        return apply("or", x, y)

    def isfinite(self, x: Any) -> Expression:
        return apply("isfinite", x)

    def where(self, condition: Any, x: Any, otherwise: Any) -> Expression:
        return apply("where", condition, x, otherwise)

    def norm(self, x: Any) -> Expression:
        return self._of_layer("norm", x)

    def mean(self, x: Any) -> Expression:
        return self._of_layer("mean", x)

    def total(self, x: Any) -> Expression:
        if not isinstance(x, Expression) or not x.is_element:
            raise NotElementwise("a step asks for the total of a scalar")
        self.addends.append(x)
        return live_value(self.live.total(len(self.addends) - 1))

    def _of_layer(self, op: str, x: Any) -> Expression:
        if not isinstance(x, Expression) or not x.is_element:
            raise NotElementwise(f"a step asks for the {op} of a scalar")
        return interned(op, (x,), False, x.round + 1)

    def scalar(self, x: Any) -> Expression:
        return x if isinstance(x, Expression) else _constant(x)
