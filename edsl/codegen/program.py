"""A recorded step of matrices as a program: loops over elements, and between them operations on matrices.

What stands on no operation belongs to level 0, what stands on results of level 0 to level 1, and so on. On each level
first come the loops, one for all tensors of one shape, then the operations that take what they wrote. Nothing but the
operands is kept from one level to the next: what a later one needs is computed again from memory, so that a value is
written to its buffer as soon as nobody reads the old one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from edsl.codegen.expression import Expression, interned, load, postorder, scalar
from edsl.codegen.loops import SUMS
from edsl.codegen.matrices import MatrixCall, Shape, Shapes
from edsl.codegen.trace import Trace
from edsl.language.context import NotElementwise

VIEWS = ("transpose", "blocks", "whole")  # operations whose result may lie where their operand does
THETA = -1  # the place of θ, or of what flows out, beside those of buffers


@dataclass(frozen=True)
class Loops:
    """Loops over the elements of all tensors of one shape.

    Attributes:
        trace: what they compute; its buffers are some of the segment's, then temporaries.
        shape: of the tensors, for a parameter of the probe's.
        temporaries: the numbers of those in the trace.
        written: the numbers of those that it makes.
    """

    trace: Trace
    shape: Shape
    temporaries: tuple[int, ...]
    written: tuple[int, ...]

    @property
    def kept(self) -> tuple[int, ...]:
        """The numbers of the segment's buffers that they read or write."""
        return self.trace.places[: len(self.trace.places) - len(self.temporaries)]

    @property
    def elements(self) -> tuple[int, ...]:
        """Those of them that have the loops' shape, which numbers of the layer don't."""
        return tuple(place for i, place in enumerate(self.kept) if i not in self.trace.scalars)

    def dtypes(self, buffers: Sequence[Any], work: Any) -> tuple[Any, ...]:
        """Those of the trace's buffers, by the segment's and that of arithmetic."""
        return (*(buffers[place] for place in self.kept), *(work for _ in self.temporaries))


@dataclass(frozen=True)
class Operand:
    """A matrix that an operation takes: a buffer of the segment, or a temporary, by its number.

    Attributes:
        stays: the step leaves that buffer as it is.
    """

    kind: str
    number: int
    stays: bool = False


@dataclass(frozen=True)
class Operation:
    """An operation on matrices, and the number of the temporary that it makes."""

    call: MatrixCall
    operands: tuple[Operand, ...]
    makes: int


@dataclass(frozen=True)
class Program:
    """The parts of a step in their order.

    Attributes:
        ends: for each part the temporaries that no later one needs.
        probe: the rows and columns of the parameter for which shapes are.
    """

    parts: tuple[Loops | Operation, ...]
    ends: tuple[tuple[int, ...], ...]
    probe: Shape

    @property
    def loops(self) -> list[Loops]:
        """The parts that are compiled."""
        return [part for part in self.parts if isinstance(part, Loops)]


def cut(recording: Trace, exact: Sequence[bool]) -> Program:
    """The program of a step.

    Args:
        exact: for each buffer, whether what was written to it reads back unrounded.

    Raises:
        NotElementwise: for elements of matrices of different shapes in one expression.
    """
    parts = tuple(_Cut(recording, exact).parts())
    last: dict[int, int] = {}
    for place, part in enumerate(parts):
        last |= dict.fromkeys(_touched(part), place)
    ends = tuple(tuple(number for number, end in last.items() if end == place) for place in range(len(parts)))
    return Program(parts, ends, _shapes(recording).probe)


def _shapes(recording: Trace) -> Shapes:
    assert recording.shapes is not None  # it is that of a segment
    return recording.shapes


def whole(recording: Trace, exact: Sequence[bool]) -> Program:
    """The program of a step of elements, norms and means: one part, whatever is exact."""
    probe = _shapes(recording).probe
    return Program((Loops(recording, probe, (), ()),), ((),), probe)


def _touched(part: Loops | Operation) -> Iterable[int]:
    if isinstance(part, Loops):
        return part.temporaries
    return (part.makes, *(operand.number for operand in part.operands if operand.kind == "temporary"))


