"""A recorded step as the text of a Python module of Triton kernels, each over the blocks of many layers.

Each pass over the elements is one kernel. Before it a small one, with a program for each layer, takes
the sums that the last pass left and computes in float64 what the layer's elements share. So the
number of launches does not depend on the number of layers. Each block adds up its own part of a sum,
in the working dtype, and a layer's parts are added in their order: results are the same every time.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch

from edsl.codegen import triton_formats
from edsl.codegen.expression import Expression, operation, postorder
from edsl.codegen.loops import SUMS, Loop, is_wide, scalars_met, schedule
from edsl.codegen.signature import KernelSignature, tensors
from edsl.codegen.trace import Trace
from edsl.codegen.triton_prelude import PRELUDE
from edsl.numerics.formats.format import StateFormat
from edsl.numerics.formats.layout import BLOCK as CODES_IN_BLOCK
from edsl.numerics.stochastic_rounding import odd_of
from edsl.numerics.weights.form import REST, WEIGHT

TYPES = {
    torch.float32: "tl.float32",
    torch.float64: "tl.float64",
    torch.bfloat16: "tl.bfloat16",
    torch.float16: "tl.float16",
    torch.int16: "tl.int16",
}
BLOCK = 1024  # elements that one program steps, where nothing else is asked for
PARTS = 4096  # parts of a sum that are added at once: one program adds up those of the largest layer
LEADING = ("count", "first", "live", "name", "width")  # the entries of a row of the table before the addresses
ARGUMENTS = "table, layers, numbers, shared, partials, blocks, ALIGNED: tl.constexpr"


@dataclass(frozen=True)
class TritonSource:
    """The text of a step's kernels.

    Attributes:
        names: in the order in which they run; `pass…` takes a program for each block, `scalars…` one for each layer.
        width: the entries of a row of the table.
        scalars: the numbers in float64 that a layer's elements share.
        sums: the partial sums of a block.
        block: the elements of a block.
        in_rows: blocks lie within rows of codes.
    """

    text: str
    names: tuple[str, ...]
    width: int
    scalars: int
    sums: int
    block: int
    in_rows: bool

    def blocks(self, count: Any, width: Any) -> Any:
        """How many blocks a tensor has, or each of several; `width` is that of a row of codes."""
        if self.in_rows:
            return count // width * ((width + self.block - 1) // self.block)
        return (count + self.block - 1) // self.block


def columns(buffers: int, normals: int) -> tuple[str, ...]:
    """The entries of a row of the table.

    They are a number of elements, the number of the first block, where its live values begin, 32 bits
    of its name for stochastic rounding, the width of a row of codes, then addresses.
    """
    return (*LEADING, *tensors(buffers, normals))


def kernels(recording: Trace, signature: KernelSignature, normals: int, k: int, block: int = BLOCK) -> TritonSource:
    """The kernels of a step.

    Args:
        k: the place of the step's number among the live values.
        block: the elements that one program steps, a power of 2.
    """
    exact = tuple(dtype == signature.work for dtype in signature.buffers)
    passes = schedule(recording, exact, keep=False).passes
    kinds = signature.behind(normals, recording.updates)
    types = {name: "tl.uint8" if isinstance(kind, StateFormat) else TYPES[kind] for name, kind in kinds.items()}
    formats = signature.formats
    block = CODES_IN_BLOCK if formats else block
    slots = _slots(recording, passes)
    writer = _Writer(recording, types, TYPES[signature.work], torch.finfo(signature.work).max, k, slots, block, formats)
    parts = [
        PRELUDE,
        recording.weights.triton(signature.theta),
        *triton_formats.prelude(formats.values()),
        _total(block, bool(formats)),
        *chain.from_iterable(writer.round(one, number) for number, one in enumerate(passes)),
        *writer.end(len(passes)),
    ]
    sums = max(len(one.sums) for one in passes)
    return TritonSource("\n\n".join(parts), tuple(writer.names), writer.width, len(slots), sums, block, bool(formats))


def _total(block: int, in_rows: bool) -> str:
    """The function that adds up a layer's sum, from those of its blocks."""
    width, elements = (f"tl.load(row + {LEADING.index(name)})" for name in ("width", "count"))
    of_rows = f"{elements} // {width} * (({width} + {block - 1}) // {block})"
    count = of_rows if in_rows else f"({elements} + {block - 1}) // {block}"
    return f"""\
@triton.jit
def total(row, partials):
    first = tl.load(row + {LEADING.index("first")})
    count = {count}
    lane = tl.arange(0, {PARTS})
    found = tl.zeros(({PARTS},), tl.float64)
    for begin in range(0, count, {PARTS}):
        found += tl.load(partials + first + begin + lane, mask=lane < count - begin, other=0.0).to(tl.float64)
    return tl.sum(found)
"""


