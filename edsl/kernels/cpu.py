"""Steps on a CPU as native code: one call for all layers that share a step."""

from __future__ import annotations

import ctypes
import os
from array import array
from collections.abc import Sequence
from typing import Any

import torch

from edsl.codegen.cpp import LEADING, SCRATCH, SMALL, columns, source
from edsl.kernels.kernel import Kernel, KernelCache, Late, LaunchTable, Part, Row
from edsl.kernels.toolchain import FASTEST, QUICKLY, compile_library
from edsl.step.inputs import LiveLayout
from edsl.step.parameter import ParameterStep
from edsl.step.plan import GroupPlan

SHARED = 1 << 15  # elements from which threads share a step, as torch's own loops do
_forked = False  # OpenMP's threads are not in a forked child, which would wait for them for ever


def threads_for(elements: int) -> int:
    """How many threads share a loop over so many elements."""
    return torch.get_num_threads() if elements >= SHARED and not _forked else 1


class CpuKernel(Kernel):
    """A step in C++.

    Args:
        function: the compiled one.
        spilled: the values an element that it keeps aside.
    """

    def __init__(self, part: Part, normals: int, live: LiveLayout, function: Any, spilled: int) -> None:
        super().__init__(part, normals, live)
        self.spilled = spilled
        self.width = len(columns(len(part.signature.buffers), normals))
        self._function = function
        self._function.argtypes = [ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p]
        self._function.restype = None

    def batch(self, number: int) -> CpuLaunchTable:
        return CpuLaunchTable(self, number)

    def launch(self, rows: Sequence[Row], numbers: Sequence[float], late: Sequence[Late], place: Any) -> None:
        live = _array(numbers, late)
        begin = live.buffer_info()[0]
        table = array(
            "q", [entry for row in rows for entry in (row.count, begin, 0, row.key, row.width, *row.addresses)]
        )
        kept = max((row.count for row in rows if row.count <= SCRATCH), default=0)
        self(table, kept, sum(row.count for row in rows))

    def __call__(self, table: array[int], largest: int, elements: int) -> None:
        """Step every layer of a table.

        Args:
            table: its rows one after another, each with the entries that `edsl.codegen.cpp.columns` names.
            largest: the number of elements of the largest layer that keeps values aside.
            elements: how many there are in all.
        """
        threads = threads_for(elements)
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
        return item.count, live, counted, item.key, item.width

    def _live(self, plan: GroupPlan, k: int, late: Sequence[Late]) -> int:
        """The address of an array of doubles."""
        numbers = _array(plan.live_layout.with_room(plan.numbers(k), late), late)
        self._held.append(numbers)
        return numbers.buffer_info()[0]


def _array(numbers: Sequence[float], late: Sequence[Late]) -> array[float]:
    """The live values as doubles."""
    found = array("d", numbers)
    for place, value in late:
        found[place] = float(value)
    return found


def _note_fork() -> None:
    global _forked
    _forked = True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_note_fork)


class CpuKernels(KernelCache):
    """All native steps of an optimizer."""

    device = "cpu"
    language = "C++"

    def _compiled(
        self, parts: Sequence[Part], normals: int, live: LiveLayout, device: torch.device
    ) -> Sequence[CpuKernel]:
        text, spilled = source(parts, normals)
        beside_products = len(parts) > 1  # which take most of the time of a step
        # One library for all parts: a compiler takes longer to start than to end.
        library = compile_library(text, QUICKLY if beside_products else FASTEST)
        return [
            CpuKernel(part, normals, live, library[f"step{number}"], spilled[number])
            for number, part in enumerate(parts)
        ]
