"""Compiled steps of recorded segments on one kind of device: each made once, and run for all layers that share it."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from struct import pack
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from edsl.codegen.expression import Conditions
from edsl.codegen.packing import packed_in, stored, with_triangles
from edsl.codegen.program import Program, cut, whole
from edsl.codegen.signature import KernelSignature
from edsl.codegen.trace import Trace, record
from edsl.errors import CompilerFailed, EdslWarning, first_line
from edsl.kernels.code_cache import UnusableCache
from edsl.kernels.progress import compiling
from edsl.numerics.dtypes import FLOATING, working_dtype
from edsl.numerics.formats.format import StateFormat
from edsl.step.inputs import LiveLayout
from edsl.step.parameter import ParameterStep
from edsl.step.plan import GroupPlan
from edsl.step.segment import Segment

Late = tuple[int, Tensor]  # a place among the live values, and what is known there only after a look at all layers
Addends = tuple[ParameterStep, Sequence[Tensor]]  # what a parameter, with others of its plan, adds to its totals


class Part(NamedTuple):
    """What a kernel is compiled from."""

    recording: Trace
    signature: KernelSignature


@dataclass(frozen=True)
class Row:
    """One tensor of a part of a step, and with it all those of its shape that the part reads and writes.

    Attributes:
        count: its elements.
        width: those of a row of codes, where some of its tensors are kept in them.
        key: of this step's stochastic rounding, 0 where nothing is rounded.
        name: of its parameter.
        addresses: in the order of `edsl.codegen.signature.tensors`.
    """

    count: int
    width: int
    key: int
    name: str
    addresses: list[int]


class Kernel(ABC):
    """The compiled step of a segment, or of a part of it, for tensors of some dtypes.

    Attributes:
        work: the dtype of arithmetic.
        updates: it moves θ.
        noisy: it reads noise.
        live: where the live values stand.

    Args:
        normals: how many tensors of noise it reads.
    """

    def __init__(self, part: Part, normals: int, live: LiveLayout) -> None:
        self.live = live
        self.work = part.signature.work
        self.updates = part.recording.updates
        self.noisy = normals > 0

    @abstractmethod
    def batch(self, number: int) -> LaunchTable:
        """An empty batch for a segment of this number."""

    @abstractmethod
    def launch(self, rows: Sequence[Row], numbers: Sequence[float], late: Sequence[Late], place: Any) -> None:
        """Step these tensors.

        Args:
            numbers: the live values that they share, with room for what is late.
            late: what is known of these only after a look at all layers.
            place: by which a later launch of tensors that lie alike is known.
        """


class LaunchTable(ABC):
    """Layers that one call steps: a table with one row each, of leading entries and of where its tensors lie.

    Attributes:
        place: by which a later table of the same layers is known.
    """

    leading: ClassVar[Sequence[str]]  # the names of the entries before the addresses

    def __init__(self, kernel: Kernel, number: int) -> None:
        self.number = number
        self.place: Any = number
        self._kernel = kernel
        self._held: list[Any] = []  # what must outlive the call
        self._shared: dict[tuple[GroupPlan, int], int] = {}
        self._rows: list[int] = []

    def add(self, item: ParameterStep, late: Sequence[Late]) -> None:
        """Take a layer in; what flows out of it is where `item.flowing` points from now on."""
        self._rows += self._leading(item, self._shared_by(item, late))
        self._rows += self._addresses(item, item.plan.segments[self.number])

    def repeat(self, items: Sequence[ParameterStep], gradients: array[int]) -> None:
        """Step the same layers again, in the same order, with the gradients that lie at these addresses."""
        self._forget()
        width, x = len(self.table) // len(items), len(self.leading) + 1
        self.table[x::width] = self.table[x + 1 :: width] = gradients
        self.table[self.leading.index("live") :: width] = array("q", [self._shared_by(item, ()) for item in items])
        self.run()

    @cached_property
    def table(self) -> array[int]:
        """All rows one after another."""
        return array("q", pack(f"{len(self._rows)}q", *self._rows))  # several times faster than of the list

    @abstractmethod
    def run(self) -> None:
        """Step them."""

    @abstractmethod
    def _leading(self, item: ParameterStep, live: int) -> tuple[int, ...]:
        """The leading entries of a layer's row."""

    @abstractmethod
    def _live(self, plan: GroupPlan, k: int, late: Sequence[Late]) -> int:
        """Where the live values of a plan are, as the table has it."""

    def _forget(self) -> None:
        """Let go of what belonged to one step."""
        self._held.clear()
        self._shared.clear()

    def _shared_by(self, item: ParameterStep, late: Sequence[Late]) -> int:
        shared = (item.plan, item.k)
        live = self._shared.get(shared)
        if live is None:
            live = self._shared[shared] = self._live(item.plan, item.k, late)
        return live

    def _addresses(self, item: ParameterStep, segment: Segment) -> list[int]:
        """Where a layer's tensors lie, in the order of `edsl.codegen.signature.tensors`."""
        read, out = _read_by(item), item.address
        if not self._kernel.updates:
            self._held.append(item.flowing)
            item.flowing = torch.empty_like(item.theta, dtype=self._kernel.work)
            out = item.flowing.data_ptr()
        return [*read, out, *_noise_of(item, segment, self._held), *item.buffer_addresses(segment)]


