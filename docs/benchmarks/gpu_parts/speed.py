"""Part 2: what a step takes, beside a copy of as many bytes and other packages' AdamW, in one process."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch

from edsl.costs.memory import memory
from edsl.kernels.cuda import Tile
from edsl.lab.benchmarks.contender import Contender, Place
from edsl.lab.benchmarks.parameter_sets import Shape, parameter_set
from edsl.lab.benchmarks.peers import peer_class
from edsl.optim.foreign.packages import AbsentPackage
from gpu_parts.run import (
    Rotating,
    Row,
    Run,
    bytes_once,
    host_milliseconds,
    launches,
    milliseconds,
    notes,
    spread,
    table,
)

TITLE = "Speed"
SPECS = ("alto", "eadamw", "lamb", "adamw", "elion")
FUSED, FOREACH, COMPILED, HEAVYBALL = "torch.AdamW", "torch.AdamW foreach", "torch.AdamW compiled", "heavyball.AdamW"
STEPS, WARM_UP = 50, 5
BAR = 0.85  # of the copy's bandwidth
COMPILATION = 40  # seconds that a peer's compilation may take of this part
COPIED = 2**30  # elements of a copy in bfloat16, 4 GiB to and fro
TILES = (Tile(512, 4), Tile(1024, 4), Tile(1024, 8), Tile(2048, 4), Tile(2048, 8), Tile(4096, 8))


def measure(run: Run) -> None:
    """A row for each optimizer, set and dtype; then a copy, tiny tensors, and the tiles that a step can be cut into."""
    steps = 2 if run.quick else STEPS
    run.record({"copy": True, **copy_of_memory(run, steps)})
    for name, shapes, dtype, rivals in _sets(run):
        gradients = Rotating(shapes, run.place(dtype), 2)
        for optimizer in (*SPECS[: 2 if run.quick else None], *rivals):
            _row(run, optimizer, name, shapes, dtype, gradients, steps)
        run.record({"copy": True, **copy_of_memory(run, steps)})
    if not run.quick:
        shapes = parameter_set("gpt2-medium")
        gradients = Rotating(shapes, run.place("float32"), 2)
        for tile in TILES:
            _row(run, "alto", "gpt2-medium", shapes, "float32", gradients, steps, tile)
        for compiled in (HEAVYBALL, COMPILED):  # last: each may compile until its time is up
            _row(run, compiled, "gpt2-medium", shapes, "float32", gradients, steps)


def _sets(run: Run) -> Iterator[tuple[str, dict[str, Shape], str, tuple[str, ...]]]:
    """Name, shapes, dtype and the other packages' optimizers that are measured there."""
    if run.quick:
        rivals = (FUSED, FOREACH, COMPILED) if run.on_gpu else (FUSED, FOREACH)
        yield "a few", {"a.weight": (40, 50), "a.bias": (40,), "b.weight": (1500,)}, "float32", rivals
        return
    yield "gpt2-medium", parameter_set("gpt2-medium"), "float32", (FUSED, FOREACH)
    yield "gpt2-medium", parameter_set("gpt2-medium"), "bfloat16", (FUSED, FOREACH)
    yield "1,000 tiny", tiny(), "float32", (FUSED, FOREACH)
    yield "llama-1b", parameter_set("llama-1b"), "bfloat16", (FUSED,)
    yield "llama-1b", parameter_set("llama-1b"), "float32", (FUSED,)


def tiny() -> dict[str, Shape]:
    """1,000 tensors of 16 to 64 elements, where a step is all overhead."""
    return {f"layers.{number}.weight": (16 + number % 49,) for number in range(1000)}


def _row(
    run: Run,
    name: str,
    set_name: str,
    shapes: dict[str, Shape],
    dtype: str,
    gradients: Rotating,
    steps: int,
    tile: Tile | None = None,
) -> None:
    what = f"{name} on {set_name} in {dtype}"
    if run.left < 5:
        run.skip(what, "the time was up")
        return
    most = COMPILATION if name in (COMPILED, HEAVYBALL) else run.left
    with run.attempt(what), run.within(min(most, run.left)):
        try:
            row = step_of(run, name, shapes, dtype, gradients, steps, tile)
        except AbsentPackage as reason:
            run.skip(what, str(reason))
            return
        run.record({"set": set_name, **row})


def step_of(
    run: Run, name: str, shapes: dict[str, Shape], dtype: str, gradients: Rotating, steps: int, tile: Tile | None = None
) -> Row:
    """What a step takes and moves.

    Returns:
        ms: median and quartiles, on the device. host_ms: until a step returns. launches: kernels of a step.
        bytes: that the method must move: what its loops read and write, or another package's each tensor once.
        bytes_once: each tensor once, as if a layer stayed in a cache from one loop to the next.
        gbps: `bytes` by the median.
    """
    place = run.place(dtype)
    chosen = _contender(run, name, shapes, place, tile)
    count = sum(parameter.numel() for parameter in chosen.parameters)

    def give(step: int) -> None:
        gradients.give(chosen.parameters, step)

    milliseconds(run, min(WARM_UP, steps), chosen.step, give)
    graphs = chosen.graphs
    found = spread(milliseconds(run, steps, chosen.step, give))
    planned = memory(name, shapes, dtype) if name in SPECS else None
    moved = bytes_once(chosen, place) if planned is None else planned.traffic_of_loops
    once = bytes_once(chosen, place) if planned is None else planned.traffic
    assert moved is not None  # of elements, norms and means
    assert once is not None
    return {
        "optimizer": name,
        "dtype": dtype,
        "tile": None if tile is None else [tile.block, tile.warps],
        "parameters": count,
        "ms": found,
        "host_ms": host_milliseconds(run, min(20, steps), chosen.step, give),
        "launches": launches(run, chosen, give),
        "kernels": chosen.optimizer.engine.cuda.kernels if name in SPECS else None,
        "bytes": moved,
        "bytes_once": once,
        "gbps": moved / found["median"] / 1e6,
        "recompiled": chosen.graphs - graphs,
        "fallbacks": chosen.fallbacks,
    }


