"""Where a part measures, until when, and how: what all parts share."""

from __future__ import annotations

import contextlib
import gc
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median, quantiles
from typing import Any

import torch
from torch import Tensor

import edsl
from edsl.kernels.cuda import CudaKernels, Tile
from edsl.lab.benchmarks.contender import Contender, Entry, Gradients, Place
from edsl.lab.benchmarks.footprint import kernels
from edsl.lab.benchmarks.parameter_sets import Shape
from edsl.language.registry.stages import PACKAGES
from edsl.optim.state import state_bytes

Row = dict[str, Any]


@dataclass(frozen=True)
class Run:
    """A part's run on a device.

    Attributes:
        device: "cuda", or "cpu", where Triton's interpreter runs the kernels of a GPU.
        quick: tiny sizes and few steps, to see that all of it runs.
        ends: when it must have ended, on the clock of `time.monotonic`.
        record: takes one row of results at once.
    """

    device: str
    quick: bool
    ends: float
    record: Callable[[Row], None]

    @property
    def left(self) -> float:
        """Seconds until the end."""
        return self.ends - time.monotonic()

    @property
    def on_gpu(self) -> bool:
        return self.device == "cuda"

    def place(self, dtype: str) -> Place:
        return Place(self.device, dtype)

    def optimizer(self, spec: str, parameters: Any, tile: Tile | None = None, **options: Any) -> Any:
        """A spec compiled as on a GPU: on a CPU its elements, norms and means go through Triton's interpreter."""
        if self.on_gpu and tile is None:
            return edsl.compile(spec, parameters, **options)
        options = options if self.on_gpu else {**options, "mode": "eager"}
        optimizer = edsl.compile(spec, parameters, **options)
        optimizer.engine.cuda = CudaKernels(self.device, tile)
        return optimizer

    def contender(self, name: str, shapes: dict[str, Shape], dtype: str, **options: Any) -> Contender:
        """An optimizer of edsl or, by PACKAGE.NAME, of another package, on parameters of these shapes."""
        entry = Entry(name, is_peer=name.partition(".")[0] in PACKAGES)
        return Contender(entry, shapes, self.place(dtype), lambda spec, named: self.optimizer(spec, named, **options))

    def wait(self) -> None:
        """Until the device has done all that it was given."""
        if self.on_gpu:
            torch.cuda.synchronize()

    @contextlib.contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """Raises TimeoutError in what takes longer, as a compilation may."""

        def ring(*_: Any) -> None:
            raise TimeoutError(f"it took more than {seconds:.0f} s")

        before = signal.signal(signal.SIGALRM, ring)
        signal.setitimer(signal.ITIMER_REAL, max(0.01, seconds))
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)

    def skip(self, what: str, why: str) -> None:
        self.record({"skipped": what, "why": why})

    @contextlib.contextmanager
    def attempt(self, what: str) -> Iterator[None]:
        """Whatever fails within is one row of results; the part goes on, with the memory that it held."""
        try:
            yield
        except TimeoutError as reason:
            self.skip(what, str(reason))
        except Exception as reason:  # a peer or a compiler may raise anything; out of memory too
            first = (str(reason).splitlines() or [""])[0]
            self.record({"failed": what, "why": f"{type(reason).__name__}: {first}"[:300]})
        gc.collect()
        if self.on_gpu:
            torch.cuda.empty_cache()


class Rotating:
    """Gradients of which each step gets others, so that no cache keeps them from one step to the next."""

    def __init__(self, shapes: dict[str, Shape], place: Place, sets: int) -> None:
        self.sets = [Gradients(shapes, place).tensors for _ in range(sets)]

    def give(self, parameters: Sequence[Tensor], step: int) -> None:
        for parameter, gradient in zip(parameters, self.sets[step % len(self.sets)]):
            parameter.grad = gradient


def milliseconds(run: Run, steps: int, step: Callable[[], Any], before: Callable[[int], Any]) -> list[float]:
    """What each step takes on the device; the host may run ahead, so its time shows only where the device waits for it.

    Args:
        before: called ahead of each step with its number, and not timed.
    """
    if not run.on_gpu:
        took = []
        for number in range(steps):
            before(number)
            began = time.perf_counter()
            step()
            took.append(1e3 * (time.perf_counter() - began))
        return took
    events = [[torch.cuda.Event(enable_timing=True) for _ in range(2)] for _ in range(steps)]
    for number, (begin, end) in enumerate(events):
        before(number)
        begin.record()
        step()
        end.record()
    torch.cuda.synchronize()
    return [begin.elapsed_time(end) for begin, end in events]


def host_milliseconds(run: Run, steps: int, step: Callable[[], Any], before: Callable[[int], Any]) -> float:
    """The median of what a step takes until it returns, with nothing else in the device's queue."""
    took = []
    for number in range(steps):
        before(number)
        run.wait()
        began = time.perf_counter()
        step()
        took.append(1e3 * (time.perf_counter() - began))
    return median(took)


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median and quartiles."""
    lower, _, upper = quantiles(values, n=4, method="inclusive") if len(values) > 1 else [*values] * 3
    return {"median": median(values), "lower": lower, "upper": upper}


def launches(run: Run, chosen: Contender, before: Callable[[int], Any]) -> int | None:
    """Kernels of a step: as the profiler counts them on a GPU, else those of Triton."""
    if not run.on_gpu:
        cuda = getattr(getattr(chosen.optimizer, "engine", None), "cuda", None)
        return None if cuda is None else cuda.launches
    before(0)
    try:
        return kernels(chosen.step, run.device)
    except Exception:  # another version's profiler; its count must not cost the times that were measured
        return None


def bytes_once(chosen: Contender, place: Place) -> int:
    """Bytes of a step that moves each tensor once: θ, g and the state are read, θ and the state written."""
    parameters = sum(parameter.numel() for parameter in chosen.parameters) * place.element
    return 3 * parameters + 2 * state_bytes(chosen.optimizer)


def table(titles: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Rows as a table in Markdown."""
    lines = [titles, ["---", *["---:"] * (len(titles) - 1)], *([_cell(value) for value in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "**no**"
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"
    return str(value).replace("|", "\\|")


def notes(rows: Sequence[Row]) -> list[str]:
    """A line for each reason why things were left out, and for each thing that failed."""
    reasons: dict[str, list[str]] = {}
    for row in rows:
        if "skipped" in row:
            reasons.setdefault(row["why"], []).append(row["skipped"])
    skipped = [f"- not measured: {_some(names)}: {why}" for why, names in reasons.items()]
    return skipped + [f"- **failed**: {row['failed']}: {row['why']}" for row in rows if "failed" in row]


def _some(names: Sequence[str], most: int = 5) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