class _Cut:
    """How one step is cut: the level of each operation, and that on which each buffer and θ are written."""

    def __init__(self, recording: Trace, exact: Sequence[bool]) -> None:
        self.recording, self.exact, self.shapes = recording, exact, _shapes(recording)
        self.roots = {THETA: recording.made} if recording.made is not None else {}
        self.roots |= {place: recording.after[place] for place in recording.changed if place not in recording.scalars}
        self.numbers = [recording.after[place] for place in recording.counted]
        self._depths: dict[Expression, int] = {}
        self.levels: list[int] = []
        for call in recording.calls:
            self.levels.append(max(map(self._level_of_operand, call.operands)))
        self.writes = {place: self._depth(root) for place, root in self.roots.items()}
        self.last = max([*self.levels, *self.writes.values(), *map(self._depth, self.numbers)], default=0)
        while late := self._overwritten():
            self.writes |= late  # a later level reads the old value: write the new one there
        self._written: dict[Expression, int] = {}  # operands → their temporaries

    def parts(self) -> Iterable[Loops | Operation]:
        for level in self._all_levels():
            made: dict[Shape, list[tuple[Expression, int]]] = {}
            operations = []
            for number, call in enumerate(self.recording.calls):
                if self.levels[number] == level:
                    operands = tuple(self._operand(call, x, level, made) for x in call.operands)
                    operations.append(Operation(call, operands, number))
            moving: dict[Shape, list[int]] = {}
            for place, root in self.roots.items():
                if self.writes[place] == level:
                    moving.setdefault(self._shape_of(place, root), []).append(place)
            if self.numbers and level == self.last:  # numbers of the layer are written behind all that reads them
                moving.setdefault(self.shapes.probe, []).extend(self.recording.counted)
            for shape in dict.fromkeys([*made, *moving]):
                yield self._loops(shape, made.get(shape, []), moving.get(shape, []), level)
            yield from operations

    def _all_levels(self) -> range:
        return range(1 + self.last)

    def _depth(self, root: Expression) -> int:
        for node in postorder([root], lambda node: () if node in self._depths else node.operands):
            if node not in self._depths:
                own = 1 + self.levels[node.parts[1]] if _is_result(node) else 0
                self._depths[node] = max([own, *(self._depths[part] for part in node.operands)])
        return self._depths[root]

    def _level_of_operand(self, operand: Expression) -> int:
        return self.levels[operand.parts[1]] if _is_result(operand) else self._depth(operand)

    def _shape_of(self, place: int, root: Expression) -> Shape:
        return self.shapes.of(self.recording.buffers[place] if place != THETA else load("theta"))

    def _known(self, level: int) -> dict[Expression, Expression]:
        """What may be read from a buffer that was written on an earlier level."""
        return {
            root: self.recording.buffers[place]
            for place, root in self.roots.items()
            if place != THETA and self.exact[place] and self.writes[place] < level
        }

    def _overwritten(self) -> dict[int, int]:
        """The places whose old values are read after they are written: → the level of that."""
        late: dict[int, int] = {}
        for level in self._all_levels():
            roots = [
                x
                for number, call in enumerate(self.recording.calls)
                if self.levels[number] == level
                for x in call.operands
                if not self._lies_in_memory(call, x, level)
            ]
            roots += [root for place, root in self.roots.items() if self.writes[place] == level]
            roots += self.numbers if level == self.last else []
            known = self._known(level)
            for node in _read(roots, known):
                place = _place(node)
                if place in self.writes and self.writes[place] < level and (place != THETA or self.recording.updates):
                    late[place] = level
        return late

    def _lies_in_memory(self, call: MatrixCall, operand: Expression, level: int) -> bool:
        """Whether an operation can take an operand as it lies: a result, or a buffer that holds it then."""
        return _is_result(operand) or self._buffer_of(call, operand, level) is not None

    def _buffer_of(self, call: MatrixCall, operand: Expression, level: int) -> int | None:
        place = _place(operand)
        if place is not None and place != THETA and place not in self.roots:
            return place
        if call.name in VIEWS:
            return None
        return next(
            (
                place
                for place, root in self.roots.items()
                if root is operand and place != THETA and self.exact[place] and self.writes[place] <= level
            ),
            None,
        )

    def _operand(
        self, call: MatrixCall, operand: Expression, level: int, made: dict[Shape, list[tuple[Expression, int]]]
    ) -> Operand:
        if _is_result(operand):
            return Operand("temporary", operand.parts[1])
        buffer = self._buffer_of(call, operand, level)
        if buffer is not None:
            return Operand("buffer", buffer, buffer not in self.roots)
        number = self._written.get(operand)
        if number is None:
            number = self._written[operand] = len(self.recording.calls) + len(self._written)
            made.setdefault(self.shapes.of(operand), []).append((operand, number))
        return Operand("temporary", number)

    def _loops(self, shape: Shape, made: Sequence[tuple[Expression, int]], moving: Sequence[int], level: int) -> Loops:
        """The loops that make operands and write buffers, and θ, of one shape on one level."""
        known, scalars = self._known(level), self.recording.scalars
        moved = [self._root(place) for place in moving]
        roots = [*(operand for operand, _ in made), *moved]
        self._check(roots, shape)
        leaves = [*_read(roots, known), *(known[node] for node in _reached(roots, known) if node in known)]
        own = {place for place in map(_place, leaves) if place is not None} | {*moving}
        own |= {node.parts[1] for node in leaves if node.op == "read" and node.parts[0] == "scalar"}
        kept = sorted(own - {THETA})
        read = sorted({node.parts[1] for node in leaves if _is_result(node)})
        written = tuple(number for _, number in made)
        names = {
            self.recording.buffers[place]: scalar(i) if place in scalars else load("buffer", i)
            for i, place in enumerate(kept)
        }
        results = [load("buffer", len(kept) + i) for i in range(len(read) + len(written))]
        names |= {node: results[read.index(node.parts[1])] for node in leaves if _is_result(node)}
        names |= {root: names[buffer] for root, buffer in known.items() if buffer in names}
        operands = _rewritten([operand for operand, _ in made], names)
        after = dict(zip(moving, _rewritten(moved, names)))
        buffers = [names[self.recording.buffers[place]] for place in kept]
        trace = Trace(
            made=after.get(THETA),
            buffers=[*buffers, *results],
            after=[*(after.get(place, old) for place, old in zip(kept, buffers)), *results[: len(read)], *operands],
            updates=self.recording.updates and THETA in moving,
            places=(*kept, *(len(self.recording.buffers) for _ in results)),
            scalars=frozenset(i for i, place in enumerate(kept) if place in scalars),
            weights=self.recording.weights,
            rest=kept.index(self.recording.rest) if self.recording.rest in kept else None,
        )
        return Loops(trace, shape, (*read, *written), written)

    def _root(self, place: int) -> Expression:
        return self.recording.after[place] if place in self.recording.scalars else self.roots[place]

    def _check(self, roots: Sequence[Expression], shape: Shape) -> None:
        """Raises NotElementwise where a loop would need elements, or their norm, of tensors of another shape."""
        asked = [node.parts[0] for node in postorder(roots) if node.op in SUMS]
        if any(self.shapes.of(value) != shape for value in [*roots, *asked] if value.is_element):
            raise NotElementwise("a step computes with elements of matrices of different shapes")


