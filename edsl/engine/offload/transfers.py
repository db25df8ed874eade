"""Copies between a device and the CPU's memory that run beside the device's arithmetic."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

Pair = tuple[Tensor, Tensor]  # where to, and where from
Mark = Any  # a point in a stream's work, for others to wait for; None for one that was reached


class Transfers(ABC):
    """Two queues of copies, one to the device and one from it, beside its arithmetic.

    A copy waits for the marks that it is given, and for nothing else but the copies before it in its queue.
    """

    @abstractmethod
    def bring(self, pairs: Sequence[Pair], after: Sequence[Mark]) -> Mark:
        """Copy to the device; the mark is reached when all is there."""

    @abstractmethod
    def put(self, pairs: Sequence[Pair], after: Sequence[Mark]) -> Mark:
        """Copy from the device; the mark is reached when all is in the CPU's memory."""

    @abstractmethod
    def mark(self) -> Mark:
        """Reached when the arithmetic that was begun by now is done."""

    @abstractmethod
    def wait(self, mark: Mark) -> None:
        """Let the arithmetic that begins from now on wait for a mark."""

    @abstractmethod
    def finish(self) -> None:
        """Let the program wait until all copies are done."""

    @abstractmethod
    def far(self, like: Tensor) -> Tensor:
        """An empty tensor of this form in the CPU's memory, fit for copies."""


class CudaTransfers(Transfers):
    """Streams of one GPU, and pinned memory.

    Args:
        device: the GPU.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._inwards, self._outwards = torch.cuda.Stream(device), torch.cuda.Stream(device)

    def bring(self, pairs: Sequence[Pair], after: Sequence[Mark]) -> Mark:
        return self._copy(self._inwards, pairs, after)

    def put(self, pairs: Sequence[Pair], after: Sequence[Mark]) -> Mark:
        for _, source in pairs:
            source.record_stream(self._outwards)  # which may be freed before it is copied
        return self._copy(self._outwards, pairs, after)

    def _copy(self, stream: Any, pairs: Sequence[Pair], after: Sequence[Mark]) -> Mark:
        for mark in after:
            if mark is not None:
                stream.wait_event(mark)
        with torch.cuda.stream(stream):
            for to, source in pairs:
                to.copy_(source, non_blocking=True)
        return stream.record_event()

    def mark(self) -> Mark:
        return torch.cuda.current_stream(self._device).record_event()

    def wait(self, mark: Mark) -> None:
        if mark is not None:
            torch.cuda.current_stream(self._device).wait_event(mark)

    def finish(self) -> None:
        self._inwards.synchronize()
        self._outwards.synchronize()

    def far(self, like: Tensor) -> Tensor:
        return torch.empty_like(like, device="cpu", pin_memory=True)
