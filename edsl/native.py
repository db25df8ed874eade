"""Steps on a CPU as native code: one call for all layers that share a step."""

from __future__ import annotations

import ctypes
from array import array
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from edsl.compiled import Batch, CompiledSteps, Kernel
from edsl.cpp import ASIDE, SMALL, columns, source
from edsl.cxx import compiled
from edsl.form import Form
from edsl.item import Item
from edsl.segment import Segment


class NativeKernel(Kernel):
    """A step in C++.

    Raises:
        NotElementwise: for a step that is more than elements, norms and means.
        OSError: without a C++ compiler, or where it fails.
    """

    def __init__(self, segment: Segment, form: Form, looked: bool, differs: bool, apart: bool) -> None:
        super().__init__(segment, form)
        text, self.kept = source(segment.record(looked, differs, apart), form, len(segment.noisy))
        self.width = len(columns(len(form.buffers), len(segment.noisy)))
        self._function = compiled(text).step
        self._function.argtypes = [ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p]
        self._function.restype = None

    def batch(self, number: int) -> NativeBatch:
        return NativeBatch(self, number)

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


class NativeBatch(Batch):
    """Layers that one call of native code steps; it counts up their steps too."""

    def __init__(self, kernel: NativeKernel, number: int) -> None:
        super().__init__(kernel, number)
        self._call = kernel
        self._table: list[int] = []
        self._largest = 0

    def add(self, item: Item, total: Tensor | None) -> None:
        plan, k = item.plan, item.k
        shared = self._shared.get((plan, k))
        if shared is None:
            numbers = [*plan.numbers(k), 0.0 if total is None else float(total)]
            shared = self._shared[plan, k] = (plan.segments[self.number], self._numbers(numbers))
        segment, live = shared
        counted = 0
        if self._call.updates and item.step is not None:
            item.counts, counted = False, item.step.data_ptr()
        self._table += (item.count, live, counted, item.key)
        self._table += self._addresses(item, segment)
        if self._largest < item.count <= ASIDE:
            self._largest = item.count

    def run(self) -> None:
        self._call(self._table, self._largest)

    def _numbers(self, values: Sequence[float]) -> int:
        """The address of an array of doubles."""
        numbers = array("d", values)
        self._held.append(numbers)
        return numbers.buffer_info()[0]


class Native(CompiledSteps):
    """All native steps of an optimizer."""

    device = "cpu"

    def _compiled(
        self, segment: Segment, form: Form, looked: bool, differs: bool, apart: bool, device: Any
    ) -> NativeKernel:
        return NativeKernel(segment, form, looked, differs, apart)
