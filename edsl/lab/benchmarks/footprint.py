"""What one step of an optimizer takes besides time: memory that it lets go again, and kernels."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile


def temporary_bytes(step: Callable[[], None], device: str) -> int:
    """The most that a step holds at once beyond what was there before it.

    On a CPU of torch's allocator alone: what native code takes from the system by itself is not seen.
    """
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        step()
        torch.cuda.synchronize(device)
        return max(0, torch.cuda.max_memory_allocated(device) - before)
    events = [event for event in _events(step, ProfilerActivity.CPU) if event.name() == "[memory]"]
    held = most = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        most = max(most, held)
    return most


def kernels(step: Callable[[], None], device: str) -> int | None:
    """How many kernels a step launches; None on a CPU, where nothing counts them."""
    if torch.device(device).type != "cuda":
        return None

    def whole_step() -> None:
        step()
        torch.cuda.synchronize(device)

    return sum(map(_is_kernel, _events(whole_step, ProfilerActivity.CUDA)))


def _is_kernel(event: Any) -> bool:
    """Whether it is a kernel on a GPU, and no copy or range of the program's own."""
    on_gpu = event.device_type().name == "CUDA" and not event.is_user_annotation()
    return on_gpu and not event.name().startswith(("Memcpy", "Memset"))


def _events(step: Callable[[], None], activity: Any) -> list[Any]:
    with _silent(), profile(activities=[activity], profile_memory=True) as profiler:
        step()
    results: Any = profiler.profiler
    return list(results.kineto_results.events())


@contextmanager
def _silent() -> Iterator[None]:
    """Without what the profiler's own native code writes to stderr."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
