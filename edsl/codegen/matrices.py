"""Matrices while a step is recorded: each operation on them is noted, and its result is read by elements like a tensor.

Shapes are those of one parameter, the probe, of which nothing is allocated. Its rows and columns differ, the sides of
its blocks as well if they can, and a rank that a stage bounds its buffers by is less than both: tensors that have the
same shape there have it for every parameter.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from edsl.codegen.expression import Conditions, Expression, TracingContext, live_value, load, postorder
from edsl.language.context import NotElementwise
from edsl.language.rules.names import state_name
from edsl.numerics.blocks import block_shapes
from edsl.step.inputs import LiveLayout
from edsl.step.segment import Segment

Shape = tuple[int, ...]
PROBES: tuple[Shape, ...] = (  # rows and columns
    (7, 3),
    (2, 1),  # where blocks have two rows at the most
    (1_000_003, 499_979),  # where a rank may be more than 3
)


@dataclass(frozen=True, eq=False)
class MatrixCall:
    """One operation on matrices.

    Attributes:
        name: as stages ask for it, of `At`, but for "gram", x xᵀ.
        operands: the matrices that it takes.
        arguments: what else it is called with.
    """

    name: str
    operands: tuple[Expression, ...]
    arguments: tuple[Any, ...] = ()


class Shapes:
    """The shapes of values, for a small parameter.

    Args:
        probe: its rows and columns.
        own: of the segment's buffers, by their numbers, where they aren't the parameter's.
    """

    def __init__(self, probe: Shape, own: dict[int, Shape]) -> None:
        self.probe = probe
        self.own = own
        self._leaves: dict[tuple[str, int], Shape] = {("buffer", place): shape for place, shape in own.items()}
        self._known: dict[Expression, Shape | None] = {}

    def add_result(self, number: int, shape: Shape) -> None:
        self._leaves["result", number] = shape

    def of(self, value: Any) -> Shape:
        """The shape of the tensor that an element belongs to.

        Raises:
            NotElementwise: for what is no element, or is made of elements of tensors of different shapes.
        """
        if not isinstance(value, Expression) or not value.is_element:
            raise NotElementwise("a step takes a number for a matrix")
        for node in postorder([value], lambda node: () if node in self._known else node.operands):
            if node not in self._known:
                self._known[node] = self._found(node)
        shape = self._known[value]
        assert shape is not None  # it is an element
        return shape

    def _found(self, node: Expression) -> Shape | None:
        if not node.is_element:
            return None
        if node.op == "read":
            return self._leaves.get(node.parts, self.probe)
        shapes = {self._known[part] for part in node.operands if part.is_element}
        if len(shapes) > 1:
            raise NotElementwise("a step computes with elements of matrices of different shapes")
        return shapes.pop()


def shapes_of(segment: Segment) -> Shapes:
    """Those for the parameter that tells most of the segment's buffers apart, and from the parameter itself."""
    found = [Shapes(probe, _factor_shapes(segment, probe[0], probe[1])) for probe in PROBES]
    return max(found, key=lambda shapes: len({shapes.probe, *shapes.own.values()}))  # the first of the best


def _factor_shapes(segment: Segment, rows: int, columns: int) -> dict[int, Shape]:
    """The shapes of those of a segment's buffers that do not have the parameter's, by their numbers."""
    own = {
        state_name(label, name): shape
        for label, stage in zip(segment.labels, segment.stages)
        for name, shape in stage.buffer_shapes(rows, columns).items()
    }
    return {place: own[name] for place, name in enumerate(segment.buffers) if name in own}


class MatrixTracingContext(TracingContext):
    """Where a step of matrices happens on expressions; rows and columns are live values.

    Args:
        shapes: of the segment's buffers, as `Shapes` takes them.

    Attributes:
        calls: in the order in which they are asked for; the result of each is a leaf, "result".
    """

    def __init__(self, live: LiveLayout, conditions: Conditions, shapes: Shapes) -> None:
        super().__init__(live, conditions)
        self.rows, self.columns = map(live_value, (live.rows, live.columns))
        self.calls: list[MatrixCall] = []
        self.shapes = shapes

    def transpose(self, x: Any) -> Expression:
        *stack, rows, columns = self.shapes.of(x)
        return self._call("transpose", (*stack, columns, rows), x)

    def product(self, x: Any, y: Any) -> Expression:
        *stack, rows, inner = self.shapes.of(x)
        *other, taken, columns = self.shapes.of(y)
        if stack != other or inner != taken:
            raise NotElementwise("a step multiplies matrices whose shapes don't fit")
        shape = (*stack, rows, columns)
        if self._is_transpose(x, y) or self._is_transpose(y, x):
            return self._call("gram", shape, x)
        return self._call("product", shape, x, y)

    def _is_transpose(self, x: Expression, y: Expression) -> bool:
        """Whether x is yᵀ."""
        if x.op != "read" or x.parts[0] != "result":
            return False
        call = self.calls[x.parts[1]]
        return call.name == "transpose" and call.operands == (y,)

    def blocks(self, x: Any, size: int) -> Expression:
        rows, columns = self.shapes.of(x)
        (*grid, p, _), (*_, q) = block_shapes(rows, columns, size)
        return self._call("blocks", (*grid, p, q), x, arguments=(size,))

    def whole(self, x: Any) -> Expression:
        return self._call("whole", self.shapes.probe, x)

    def orthogonal(self, x: Any, steps: int, polynomials: str, precision: str) -> Expression:
        return self._call("orthogonal", self.shapes.of(x), x, arguments=(steps, polynomials, precision))

    def preconditioned(self, left: Any, x: Any, right: Any) -> Expression:
        return self._call("preconditioned", self.shapes.of(x), left, x, right)

    def _call(self, name: str, shape: Shape, *operands: Any, arguments: tuple[Any, ...] = ()) -> Expression:
        for operand in operands:
            self.shapes.of(operand)
        self.shapes.add_result(len(self.calls), shape)
        self.calls.append(MatrixCall(name, operands, arguments))
        return load("result", len(self.calls) - 1)
