"""Steps on a CPU as native code: one call for all layers that share a step."""

from __future__ import annotations

import ctypes
import os
from array import array
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from edsl.codegen.cpp import LEADING, SCRATCH, SMALL, columns, source
from edsl.codegen.signature import KernelSignature
from edsl.codegen.trace import record
from edsl.kernels.kernel import Kernel, KernelCache, LaunchTable
from edsl.kernels.toolchain import compile_library
from edsl.step.parameter import ParameterStep
from edsl.step.plan import GroupPlan
from edsl.step.segment import Segment

SHARED = 1 << 15  # elements from which threads share a step, as torch's own loops do
_forked = False  # OpenMP's threads are not in a forked child, which would wait for them for ever


class CpuKernel(Kernel):
    """A step in C++.

    Raises:
        NotElementwise: for a step that is more than elements, norms and means.
        OSError: without a C++ compiler, or where it fails.
    """

    def __init__(self, segment: Segment, signature: KernelSignature, looked: bool, differs: bool, apart: bool) -> None:
        super().__init__(segment, signature)
        text, self.spilled = source(record(segment, looked, differs, apart), signature, len(segment.noisy))
        self.width = len(columns(len(signature.buffers), len(segment.noisy)))
        self._function = compile_library(text).step
        self._function.argtypes = [ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p]
        self._function.restype = None

    def batch(self, number: int) -> CpuLaunchTable:
        return CpuLaunchTable(self, number)

    def __call__(self, table: array[int], largest: int, elements: int) -> None:
        """Step every layer of a table.

        Args:
            table: its rows one after another, each with the entries that `edsl.codegen.cpp.columns` names.
            largest: the number of elements of the largest layer that keeps values aside.
            elements: how many there are in all.
        """
        threads = torch.get_num_threads() if elements >= SHARED and not _forked else 1
        room = self.spilled * max(largest, threads * min(largest, SMALL))
        aside = torch.empty(room, dtype=self.work, device="cpu")
        self._function(table.buffer_info()[0], len(table) // self.width, threads, aside.data_ptr())


class CpuLaunchTable(LaunchTable):
    """Layers that one call of native code steps; it counts up their steps too."""

    leading = LEADING

    def __init__(self, kernel: CpuKernel, number: int) -> None:
        super().__init__(kernel, number)
        self._call = kernel
        self._largest = self._elements = 0

    def repeat(self, items: Sequence[ParameterStep], gradients: array[int]) -> None:
        if any(item.plan.rounds_stochastically for item in items):
            width = len(self.table) // len(items)
            self.table[LEADING.index("key") :: width] = array("q", [item.key for item in items])
        super().repeat(items, gradients)

    def run(self) -> None:
        self._call(self.table, self._largest, self._elements)

    def _leading(self, item: ParameterStep, live: int) -> tuple[int, ...]:
        counted = 0
        self._elements += item.count
        if self._call.updates and item.step_address:
            item.counts, counted = False, item.step_address
        if self._largest < item.count <= SCRATCH:
            self._largest = item.count
        return item.count, live, counted, item.key

    def _live(self, plan: GroupPlan, k: int, total: Tensor | None) -> int:
        """The address of an array of doubles."""
        numbers = array("d", [*plan.numbers(k), 0.0 if total is None else float(total)])
        self._held.append(numbers)
        return numbers.buffer_info()[0]


def _note_fork() -> None:
    global _forked
    _forked = True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_note_fork)


class CpuKernels(KernelCache):
    """All native steps of an optimizer."""

    device = "cpu"

    def _compiled(
        self, segment: Segment, signature: KernelSignature, looked: bool, differs: bool, apart: bool, device: Any
    ) -> CpuKernel:
        return CpuKernel(segment, signature, looked, differs, apart)