def _contender(run: Run, name: str, shapes: dict[str, Shape], place: Place, tile: Tile | None) -> Contender:
    if name in SPECS:
        return run.contender(name, shapes, place.dtype, tile=tile)
    package_and_class = name.partition(" ")[0]
    peer_class(package_and_class)
    chosen = run.contender(package_and_class, shapes, place.dtype)
    if name != package_and_class:
        chosen.optimizer = torch.optim.AdamW(chosen.parameters, foreach=True)
    if name == COMPILED:
        rate = torch.tensor(1e-3, device=run.device)  # so that a schedule compiles nothing
        chosen.optimizer = torch.optim.AdamW(chosen.parameters, lr=rate, capturable=run.on_gpu)
        chosen.optimizer.step = torch.compile(chosen.optimizer.step)
    return chosen


def copy_of_memory(run: Run, steps: int) -> dict[str, Any]:
    """A copy on the device: GB/s of what is read and written."""
    source = torch.ones(2**16 if run.quick else COPIED, dtype=torch.bfloat16, device=run.device)
    target = torch.zeros_like(source)
    found = spread(milliseconds(run, steps, lambda: target.copy_(source), lambda step: None))
    moved = 2 * source.numel() * source.element_size()
    return {"bytes": moved, "ms": found, "gbps": moved / found["median"] / 1e6}


def bandwidth(rows: Sequence[Row]) -> float | None:
    """The copy's GB/s, the best of the run."""
    return max((row["gbps"] for row in rows if "copy" in row), default=None)


def summary(rows: Sequence[Row]) -> str:
    """The copy's bandwidth, and who misses the bar."""
    copied = bandwidth(rows)
    if copied is None:
        return "\n".join(["nothing measured", *notes(rows)])
    large = [row for row in rows if row.get("optimizer") in SPECS and row["parameters"] > 10**8 and row["tile"] is None]
    met = [row for row in large if row["gbps"] >= BAR * copied]
    lines = [f"a copy moves {copied:,.0f} GB/s; {len(met)} of {len(large)} of edsl's steps reach {BAR:.0%} of it"]
    for row in large:
        if row not in met:
            lines.append(
                f"- below the bar: {row['optimizer']} on {row['set']} in {row['dtype']}: {row['gbps'] / copied:.0%}"
            )
    lines += [f"- **wrong**: {row['optimizer']} on {row['set']}: no Triton kernels" for row in rows if _is_torchs(row)]
    return "\n".join([*lines, *notes(rows)])


def _is_torchs(row: Row) -> bool:
    """Whether a spec was stepped by torch.compile, against what the table is about."""
    return row.get("optimizer") in SPECS and not row["kernels"]


def tables(rows: Sequence[Row]) -> str:
    """All optimizers, and the tiles."""
    copied = bandwidth(rows) or float("nan")
    titles = [
        "optimizer",
        "set",
        "dtype",
        "ms",
        "quartiles",
        "B/param",
        "GB/s",
        "of a copy",
        "B once",
        "at a copy's rate ms",
    ]
    titles += ["host ms", "launches", "Triton kernels", "recompiled"]
    found = [[*_cells(row, copied)] for row in rows if "optimizer" in row and row["tile"] is None]
    parts = [table(titles, found)]
    tiled = [row for row in rows if row.get("tile")]
    if tiled:
        cells = [[*row["tile"], row["ms"]["median"], f"{row['gbps'] / copied:.0%}"] for row in tiled]
        parts.append("alto on gpt2-medium in float32, its step cut into other programs:")
        parts.append(table(["elements", "warps", "ms", "of a copy"], cells))
    return "\n\n".join(parts)


def _cells(row: Row, copied: float) -> Iterator[Any]:
    own, count = row["ms"], row["parameters"]
    yield from (row["optimizer"], row["set"], row["dtype"], own["median"], f"{own['lower']:.3g}–{own['upper']:.3g}")
    yield from (f"{row['bytes'] / count:.1f}", row["gbps"], f"{row['gbps'] / copied:.0%}")
    yield f"{row['bytes_once'] / count:.1f}"
    at_full_rate = [row[key] / copied / 1e6 for key in ("bytes", "bytes_once")]
    yield "; ".join(f"{value:.3g}" for value in dict.fromkeys(at_full_rate))
    yield from (row["host_ms"], row["launches"], row["kernels"], row["recompiled"])