def _reached(roots: Sequence[Expression], known: dict[Expression, Expression]) -> list[Expression]:
    """What values are computed from, down to what is known."""
    return postorder(roots, lambda node: () if node in known else node.operands)


def _read(roots: Sequence[Expression], known: dict[Expression, Expression]) -> list[Expression]:
    """The leaves that values are computed from, where nothing else is known of them."""
    return [node for node in _reached(roots, known) if node.is_leaf and node not in known]


def _is_result(node: Expression) -> bool:
    return node.op == "read" and node.parts[0] == "result"


def _place(node: Expression) -> int | None:
    """The place of what a leaf reads, where a step may write it."""
    if node.op != "read" or node.parts[0] not in ("buffer", "theta"):
        return None
    return node.parts[1] if node.parts[0] == "buffer" else THETA


def _rewritten(roots: Sequence[Expression], names: dict[Expression, Expression]) -> list[Expression]:
    """The same values, of which some are read elsewhere."""
    found = dict(names)
    for node in _reached(roots, names):
        if node not in found:
            parts: Any = node.parts if node.is_leaf else tuple(found[part] for part in node.parts)
            found[node] = node if parts == node.parts else _of_parts(node, parts)
    return [found[root] for root in roots]


def _of_parts(node: Expression, parts: Sequence[Expression]) -> Expression:
    """The same operation on other parts."""
    sums = node.op in SUMS
    return interned(node.op, tuple(parts), node.is_element, max(part.round for part in parts) + sums)
