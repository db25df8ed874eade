"""What an optimizer takes besides time: memory, a step's or a whole process's, and kernels."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile

from edsl.errors import EdslError
from edsl.lab.benchmarks.parameter_sets import Shape
from edsl.optim.compile import compile
from edsl.optim.state import state_bytes

_PROGRAM = "from edsl.lab.benchmarks.footprint import main; main()"
_STATUS = Path("/proc/self/status")
STEPS = 3
# Large tensors come from the system and go back to it, so that what is resident is what is held.
_ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "0", "MALLOC_TOP_PAD_": "0"}


@dataclass(frozen=True)
class Held:
    """Bytes of parameters, gradients and an optimizer in a process of its own.

    Attributes:
        state: of all tensors that the optimizer keeps, without step counts.
        peak: the most that was held during three steps, parameters and gradients among it: on a CPU the process's
            resident memory beyond what it had before the parameters, on a GPU torch's allocator. None where the
            system doesn't tell.
    """

    state: int
    peak: int | None


def held_by(spec: str, shapes: dict[str, Shape], device: str) -> Held:
    """What training with an optimizer holds, measured in a fresh process, in float32.

    Raises:
        EdslError: when its steps fail there.
    """
    task = {"spec": spec, "shapes": shapes, "device": device}
    environment = {**os.environ, **_ALLOCATOR}
    command = [sys.executable, "-c", _PROGRAM]
    done = subprocess.run(command, input=json.dumps(task), env=environment, capture_output=True, text=True)
    if done.returncode != 0:
        said = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise EdslError(f"{spec}: steps in a fresh process failed: {said[:200]}")
    return Held(**json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    """The fresh process: reads its task from stdin, prints what was held as JSON."""
    task = json.load(sys.stdin)
    torch.set_num_threads(1)
    shapes = {name: tuple(shape) for name, shape in task["shapes"].items()}
    small = {name: tuple(min(size, 4) for size in shape) for name, shape in shapes.items()}
    _trained(task["spec"], small, task["device"])  # what is loaded and compiled is there before the count begins
    gc.collect()
    before = _resident("VmRSS")
    if task["device"] != "cpu":
        torch.cuda.empty_cache()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
    state = _trained(task["spec"], shapes, task["device"])
    most = _resident("VmHWM") if task["device"] == "cpu" else torch.cuda.max_memory_allocated()
    print(json.dumps(asdict(Held(state, None if before is None or most is None else most - before))))


def _trained(spec: str, shapes: dict[str, Shape], device: str) -> int:
    """Take some steps on random gradients; the bytes of state."""
    named = [(name, nn.Parameter(torch.randn(shape, device=device))) for name, shape in shapes.items()]
    for _, parameter in named:
        parameter.grad = torch.randn_like(parameter)
    optimizer = compile(spec, named)
    for _ in range(STEPS):
        optimizer.step()
    return state_bytes(optimizer)


def _resident(key: str) -> int | None:
    """Resident bytes of this process, now (VmRSS) or at the most (VmHWM); None where the system doesn't tell."""
    try:
        lines = _STATUS.read_text().splitlines()
    except OSError:
        return None
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith(f"{key}:")), None)


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