def _slots(recording: Trace, passes: Sequence[Loop]) -> dict[Expression, int]:
    """The place of each scalar that meets elements, and of each sum, among the numbers of its layer."""
    found: dict[Expression, None] = {}
    for one in passes:
        found |= dict.fromkeys([*_met(recording, one), *one.sums])
    return {node: place for place, node in enumerate(found)}


def _met(recording: Trace, one: Loop) -> list[Expression]:
    """The scalars, but for constants, that meet elements in a pass."""
    roots = one.roots(recording)
    return [node for node in scalars_met(one.elements(roots), roots) if node.op != "constant"]


class _Writer:
    """The text of one step's kernels, and what it has used so far.

    Attributes:
        names: of the kernels.
        stored: the scalars that a kernel has stored.
        summed: the norms and means whose parts the last pass left.
    """

    def __init__(
        self,
        recording: Trace,
        types: dict[str, str],
        work: str,
        largest: float,
        k: int,
        slots: dict[Expression, int],
        block: int,
        formats: dict[int, StateFormat],
    ) -> None:
        self.formats = formats
        self.recording, self.types, self.work, self.largest, self.k = recording, types, work, largest, k
        self.block = block
        self.names: list[str] = []
        self.slots = slots
        self.stored: set[Expression] = set()
        self.summed: Sequence[Expression] = ()
        self.width = len(LEADING) + len(types)

    def round(self, one: Loop, number: int) -> list[str]:
        """The kernels of one pass."""
        met = _met(self.recording, one)
        wanted = [node for node in dict.fromkeys([*self.summed, *met]) if node not in self.stored]
        texts = [self._scalars(wanted, number)] if wanted else []
        self.stored.update(wanted)
        self.summed = one.sums
        self.names.append(f"pass{number}")
        return [*texts, self._elements(one, number, met), self._pass(number)]

    def end(self, number: int) -> list[str]:
        """The kernel that stores, for each layer, its own numbers, and the sums that a step is taken for."""
        sums, numbers = self.recording.sums, self.recording.counted
        if not sums and not numbers:
            return []
        found: dict[Expression, str] = {}
        lines = self._computed([*sums, *(self.recording.after[place] for place in numbers)], found)
        for place in numbers:
            kind = self.types[f"buffer{place}"]
            value = found[self.recording.after[place]]
            lines.append(f"tl.store({self._pointer(f'buffer{place}', kind)}, {value}.to({kind}))")
        told = self._pointer("out", "tl.float64")
        lines += [f"tl.store({told} + {place}, {found[total]})" for place, total in enumerate(sums)]
        return [self._over_layers(number, lines)]

    def _pointer(self, name: str, kind: str) -> str:
        """Where a layer's tensor of this name lies."""
        return f"tl.load(row + {len(LEADING) + list(self.types).index(name)}).to(tl.pointer_type({kind}))"

    def _scalars(self, wanted: Sequence[Expression], number: int) -> str:
        """A kernel that computes scalars for each layer and stores them."""
        found: dict[Expression, str] = {}
        lines = self._computed(wanted, found)
        for node in wanted:
            lines.append(
                f"tl.store(mine + {self.slots[node]}, {found[node]}{'.to(tl.float64)' if node.is_condition else ''})"
            )
        return self._over_layers(number, lines)

    def _computed(self, wanted: Sequence[Expression], found: dict[Expression, str]) -> list[str]:
        """Lines that compute scalars, whose names are `found`."""
        lines = []
        for node in _scalars_needed(wanted):
            found[node] = f"s{len(found)}"
            lines.append(f"{found[node]} = {self._scalar(node, found)}")
        return lines

    def _over_layers(self, number: int, lines: Sequence[str]) -> str:
        """A kernel with a program for each layer."""
        self.names.append(f"scalars{number}")
        places = [
            "layer = tl.program_id(0)",
            f"row = table + layer * {self.width}",
            f"mine = shared + layer * {len(self.slots)}",
            f"live = numbers + tl.load(row + {LEADING.index('live')})",
        ]
        return _kernel(f"scalars{number}", [*places, *lines])

    def _scalar(self, node: Expression, found: dict[Expression, str]) -> str:
        if node.op == "constant":
            return _constant(node, "tl.float64")
        if node.op == "live":
            return f"tl.load(live + {node.parts[0]})"
        if node.op == "read":
            name = f"buffer{node.parts[1]}"
            return f"tl.load({self._pointer(name, self.types[name])}).to(tl.float64)"
        if node in self.stored:
            return f"tl.load(mine + {self.slots[node]})"
        if node in self.summed:
            whole = f"total(row, partials + {self.summed.index(node)} * blocks)"
            if node.op == "total":
                return whole
            count = f"tl.load(row + {LEADING.index('count')}).to(tl.float64)"
            value = f"tl.sqrt({whole})" if node.op == "norm" else f"({whole} / {count})"
            return f"{value}.to({self.work}).to(tl.float64)"
        return _call(node, [found[part] for part in node.parts], "tl.float64", self.largest)

    def _pass(self, number: int) -> str:
        """The kernel over all blocks: those that are full need no mask."""
        given = "table, layer, program, begin, left, numbers, shared, partials, blocks, ALIGNED"
        row = f"table + layer * {self.width}"
        own = f"program - tl.load({row} + {LEADING.index('first')})"
        bounds = [
            f"begin = ({own}) * {self.block}",
            f"left = tl.load({row} + {LEADING.index('count')}) - begin",
        ]
        if self.formats:
            bounds = triton_formats.bounds(own, f"tl.load({row} + {LEADING.index('width')})")
        return _kernel(
            f"pass{number}",
            [
                "program = tl.program_id(0)",
                "layer = tl.load(layers + program)",
                *bounds,
                f"if left >= {self.block}:",
                f"    elements{number}({given}, False)",
                "else:",
                f"    elements{number}({given}, True)",
            ],
        )

    def _elements(self, one: Loop, number: int, met: Sequence[Expression]) -> str:
        """The function that steps a block."""
        names: dict[Expression, str] = {}
        lines = []
        for node in met:
            names[node] = f"c{len(names)}"
            kind = " != 0" if node.is_condition else f".to({self.work})"
            lines.append(f"{names[node]} = tl.load(mine + {self.slots[node]}){kind}")
        used: dict[str, None] = {}
        for node in one.elements(one.roots(self.recording)):
            parts = () if node.is_leaf else node.parts
            for part in (part for part in parts if part.op == "constant" and part not in names):
                names[part] = f"c{len(names)}"
                lines.append(f"{names[part]} = {_constant(part, self.work)}")
            tensor = one.tensor_of(node)
            coded = self._coded(tensor)
            if coded is not None:
                used[tensor] = None
                names[node] = f"e{len(names)}"
                lines += triton_formats.read(coded, self.formats[coded], names[node], self.work)
                continue
            if tensor:
                used[tensor] = None
                text = f"tl.load({tensor} + lane, mask=mask).to({self.work})"
            else:
                text = _call(node, [names[part] for part in parts], self.work, self.largest)
            names[node] = f"e{len(names)}"
            lines.append(f"{names[node]} = {text}")
        for tensor, place, root in self._written(one):
            used[tensor] = None
            coded = self._coded(tensor)
            if coded is not None:
                value = f"({self._root(root, names)} + tl.zeros(({self.block},), {self.work}))"
                lines += triton_formats.write(coded, self.formats[coded], place, value, self._key())
                continue
            lines.append(
                f"tl.store({tensor} + lane, {self._stored(tensor, place, self._root(root, names))}, mask=mask)"
            )
        for place, total in enumerate(one.sums):
            lines += self._sum(total, place, self._root(total.parts[0], names))
        return self._function(number, used, lines)

    def _root(self, node: Expression, names: dict[Expression, str]) -> str:
        return _constant(node, self.work) if node.op == "constant" else names[node]

    def _written(self, one: Loop) -> list[tuple[str, int, Expression]]:
        """What a pass writes: the tensor, the number of the buffer in the segment, the value."""
        written = [(f"buffer{i}", self.recording.places[i], self.recording.after[i]) for i in one.buffers]
        return [*written, *(("out", 0, made) for made in self.recording.moved)] if one.moves else written

    def _stored(self, tensor: str, place: int, value: str) -> str:
        """A value as its tensor holds it; memory in bfloat16 is rounded stochastically."""
        kind = self.types[tensor]
        if tensor == "out" and self.recording.cuts_weights:
            return f"weight_of({value}, {self._word(WEIGHT)})"
        if tensor == f"buffer{self.recording.rest}":
            return f"stored_rest({value}, {self._word(REST)})"
        if kind != "tl.bfloat16":
            return f"{value}.to({kind})"
        return f"nearest({value})" if tensor == "out" else f"rounded({value}, {self._word(place)})"

    def _word(self, place: int) -> str:
        """The noise of elements for the buffer of this number."""
        return f"word_of(begin, lane, {self._key()}, {odd_of(place)})"

    def _key(self) -> str:
        """The key of noise of a layer at this step."""
        step = f"tl.load(numbers + tl.load(row + {LEADING.index('live')}) + {self.k})"
        return f"key_of(tl.load(row + {LEADING.index('name')}), {step})"

    def _coded(self, tensor: str) -> int | None:
        """The number of a buffer that is kept in codes, None for another tensor."""
        return next((i for i in self.formats if tensor == f"buffer{i}"), None)

    def _sum(self, total: Expression, place: int, value: str) -> list[str]:
        """Lines that write a block's part of a sum."""
        one = f"{value}.to(tl.float64)" if is_wide(total) else value
        squared = f"{one} * {one}" if total.op == "norm" else one
        return [
            f"part{place} = {squared}",
            "if MASKED:",
            f"    part{place} = tl.where(mask, part{place}, 0.0)",
            f"tl.store(partials + {place} * blocks + program, tl.sum(part{place}))",
        ]

    def _function(self, number: int, used: Iterable[str], lines: Sequence[str]) -> str:
        names = list(self.types)
        heads = [
            f"row = table + layer * {self.width}",
            f"mine = shared + layer * {len(self.slots)}",
            f"lane = tl.arange(0, {self.block})",
            "mask = lane < left if MASKED else None",
        ]
        if any(self._coded(name) is not None for name in used):
            heads += triton_formats.place_in_row(LEADING.index("width"))
        for name in used:
            place, coded = len(LEADING) + names.index(name), self._coded(name)
            if coded is not None:
                heads.append(triton_formats.found_at(coded, self.formats[coded], place))
                continue
            heads.append(f"{name} = begin_of(row, {place}, begin, {self.types[name]}, ALIGNED)")
        given = "table, layer, program, begin, left, numbers, shared, partials, blocks"
        flags = "ALIGNED: tl.constexpr, MASKED: tl.constexpr"
        return _text("@triton.jit", f"elements{number}({given}, {flags})", [*heads, *lines])