def _read_by(item: ParameterStep) -> list[int]:
    """Where θ and what else a step reads of an item lie, before its noise and its buffers."""
    x = item.flowing.data_ptr()
    raw = x if item.raw is item.flowing else item.raw.data_ptr()
    look = 0 if item.new_hessian is None else item.new_hessian.data_ptr()
    change = 0 if item.own_difference is None else item.own_difference.data_ptr()
    return [item.address, x, raw, look, change]


def _noise_of(item: ParameterStep, segment: Segment, held: list[Any]) -> list[int]:
    """Where the noise of an item's step lies, which is drawn now and held."""
    drawn = [item.normal(stage, label) for stage, label in segment.noisy]
    held += drawn
    return [*map(Tensor.data_ptr, drawn)]


Compiled = tuple[Program, Sequence[Kernel]]
Dtypes = tuple[Any, ...]


class KernelCache(ABC):
    """All steps that an optimizer has compiled for one kind of device.

    Attributes:
        device: its type.
        language: of the kernels.
        kernels: how many there are.
        reasons: why a step that was tried has none, a line for each.
    """

    device: str
    language: ClassVar[str]

    def __init__(self) -> None:
        self._kernels: dict[tuple[Any, ...], Compiled | None] = {}
        self._warned = False
        self.reasons: list[str] = []

    @property
    def kernels(self) -> int:
        return sum(found is not None for found in self._kernels.values())

    @abstractmethod
    def _compiled(
        self, parts: Sequence[Part], normals: int, live: LiveLayout, device: torch.device
    ) -> Sequence[Kernel]:
        """New kernels; any exception leaves the step to torch.compile.

        Args:
            normals: how many tensors of noise each reads.
            live: where the live values stand.
        """

    def run(
        self, items: Sequence[ParameterStep], number: int, late: Sequence[Sequence[Late]] | None
    ) -> list[ParameterStep]:
        """Take the items that kernels can take through their segment; the others are left.

        Args:
            number: of the segment.
            late: for each item what is known only after a look at all layers, if any reads such.
        """
        left: list[ParameterStep] = []
        batches: dict[Kernel, LaunchTable] = {}
        for place, item in enumerate(items):
            kernel = self._kernel(item, number) if item.device == self.device else None
            if kernel is None:
                left.append(item)
                continue
            batch = batches.get(kernel)
            if batch is None:
                batch = batches[kernel] = kernel.batch(number)
            batch.add(item, late[place] if late else ())
            if kernel.noisy:  # so that one layer's noise is kept at a time
                batches.pop(kernel).run()
        for batch in batches.values():
            batch.run()
        return left

    def add(
        self,
        items: Sequence[ParameterStep],
        number: int,
        level: int,
        late_of: Callable[[ParameterStep], Sequence[Late]],
    ) -> tuple[list[ParameterStep], list[Addends]]:
        """What items add to the totals that their segment asks for on one level; those without kernels are left.

        Args:
            late_of: what is known of an item by then.
        """
        left: list[ParameterStep] = []
        batches: dict[Any, tuple[Kernel, list[ParameterStep]]] = {}
        for item in items:
            found = self._kernel(item, number, level) if item.device == self.device else None
            if found is None:
                left.append(item)
            else:  # noise of one layer is kept at a time
                key = (found, item.plan, item.k, item if found.noisy else None)
                batches.setdefault(key, (found, []))[1].append(item)
        added: list[Addends] = []
        for place, (kernel, batch) in enumerate(batches.values()):
            added.append(self._added(kernel, batch, number, level, late_of(batch[0]), place))
        return left, added

    def _added(
        self,
        kernel: Kernel,
        items: Sequence[ParameterStep],
        number: int,
        level: int,
        late: Sequence[Late],
        place: int,
    ) -> Addends:
        """What items of one plan at one step add to their totals."""
        plan, segment = items[0].plan, items[0].plan.segments[number]
        count = len(segment.totals_of(level))
        width = count + count % 2  # so that each begins at a multiple of 16 bytes, as all tensors may
        sums = torch.zeros(len(items), width, dtype=torch.float64, device=items[0].theta.device)
        held: list[Any] = []
        rows = []
        for i, item in enumerate(items):
            noise, buffers = _noise_of(item, segment, held), item.buffer_addresses(segment)
            addresses = [*_read_by(item), sums.data_ptr() + 8 * width * i, *noise, *buffers]
            rows.append(Row(item.count, item.width, item.key, item.name, addresses))
        numbers = plan.live_layout.with_room(plan.numbers(items[0].k), late)
        kernel.launch(rows, numbers, late, ("add", number, level, place))
        return items[0], sums[:, :count].sum(0).unbind()

    def _kernel(self, item: ParameterStep, number: int, level: int | None = None) -> Kernel | None:
        """What takes an item through its segment, or with a level adds it to the totals of that."""
        x, raw, look, change = item.flowing.dtype, item.raw.dtype, item.new_hessian, item.own_difference
        place = number if level is None else (number, level)
        known = item.kernels.get(place)
        if known is not None and known[0] is x and known[1] is raw and look is None and change is None:
            return known[2]
        if item.is_sharded_here:
            return None
        kernel = self._found(item, number, level)
        if kernel is not None and level is None:
            item.paths[item.plan.segments[number].begin] = self.language
        if look is None and change is None:
            item.kernels[place] = (x, raw, kernel)
        return kernel

    def _found(self, item: ParameterStep, number: int, level: int | None) -> Kernel | None:
        segment, theta = item.plan.segments[number], item.local
        if segment.is_matrix or segment.stages[0].refresh_every > 0:
            return None
        lying = item.buffers_in_memory(segment)
        kinds = segment.kinds(lying)
        elements = [
            buffer
            for place, buffer in enumerate(lying)
            if place not in segment.scalars and not isinstance(kinds[place], StateFormat)
        ]
        read = (item.flowing, item.raw, item.new_hessian, item.own_difference, *elements)
        for tensor in read:  # a kernel addresses all of them as it does θ: what is not alike goes to torch
            if tensor is not None and (tensor.numel() != theta.numel() or tensor.device != theta.device):
                return None
        extra = (item.raw if number > 0 else None, item.new_hessian, item.own_difference)
        dtypes = (item.flowing.dtype, *(None if tensor is None else tensor.dtype for tensor in extra))
        found = self.program(segment, theta, dtypes, kinds, level)
        return found[1][0] if found else None

    def program(
        self, segment: Segment, theta: Tensor, dtypes: Dtypes, buffers: Dtypes, level: int | None = None
    ) -> Compiled | None:
        """A segment as a program, with a kernel for each of its loops; None where there is none.

        Args:
            dtypes: of what flows in, and of the raw gradient, the Hessian and the difference, None where there is none.
            buffers: what each of the segment's buffers is kept in.
            level: of the totals over all layers to which it adds, instead of the step.
        """
        key = (segment.key, theta.dtype, dtypes, buffers, theta.device, level)
        if key not in self._kernels:
            self._kernels[key] = self._compiled_program(segment, theta, dtypes, buffers, level)
        return self._kernels[key]

    def _compiled_program(
        self, segment: Segment, theta: Tensor, dtypes: Dtypes, buffers: Dtypes, level: int | None
    ) -> Compiled | None:
        x, gradient, hessian, difference = dtypes
        work = working_dtype(theta.dtype)
        extra = (gradient or torch.float32, hessian or torch.float32, difference or torch.float32)
        triangles, buffers = packed_in(buffers), stored(buffers)
        own = buffers[: len(buffers) - len(segment.rests)]
        kept = [kind for kind in own if not isinstance(kind, StateFormat)]
        if any(dtype not in FLOATING for dtype in (theta.dtype, x, *extra, *kept)):
            return None
        conditions = Conditions(hessian is not None, difference is not None, gradient is not None)
        try:
            cutting = cut if segment.is_matrix else whole
            recording = with_triangles(record(segment, conditions), triangles)
            if level is not None:
                recording = recording.adding(segment.totals_of(level))
            program = cutting(recording, [dtype is work for dtype in buffers])
            parts = [
                Part(one.trace, KernelSignature(work, theta.dtype, x, extra, one.dtypes(buffers, work)))
                for one in program.loops
            ]
            with compiling(self.kernels + 1):
                return program, self._compiled(parts, len(segment.noisy), segment.live_layout, theta.device)
        except (CompilerFailed, UnusableCache) as reason:
            if not self._warned:
                warnings.warn(f"{reason}: using torch.compile", EdslWarning, stacklevel=2)
            self._warned = True
            self.reasons.append(str(reason))
        except Exception as reason:  # a stage that kernels can't follow, or no compiler: torch.compile can, or says why
            self.reasons.append(first_line(reason, 200))
        return None


class NoKernels:
    """No compiled steps: every item is left."""

    device: ClassVar[str] = ""
    kernels: ClassVar[int] = 0
    reasons: ClassVar[Sequence[str]] = ()

    def run(
        self, items: Sequence[ParameterStep], number: int, late: Sequence[Sequence[Late]] | None
    ) -> list[ParameterStep]:
        return list(items)

    def add(
        self, items: Sequence[ParameterStep], number: int, level: int, late_of: Any
    ) -> tuple[list[ParameterStep], list[Addends]]:
        return list(items), []
