"""A recorded step of matrices whose symmetric or triangular buffers are kept as one triangle each.

What is computed element by element for a whole matrix is computed so for its triangle: a packed buffer is written by
loops over triangles alone, of which those of results are taken out before ("packed"). Where an operation takes such a
buffer, or elements of other matrices stand beside it, its matrix is made first ("unpacked").
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch

from edsl.codegen.expression import Expression, interned, load, postorder
from edsl.codegen.loops import SUMS
from edsl.codegen.matrices import MatrixCall, Shape, Shapes
from edsl.codegen.trace import Trace
from edsl.language.context import NotElementwise
from edsl.numerics.formats.format import StateFormat
from edsl.numerics.formats.packed import Packed
from edsl.step.state_dtype import Kept, Stored


def packed_in(kinds: Sequence[Kept]) -> dict[int, Packed]:
    """The places of buffers of which triangles are kept."""
    return {place: kind for place, kind in enumerate(kinds) if isinstance(kind, Packed)}


def stored(kinds: Sequence[Kept]) -> tuple[Stored, ...]:
    """What loops see of buffers: codes, and of triangles the dtype."""
    return tuple(kind if isinstance(kind, (torch.dtype, StateFormat)) else kind.dtype for kind in kinds)


def with_triangles(trace: Trace, forms: Mapping[int, Packed]) -> Trace:
    """The same step on buffers of which some are kept as triangles.

    Raises:
        NotElementwise: for a triangle that would be written from a matrix which is no result, nor a buffer kept so.
    """
    return _Packing(trace, forms).trace() if forms else trace


class _Packing:
    """A step, and the forms of its packed buffers by their places."""

    def __init__(self, trace: Trace, forms: Mapping[int, Packed]) -> None:
        assert trace.shapes is not None  # it is that of a segment
        self.old, self.forms, self.before = trace, forms, trace.shapes
        own = {
            place: forms[place].shape(shape) if place in forms else shape for place, shape in self.before.own.items()
        }
        self.shapes = Shapes(self.before.probe, own)
        self.calls: list[MatrixCall] = []
        self.names: dict[Expression, Expression] = {}  # of what is read in full
        self.triangles: dict[tuple[Expression, str], Expression] = {}

    def trace(self) -> Trace:
        for number, call in enumerate(self.old.calls):
            operands = tuple(self._whole(operand) for operand in call.operands)
            result = load("result", number)
            self.names[result] = self._call(replace(call, operands=operands), self.before.of(result))
        after = [
            new if new is old else self._triangle(new, self.forms[place]) if place in self.forms else self._whole(new)
            for place, (old, new) in enumerate(zip(self.old.buffers, self.old.after))
        ]
        made = None if self.old.made is None else self._whole(self.old.made)
        addends = tuple(map(self._whole, self.old.addends))
        return replace(self.old, made=made, after=after, calls=tuple(self.calls), shapes=self.shapes, addends=addends)

    def _whole(self, value: Expression) -> Expression:
        """A value for elements of the parameter's or of whole matrices."""
        for node in postorder([value], lambda node: () if node in self.names else node.operands):
            if node not in self.names:
                self.names[node] = self._unpacked(node) if node.is_leaf else _of_parts(node, self.names)
        return self.names[value]

    def _unpacked(self, leaf: Expression) -> Expression:
        place = _place(leaf)
        if place is None or place not in self.forms:
            return leaf
        return self._call(MatrixCall("unpacked", (leaf,), (self.forms[place].structure, place)), self.before.of(leaf))

    def _triangle(self, value: Expression, form: Packed) -> Expression:
        """A value for elements of triangles."""
        found: dict[Expression, Expression] = {}
        for node in postorder([value]):
            if node.op in SUMS:
                raise NotElementwise("a triangle is written from a sum over its matrix")
            if node not in found:
                found[node] = self._packed(node, form) if node.is_leaf else _of_parts(node, found)
        return found[value]

    def _packed(self, leaf: Expression, form: Packed) -> Expression:
        if not leaf.is_element:
            return leaf
        place = _place(leaf)
        if place is not None and place in self.forms and self.forms[place].structure == form.structure:
            return leaf
        if leaf.op != "read" or leaf.parts[0] != "result":
            raise NotElementwise("a triangle is written from a matrix that is not kept as one")
        key = leaf, form.structure
        if key not in self.triangles:
            shape = form.shape(self.before.of(leaf))
            self.triangles[key] = self._call(MatrixCall("packed", (self.names[leaf],), (form.structure,)), shape)
        return self.triangles[key]

    def _call(self, call: MatrixCall, shape: Shape) -> Expression:
        """The result of one more operation."""
        self.shapes.add_result(len(self.calls), shape)
        self.calls.append(call)
        return load("result", len(self.calls) - 1)


def _place(leaf: Expression) -> int | None:
    """The place of the buffer that a leaf reads."""
    return leaf.parts[1] if leaf.op == "read" and leaf.parts[0] == "buffer" else None


def _of_parts(node: Expression, found: Mapping[Expression, Expression]) -> Expression:
    """The same operation on what its parts have become."""
    parts = tuple(found[part] for part in node.operands)
    return node if parts == node.parts else interned(node.op, parts, node.is_element, node.round)
