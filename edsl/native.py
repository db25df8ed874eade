"""Steps on a CPU as native code: one call for all layers that share a step."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

from typing import Any

import torch
from torch import Tensor

from edsl.cpp import ASIDE, SMALL, TYPES, Form, columns, source
from edsl.cxx import compiled
from edsl.expression import NotElementwise
from edsl.item import Item
from edsl.layout import working_dtype
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
        self._function = compiled(text).step
        self._function.argtypes = [ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p]
        self._function.restype = None

    def __call__(self, table: Sequence[int], largest: int) -> None:
        """Step every layer of a table.

        Args:
            table: its rows one after another, each with the entries that `edsl.cpp.columns` names.
            largest: the number of elements of the largest layer.
        """
        threads = torch.get_num_threads()
        room = self.kept * max(min(largest, ASIDE), threads * min(largest, SMALL))
        aside = torch.empty(room, dtype=self.work)
        self._function((ctypes.c_int64 * len(table))(*table), len(table) // self.width, threads, aside.data_ptr())


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

    def run(self, items: Sequence[Item], number: int, totals: Sequence[Tensor | None]) -> list[Item]:
        """Take the items that native code can take through their segment; the others are left.

        Args:
            number: of the segment.
            totals: for each item the total norm that its segment reads, or None.
        """
        left: list[Item] = []
        batches: dict[Kernel, list[tuple[Item, Tensor | None]]] = {}
        for item, total in zip(items, totals):
            kernel = self._kernel(item, number)
            if kernel is None:
                left.append(item)
            else:
                batches.setdefault(kernel, []).append((item, total))
        for kernel, chosen in batches.items():
            alone = bool(chosen[0][0].plan.segments[number].noisy)  # so that one layer's noise is kept at a time
            for batch in [[one] for one in chosen] if alone else [chosen]:
                self._step(kernel, batch, number)
        return left

    def _kernel(self, item: Item, number: int) -> Kernel | None:
        if not item.on_cpu or item.is_cut:
            return None
        extra = (item.raw if number > 0 else None, item.look, item.change)
        form = (item.flowing.dtype, *(None if tensor is None else tensor.dtype for tensor in extra))
        known = item.kernels.get(number)
        if known is None or known[0] != form:
            known = item.kernels[number] = (form, self._found(item, number, form))
        return known[1]

    def _found(self, item: Item, number: int, dtypes: tuple[Any, ...]) -> Kernel | None:
        segment = item.plan.segments[number]
        buffers = tuple(buffer.dtype for buffer in item.lying(segment))
        key = (segment.key, item.local.dtype, dtypes, buffers)
        if key not in self._kernels:
            self._kernels[key] = self._made(segment, item.local.dtype, dtypes, buffers)
        return self._kernels[key]

    def _made(self, segment: Segment, theta: Any, dtypes: tuple[Any, ...], buffers: tuple[Any, ...]) -> Kernel | None:
        x, *extra = dtypes
        form = Form(working_dtype(theta), theta, x, tuple(dtype or torch.float32 for dtype in extra), buffers)
        if segment.stages[0].refresh_every > 0 or any(dtype not in TYPES for dtype in form.all):
            return None
        apart, looked, differs = (dtype is not None for dtype in extra)
        try:
            return Kernel(segment, form, looked, differs, apart)
        except (NotElementwise, OSError):
            return None  # torch.compile can do it, or says why it can't

    def _step(self, kernel: Kernel, batch: Sequence[tuple[Item, Tensor | None]], number: int) -> None:
        lives: dict[tuple[Any, ...], Any] = {}
        table: list[int] = []
        held: list[Tensor] = []  # what must outlive the call
        largest = 0
        for item, total in batch:
            plan, theta = item.plan, item.local if item.dense else item.theta
            segment = plan.segments[number]
            live = lives.get((plan, item.k))
            if live is None:
                live = lives[plan, item.k] = _numbers([*plan.numbers(item.k), 0.0 if total is None else float(total)])
            if kernel.updates:
                out = theta
            else:
                out = torch.empty_like(item.theta, dtype=kernel.work)
                held.append(item.flowing)
            table += (
                item.count,
                live[0],
                theta.data_ptr(),
                item.flowing.data_ptr(),
                item.raw.data_ptr() if number > 0 else 0,
                0 if item.look is None else item.look.data_ptr(),
                0 if item.change is None else item.change.data_ptr(),
                out.data_ptr(),
            )
            for stage, label in segment.noisy:
                held.append(item.normal(stage, label))
                table.append(held[-1].data_ptr())
            table += [buffer.data_ptr() for buffer in item.lying(segment)]
            largest = max(largest, item.count)
            if not kernel.updates:
                item.flowing = out
        kernel(table, largest)


def _numbers(values: Sequence[float]) -> tuple[int, Any]:
    """The address of an array of doubles, and the array."""
    array = (ctypes.c_double * len(values))(*values)
    return ctypes.addressof(array), array


class Absent:
    """No native code: every item is left."""

    kernels = 0

    def run(self, items: Sequence[Item], number: int, totals: Sequence[Tensor | None]) -> list[Item]:
        return list(items)
