"""Steps on a CPU as native code: one call for all layers that share a step."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import torch

from edsl.conference import Turn
from edsl.cpp import ASIDE, SMALL, TYPES, Form, columns, source
from edsl.cxx import compiled
from edsl.expression import NotElementwise
from edsl.layout import working_dtype


class Kernel:
    """The compiled step of a segment, for tensors of some dtypes.

    Raises:
        NotElementwise: for a step that is more than elements, norms and means.
        OSError: without a C++ compiler, or where it fails.
    """

    def __init__(self, turn: Turn, form: Form) -> None:
        segment, given = turn.segment, turn.given
        recording = segment.record(
            given.hessian is not None, given.difference is not None, apart=given.gradient is not None
        )
        text, self.kept = source(recording, form, len(segment.noisy))
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
        self._kernels: dict[tuple[object, ...], Kernel | None] = {}

    @property
    def kernels(self) -> int:
        return sum(kernel is not None for kernel in self._kernels.values())

    def run(self, turns: Sequence[Turn]) -> list[Turn]:
        """Take the turns that native code can take; the others are left."""
        left, batches = [], {}
        for turn in turns:
            kernel = self._kernel(turn)
            if kernel is None:
                left.append(turn)
            else:
                batches.setdefault(kernel, []).append(turn)
        for kernel, chosen in batches.items():
            if chosen[0].segment.noisy:  # so that no more noise is kept than one layer's
                for turn in chosen:
                    self._step(kernel, [turn])
            else:
                self._step(kernel, chosen)
        return left

    def _kernel(self, turn: Turn) -> Kernel | None:
        given, theta, segment = turn.given, turn.item.theta, turn.segment
        if theta.device.type != "cpu" or given.answers is not None or segment.stages[0].refresh_every > 0:
            return None
        others = (given.gradient, given.hessian, given.difference)
        key = (segment.key, theta.dtype, turn.item.x.dtype, *(other is not None and other.dtype for other in others))
        key += tuple(buffer.dtype for buffer in turn.buffers)
        if key not in self._kernels:
            self._kernels[key] = self._made(turn)
        return self._kernels[key]

    def _made(self, turn: Turn) -> Kernel | None:
        given, theta = turn.given, turn.item.theta
        extra = [torch.float32 if o is None else o.dtype for o in (given.gradient, given.hessian, given.difference)]
        buffers = tuple(buffer.dtype for buffer in turn.buffers)
        form = Form(working_dtype(theta.dtype), theta.dtype, turn.item.x.dtype, tuple(extra), buffers)
        if any(dtype not in TYPES for dtype in form.all):
            return None
        try:
            return Kernel(turn, form)
        except (NotElementwise, OSError):
            return None  # torch.compile can do it, or says why it can't

    def _step(self, kernel: Kernel, turns: Sequence[Turn]) -> None:
        lives: dict[tuple[int, int, float], ctypes.Array[ctypes.c_double]] = {}
        held, table, largest = [], [], 0
        for turn in turns:
            item, given = turn.item, turn.place
            held.append(given)  # its noise must outlive the call
            total = 0.0 if given.total_norm is None else float(given.total_norm)
            live = lives.get((id(item.plan), item.k, total))
            if live is None:
                numbers = [*item.plan.numbers(item.k), total]
                live = lives[id(item.plan), item.k, total] = (ctypes.c_double * len(numbers))(*numbers)
            out = item.theta if kernel.updates else torch.empty_like(item.theta, dtype=kernel.work)
            tensors = (item.theta, item.x, given.gradient, given.hessian, given.difference, out)
            table += [item.theta.numel(), ctypes.addressof(live)]
            table += [
                0 if tensor is None else tensor.data_ptr() for tensor in (*tensors, *given.normals, *turn.buffers)
            ]
            largest = max(largest, item.theta.numel())
            held.append(item.x)
            item.x = None if kernel.updates else out
        kernel(table, largest)


class Absent:
    """No native code: every turn is left."""

    kernels = 0

    def run(self, turns: Sequence[Turn]) -> list[Turn]:
        return list(turns)
