"""Steps on a CPU as native code: one call for all layers that share a step."""

from __future__ import annotations

import ctypes
from array import array
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from edsl.cpp import ASIDE, SMALL, TYPES, Form, columns, source
from edsl.cxx import compiled
from edsl.expression import NotElementwise
from edsl.item import Item
from edsl.layout import working_dtype
from edsl.plan import Plan
from edsl.progress import compiling
from edsl.segment import Segment


class Kernel:
    """The compiled step of a segment, for tensors of some dtypes.

    Raises:
        NotElementwise: for a step that is more than elements, norms and means.
        OSError: without a C++ compiler, or where it fails.
    """

    def __init__(self, segment: Segment, form: Form, looked: bool, differs: bool, apart: bool) -> None:
        text, self.kept = source(segment.record(looked, differs, apart), form, len(segment.noisy))
        self.width = len(columns(len(form.buffers), len(segment.noisy)))
        self.work = form.work
        self.updates = segment.updates
        self.noisy = bool(segment.noisy)
        self._function = compiled(text).step
        self._function.argtypes = [ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p]
        self._function.restype = None

    def __call__(self, table: Sequence[int], largest: int) -> None:
        """Step every layer of a table.

        Args:
            table: its rows one after another, each with the entries that `edsl.cpp.columns` names.
            largest: the number of elements of the largest layer that keeps values aside.
        """
        threads = torch.get_num_threads()
        room = self.kept * max(largest, threads * min(largest, SMALL))
        aside = torch.empty(room, dtype=self.work)
        words = array("q", table)  # several times faster than an array of ctypes
        self._function(words.buffer_info()[0], len(words) // self.width, threads, aside.data_ptr())


class Native:
    """All native steps of an optimizer.

    Attributes:
        kernels: how many there are.
    """

    def __init__(self) -> None:
        self._kernels: dict[tuple[Any, ...], Kernel | None] = {}

    @property
    def kernels(self) -> int:
        return sum(kernel is not None for kernel in self._kernels.values())

    def run(self, items: Sequence[Item], number: int, totals: Sequence[Tensor | None] | None) -> list[Item]:
        """Take the items that native code can take through their segment; the others are left.

        Args:
            number: of the segment.
            totals: for each item the total norm that its segment reads, if any does.
        """
        left: list[Item] = []
        batches: dict[Kernel, Batch] = {}
        for place, item in enumerate(items):
            kernel = self._kernel(item, number)
            if kernel is None:
                left.append(item)
                continue
            batch = batches.get(kernel)
            if batch is None:
                batch = batches[kernel] = Batch(kernel, number)
            batch.add(item, totals[place] if totals else None)
            if kernel.noisy:  # so that one layer's noise is kept at a time
                batches.pop(kernel).run()
        for batch in batches.values():
            batch.run()
        return left

    def _kernel(self, item: Item, number: int) -> Kernel | None:
        x, look, change = item.flowing.dtype, item.look, item.change
        known = item.kernels.get(number)
        if known is not None and known[0] is x and look is None and change is None:
            return known[1]
        if not item.on_cpu or item.is_cut:
            return None
        extra = (item.raw if number > 0 else None, look, change)
        kernel = self._found(item, number, (x, *(None if tensor is None else tensor.dtype for tensor in extra)))
        if look is None and change is None:
            item.kernels[number] = (x, kernel)
        return kernel

    def _found(self, item: Item, number: int, dtypes: tuple[Any, ...]) -> Kernel | None:
        segment = item.plan.segments[number]
        buffers = tuple(buffer.dtype for buffer in item.lying(segment))
        key = (segment.key, item.local.dtype, dtypes, buffers)
        if key not in self._kernels:
            self._kernels[key] = self._made(segment, item.local.dtype, dtypes, buffers)
        return self._kernels[key]

    def _made(self, segment: Segment, theta: Any, dtypes: tuple[Any, ...], buffers: tuple[Any, ...]) -> Kernel | None:
        x, gradient, hessian, difference = dtypes
        extra = (gradient or torch.float32, hessian or torch.float32, difference or torch.float32)
        form = Form(working_dtype(theta), theta, x, extra, buffers)
        if segment.stages[0].refresh_every > 0 or any(dtype not in TYPES for dtype in form.all):
            return None
        try:
            with compiling(self.kernels + 1):
                return Kernel(segment, form, hessian is not None, difference is not None, apart=gradient is not None)
        except (NotElementwise, OSError):
            return None  # torch.compile can do it, or says why it can't


class Batch:
    """Layers that one call of a kernel steps."""

    def __init__(self, kernel: Kernel, number: int) -> None:
        self.kernel = kernel
        self.number = number
        self._table: list[int] = []
        self._largest = 0
        self._held: list[Any] = []  # what must outlive the call
        self._shared: dict[tuple[Plan, int], tuple[Segment, int]] = {}

    def add(self, item: Item, total: Tensor | None) -> None:
        """Take a layer in; what flows out of it is where `item.flowing` points from now on."""
        plan, k, flowing, table = item.plan, item.k, item.flowing, self._table
        shared = self._shared.get((plan, k))
        if shared is None:
            numbers = [*plan.numbers(k), 0.0 if total is None else float(total)]
            shared = self._shared[plan, k] = (plan.segments[self.number], self._numbers(numbers))
        segment, live = shared
        theta = (item.local if item.stands else item.theta).data_ptr()
        x = flowing.data_ptr()
        raw = x if item.raw is flowing else item.raw.data_ptr()
        out, counted = theta, 0
        if not self.kernel.updates:
            self._held.append(flowing)
            item.flowing = torch.empty_like(item.theta, dtype=self.kernel.work)
            out = item.flowing.data_ptr()
        elif item.step is not None:
            item.counts, counted = False, item.step.data_ptr()
        look = 0 if item.look is None else item.look.data_ptr()
        change = 0 if item.change is None else item.change.data_ptr()
        table += (item.count, live, counted, item.key, theta, x, raw, look, change, out)
        for stage, label in segment.noisy:
            self._held.append(item.normal(stage, label))
            table.append(self._held[-1].data_ptr())
        for buffer in item.lying(segment):
            table.append(buffer.data_ptr())
        if self._largest < item.count <= ASIDE:
            self._largest = item.count

    def run(self) -> None:
        """Step them."""
        self.kernel(self._table, self._largest)

    def _numbers(self, values: Sequence[float]) -> int:
        """The address of an array of doubles."""
        numbers = array("d", values)
        self._held.append(numbers)
        return numbers.buffer_info()[0]


class Absent:
    """No native code: every item is left."""

    kernels = 0

    def run(self, items: Sequence[Item], number: int, totals: Sequence[Tensor | None] | None) -> list[Item]:
        return list(items)
