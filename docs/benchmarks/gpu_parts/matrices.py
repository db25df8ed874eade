"""Part 3: optimizers that take matrices as such, on the hidden matrices of gpt2-medium."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from edsl.lab.benchmarks.contender import Entry
from edsl.lab.benchmarks.first_step import first_step
from edsl.lab.benchmarks.parameter_sets import Shape, parameter_set
from edsl.lab.benchmarks.peers import peer_class
from edsl.optim.foreign.packages import AbsentPackage
from gpu_parts.run import Rotating, Row, Run, milliseconds, notes, spread, table

TITLE = "Matrices"
STEPS = 50
BLOCKS = {"muon(precision='bfloat16')": 24, "torch.Muon": 24, "muon": 24, "soap": 2, "shampoo": 2, "heavyball.Muon": 24}
COMPILATION = 30  # seconds that a peer's compilation may take of this part
FIRST = ("muon(precision='bfloat16')",)  # whose first step is measured, cold and warm


def matrices(blocks: int) -> dict[str, Shape]:
    """The matrices of this many blocks of gpt2-medium: no embeddings, no vectors."""
    return {
        name: shape
        for name, shape in parameter_set("gpt2-medium").items()
        if len(shape) == 2 and ".h." in name and int(name.split(".")[2]) < blocks
    }


def newton_schulz_flops(shapes: Sequence[Shape], steps: int = 5) -> int:
    """Of A = XXᵀ, A² and BX at each step, for X of m × n with m ≤ n: 4m²n + 2m³."""
    sides = [sorted(shape) for shape in shapes]
    return sum(steps * (4 * m * m * n + 2 * m**3) for m, n in sides)


def measure(run: Run) -> None:
    """A row for each optimizer; then first steps."""
    for name, blocks in BLOCKS.items():
        if run.quick and name.startswith("heavyball"):
            continue
        shapes = {"a.weight": (8, 8), "b.weight": (8, 24)} if run.quick else matrices(blocks)
        if run.left < 5:
            run.skip(name, "the time was up")
            continue
        most = COMPILATION if name.startswith("heavyball") else run.left
        with run.attempt(name), run.within(min(most, run.left)):
            try:
                run.record(step_of(run, name, shapes))
            except AbsentPackage as reason:
                run.skip(name, str(reason))
    for name in ("alto",) if run.quick else FIRST:
        if run.left < 20 and not run.quick:
            run.skip(f"first step of {name}", "the time was up")
            continue
        with run.attempt(f"first step of {name}"):
            shapes = {"a.weight": (8, 8)} if run.quick else matrices(24)
            took = first_step(Entry(name), shapes, run.place("float32"), 1, limit=run.left)
            run.record({"first_step": name, "cold_s": took.cold, "warm_s": took.warm})


def step_of(run: Run, name: str, shapes: dict[str, Shape]) -> Row:
    """What a step takes.

    Returns:
        first_s: seconds of this process's first step, whatever was cached. flops: of the products of a usual step.
        refresh_ms: the slowest of the timed steps, which of SOAP and Shampoo is one that factors matrices.
    """
    if "." in name.partition("(")[0]:
        peer_class(name)
    chosen = run.contender(name, shapes, "float32")
    gradients = Rotating(shapes, run.place("float32"), 1 if run.quick else 2)

    def give(step: int) -> None:
        gradients.give(chosen.parameters, step)

    first = milliseconds(run, 1, chosen.step, give)
    milliseconds(run, 2, chosen.step, give)
    flops = _flops(chosen, give)
    steps = 2 if run.quick else STEPS if "muon" in name.lower() else 12
    took = milliseconds(run, steps, chosen.step, give)
    own = spread(took)
    return {
        "optimizer": name,
        "matrices": len(shapes),
        "elements": sum(map(prod, shapes.values())),
        "first_s": first[0] / 1e3,
        "ms": own,
        "refresh_ms": max(took),
        "flops": flops,
        "tflops": flops / own["median"] / 1e9,
        "fallbacks": chosen.fallbacks,
    }


def _flops(chosen: Any, give: Any) -> int:
    """As torch counts them in a step that compiles nothing."""
    give(0)
    if hasattr(chosen.optimizer, "engine"):
        shapes = [tuple(parameter.shape) for parameter in chosen.parameters]
        if "muon" in chosen.name:
            return newton_schulz_flops(shapes)
        return sum(_step_flops(chosen.name, shape) * count for shape, count in _counted(shapes).items())
    with FlopCounterMode(display=False) as counter:
        chosen.step()
    return counter.get_total_flops() or newton_schulz_flops([tuple(parameter.shape) for parameter in chosen.parameters])


def _counted(shapes: Sequence[Shape]) -> dict[Shape, int]:
    return {shape: list(shapes).count(shape) for shape in dict.fromkeys(shapes)}


def _step_flops(spec: str, shape: Shape) -> int:
    """Of a usual step of one matrix, from a smaller one of the same proportions, since they grow as the cube."""
    import edsl

    scale = max(1, min(shape) // 64)
    parameter = torch.nn.Parameter(torch.randn(*(size // scale for size in shape)))
    optimizer = edsl.compile(spec, [("weight", parameter)], mode="eager")
    for _ in range(2):
        parameter.grad = torch.randn_like(parameter)
        with FlopCounterMode(display=False) as counter:
            optimizer.step()
    return counter.get_total_flops() * scale**3


def summary(rows: Sequence[Row]) -> str:
    own = {row["optimizer"]: row for row in rows if "optimizer" in row}
    said = "nothing measured"
    if {"torch.Muon", "muon(precision='bfloat16')"} <= own.keys() and own["torch.Muon"]["matrices"] > 2:
        ours, theirs = (own[name]["ms"]["median"] for name in ("muon(precision='bfloat16')", "torch.Muon"))
        said = f"muon in bfloat16 takes {ours / theirs:.2f} times torch.optim.Muon"
    return "\n".join([said, *notes(rows)])


def tables(rows: Sequence[Row]) -> str:
    """Steps, and first steps in fresh processes."""
    titles = ["optimizer", "matrices", "elements", "first step s", "ms", "quartiles", "slowest ms", "TFLOP/s"]
    cells = []
    for row in rows:
        if "optimizer" in row:
            own = row["ms"]
            spread_of = f"{own['lower']:.3g}–{own['upper']:.3g}"
            size = f"{row['elements']:,}"
            cells.append([row["optimizer"], row["matrices"], size, row["first_s"], own["median"], spread_of])
            cells[-1] += [row["refresh_ms"], row["tflops"]]
    parts = [table(titles, cells)]
    firsts = [[row["first_step"], row["cold_s"], row["warm_s"]] for row in rows if "first_step" in row]
    if firsts:
        parts.append(table(["first step in a fresh process", "cold s", "warm s"], firsts))
    return "\n\n".join(parts)
