"""A benchmark: what a step of each optimizer takes, all of them in turn in one process."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from statistics import median
from typing import Any

import torch

from edsl.costs.cost import ELEMENT, cost
from edsl.errors import EdslError, shown
from edsl.lab.benchmarks.contender import Contender, Copy, Entry, Gradients, Place
from edsl.lab.benchmarks.first_step import FirstStep, TooSlow, first_step
from edsl.lab.benchmarks.footprint import kernels, temporary_bytes
from edsl.lab.benchmarks.parameter_sets import Shape, parameter_set
from edsl.lab.benchmarks.peers import peer_class
from edsl.lab.benchmarks.rounds import Spread, in_turn, ratios, spread, timed
from edsl.lab.trials.device import free_memory, usable_device
from edsl.language.rules.texts import has_rules, line_of
from edsl.language.spec import parse
from edsl.numerics.dtypes import read_dtype, working_dtype
from edsl.optim.compile import compile
from edsl.optim.foreign.packages import AbsentPackage
from edsl.optim.state import state_bytes

BASELINE = "torch.AdamW"  # fused, which all others are measured by
_GIB = 2**30


@dataclass(frozen=True)
class BenchmarkRow:
    """One optimizer.

    Attributes:
        to_adamw, to_copy: the median over rounds of its time by that of fused AdamW, and of the copy, in
            the same round.
        first_step_s: None where it was not asked for.
        graphs: compiled in all; `recompiles` are those after the first step.
        kernels: launched by a step; None on a CPU.
        state_bytes: kept between steps, for a parameter element; temporary_bytes: held within a step.
        fallbacks: why graphs run uncompiled.
    """

    optimizer: str
    step_ms: Spread
    to_adamw: float
    to_copy: float
    first_step_s: FirstStep | None
    graphs: int
    recompiles: int
    kernels: int | None
    state_bytes: float
    temporary_bytes: float
    fallbacks: tuple[str, ...]


@dataclass(frozen=True)
class Report:
    """What a benchmark found: the rows, the copy that they are measured by, and who was absent."""

    configuration: dict[str, Any]
    versions: dict[str, str]
    copy_ms: Spread
    copy_bytes: int
    rows: tuple[BenchmarkRow, ...]
    absent: tuple[str, ...]

    def record(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Bench:
    """A benchmark that can be run: `bench` makes one."""

    params: str
    shapes: dict[str, Shape]
    entries: tuple[Entry, ...]
    absent: tuple[str, ...]
    place: Place
    threads: int
    steps: int
    first_steps: bool

    @property
    def elements(self) -> int:
        return sum(map(math.prod, self.shapes.values()))

    def configuration(self) -> dict[str, Any]:
        """What was asked for."""
        return {
            "params": self.params,
            "tensors": len(self.shapes),
            "elements": self.elements,
            **asdict(self.place),
            "device_name": _device_name(self.place.device),
            "threads": self.threads,
            "steps": self.steps,
        }

    def run(self, watch: Callable[[str], None]) -> Report:
        """Measure; `watch` is told in a few words what comes next.

        Raises:
            EdslError: when an optimizer can't take a step, or there is too little memory for all.
        """
        check_memory(self)
        firsts, slow = self._first_steps(watch) if self.first_steps else ({}, {})
        entries = tuple(entry for entry in self.entries if entry.name not in slow)
        absent = (*self.absent, *(f"{name}: {reason}" for name, reason in slow.items()))
        chosen = replace(self, entries=entries, absent=absent)
        threads = torch.get_num_threads()
        torch.set_num_threads(self.threads)
        try:
            return chosen._measure(firsts, watch)
        finally:
            torch.set_num_threads(threads)

    def _first_steps(self, watch: Callable[[str], None]) -> tuple[dict[str, FirstStep], dict[str, str]]:
        """The first step of each, and of those peers that take too long for one, why."""
        firsts: dict[str, FirstStep] = {}
        slow: dict[str, str] = {}
        for entry in self.entries:
            watch(f"first step of {entry.name}, cold and warm")
            try:
                firsts[entry.name] = first_step(entry, self.shapes, self.place, self.threads)
            except TooSlow as reason:
                if not entry.is_peer or entry.name == BASELINE:
                    raise EdslError(f"{entry.name}: {reason}; --no-first-step measures without it") from None
                slow[entry.name] = str(reason)
        return firsts, slow

    def _measure(self, firsts: dict[str, FirstStep], watch: Callable[[str], None]) -> Report:
        gradients = Gradients(self.shapes, self.place)
        build = partial(compile, total_steps=self.steps)
        contenders = [Contender(entry, self.shapes, self.place, build) for entry in self.entries]
        copy = Copy(self.elements, self.place)
        compiled = {}
        for contender in contenders:
            watch(f"compiling {contender.name}")
            timed(contender, gradients, self.place.device)
            compiled[contender.name] = contender.graphs
        watch(f"{self.steps} rounds of {len(contenders)} optimizers and a copy")
        seconds = in_turn([*contenders, copy], gradients, self.place.device, self.steps)
        rows = []
        for contender in contenders:
            watch(f"memory of {contender.name}")
            own = seconds[contender.name]
            row = BenchmarkRow(
                optimizer=contender.name,
                step_ms=spread(own, 1e3),
                to_adamw=median(ratios(own, seconds[BASELINE])),
                to_copy=median(ratios(own, seconds[copy.name])),
                first_step_s=firsts.get(contender.name),
                graphs=contender.graphs,
                recompiles=contender.graphs - compiled[contender.name],
                kernels=self._prepared(kernels, contender, gradients),
                state_bytes=state_bytes(contender.optimizer) / self.elements,
                temporary_bytes=self._prepared(temporary_bytes, contender, gradients) / self.elements,
                fallbacks=tuple(contender.fallbacks),
            )
            rows.append(row)
        copied = spread(seconds[copy.name], 1e3)
        return Report(self.configuration(), _versions(self.entries), copied, copy.bytes, tuple(rows), self.absent)

    def _prepared(self, measure: Callable[..., Any], contender: Contender, gradients: Gradients) -> Any:
        contender.prepare(gradients.tensors)
        found = measure(contender.step, self.place.device)
        gradients.restore()
        return found


def bench(
    specs: Sequence[str],
    params: str = "mlp",
    against: Sequence[str] = (),
    *,
    dtype: str = "float32",
    device: str = "auto",
    threads: int = 1,
    steps: int = 30,
    first_steps: bool = True,
) -> Bench:
    """A benchmark of specs, checked before anything runs. Fused AdamW and a copy are always in it.

    Args:
        params: a set of parameters, as `parameter_set` takes it.
        against: optimizers of other packages, each with its defaults: torch.NAME (fused where it can be),
            torch_optimizer.NAME, pytorch_optimizer.NAME, heavyball.NAME. A package that is not installed
            is named in the report.
        steps: rounds that are timed, after the first step and three more; T of schedules.
        first_steps: measure each first step too, in two fresh processes; a peer that takes minutes for it
            is left out, and named.

    Raises:
        EdslError: for a bad spec, one given twice, one that needs a closure or can't take the parameters,
            an unknown set, optimizer, dtype or device, or a bad number.

    Example:
        >>> from edsl.lab.benchmarks.bench import bench
        >>> report = bench(["alto"], "tiny", device="cpu", steps=1, first_steps=False).run(lambda what: None)
        >>> [row.optimizer for row in report.rows], report.rows[0].state_bytes
        (['alto', 'torch.AdamW'], 12.0)
    """
    if not specs:
        raise EdslError("no optimizer to measure: name at least one spec, such as alto")
    read_dtype(dtype, "dtype")
    most = os.cpu_count() or 1
    if not 1 <= threads <= most:
        raise EdslError(f"threads must be from 1 to {most}, the CPUs of this machine, got {threads}")
    if steps < 1:
        raise EdslError(f"steps must be at least 1, got {steps}")
    shapes = parameter_set(params)
    for spec in specs:
        _check_spec(spec, shapes, steps)
    peers, absent = _present(list(dict.fromkeys(against if BASELINE in against else [BASELINE, *against])))
    entries = (*map(_entry, specs), *(Entry(name, is_peer=True) for name in peers))
    seen: set[str] = set()
    for entry in entries:
        names = {entry.name} if entry.is_peer else {entry.name, str(parse(entry.spec))}
        if names & seen:
            raise EdslError(f"{shown(entry.name)} is given twice; a benchmark needs different optimizers")
        seen |= names
    place = Place(usable_device(device), dtype)
    if torch.device(place.device).type not in ("cpu", "cuda"):
        raise EdslError(f"device must be cpu or cuda to be timed, got {shown(device)}")
    return Bench(params, shapes, entries, absent, place, threads, steps, first_steps)


def _entry(spec: str) -> Entry:
    return Entry(line_of(spec), text=spec) if has_rules(spec) else Entry(spec)


def _check_spec(spec: str, shapes: dict[str, Shape], steps: int) -> None:
    estimator = parse(spec).estimator
    if estimator.needs_closure or estimator.calls > 1:
        raise EdslError(f"{shown(spec)} can't be benchmarked: there is no loss to evaluate; use the estimator grad")
    empty = [(name, torch.nn.Parameter(torch.empty(shape, device="meta"))) for name, shape in shapes.items()]
    compile(spec, empty, mode="eager", total_steps=steps)


def _present(names: Sequence[str]) -> tuple[list[str], tuple[str, ...]]:
    """The peers whose packages are there, and a line for each of the others."""
    present, absent = [], []
    for name in names:
        try:
            peer_class(name)
            present.append(name)
        except AbsentPackage as reason:
            absent.append(f"{name}: {reason}")
    return present, tuple(absent)


def check_memory(chosen: Bench) -> None:
    """Raises EdslError where a benchmark needs more memory than there is."""
    free, needed = free_memory(chosen.place.device), needed_memory(chosen)
    if free is not None and needed > free:
        raise EdslError(
            f"{chosen.params} with {len(chosen.entries)} optimizers in {chosen.place.dtype} needs about "
            f"{needed / _GIB:.1f} GiB, and {chosen.place.device} has {free / _GIB:.1f} GiB free: "
            "take fewer optimizers, a smaller set or dtype"
        )


def needed_memory(chosen: Bench) -> float:
    """Bytes of all parameters, states and the shared gradients, and two temporary tensors of their size."""
    element = chosen.place.element
    states = sum(_state(entry, chosen.place) for entry in chosen.entries)
    return chosen.elements * (element * (len(chosen.entries) + 3) + states)


def _state(entry: Entry, place: Place) -> float:
    """Bytes of state for an element; of another package's optimizer, two moments are taken for it."""
    unknown = 2 * place.element
    if entry.is_peer:
        return unknown
    own = working_dtype(place.torch_dtype).itemsize / ELEMENT
    costs = [cost(branch) for branch in parse(entry.spec).branches.values()]
    return max(unknown if one is None else one.state * own for one in costs)


def _versions(entries: Sequence[Entry]) -> dict[str, str]:
    packages = {entry.name.partition(".")[0] for entry in entries if entry.is_peer}
    found = {"edsl": _version("edsl-optim"), "torch": torch.__version__}
    return {**found, **{package: _version(package) for package in sorted(packages - {"torch"})}}


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "unknown"


def _device_name(device: str) -> str:
    return torch.cuda.get_device_name(device) if torch.device(device).type == "cuda" else "CPU"