def _scalars_needed(roots: Sequence[Expression]) -> list[Expression]:
    """What scalars are computed from, parts first, down to sums over the layer."""
    return postorder(roots, lambda node: () if node.op in SUMS else node.operands)


def _call(node: Expression, parts: Sequence[str], dtype: str, largest: float) -> str:
    """What an operator makes of its parts; in float32 too rounded as the standard says."""
    if node.op == "pow" and node.parts[1].op == "constant" and node.parts[1].parts[0] == 2:
        return f"{parts[0]} * {parts[0]}"
    row = operation(node.op)
    text = row.single if row.single and dtype == "tl.float32" else row.triton
    return text.format(*parts, dtype=dtype, largest=largest)


def _constant(node: Expression, dtype: str) -> str:
    value = node.parts[0]
    text = repr(value) if abs(value) < float("inf") else f'float("{value}")'
    return f"tl.full((), {text}, {dtype})"


def _kernel(name: str, lines: Sequence[str]) -> str:
    return _text('@triton.jit(do_not_specialize=["blocks"])', f"{name}({ARGUMENTS})", lines)


def _text(decorator: str, head: str, lines: Sequence[str]) -> str:
    return "\n".join([decorator, f"def {head}:", *(f"    {line}" for line in lines)]) + "\n"
