"""Part 4: what a step allocates and what is kept, against what `edsl plan` said before."""

from __future__ import annotations

from collections.abc import Sequence

from edsl.costs.memory import memory
from edsl.lab.benchmarks.footprint import temporary_bytes
from edsl.lab.benchmarks.parameter_sets import Shape, parameter_set
from edsl.optim.state import state_bytes
from gpu_parts.run import Rotating, Row, Run, notes, table

TITLE = "Memory"
SPECS = ("alto", "eadamw", "grad | e | clip(norm=1) | lamb", "elion", "emuon")
SLACK = 2**10  # bytes a tensor, of addresses, scalars and what an allocator rounds up, which a plan does not count
BOTH = ("alto", "emuon")  # those that are measured in both dtypes where it should be quick
QUICK = {"a.weight": (40, 50), "a.bias": (40,)}


def measure(run: Run) -> None:
    """A row for each pipeline."""
    for spec in SPECS:
        for dtype in ("float32", "bfloat16") if not run.quick or spec in BOTH else ("float32",):
            shapes = QUICK if run.quick else parameter_set("gpt2-medium")
            if run.left < 5:
                run.skip(f"{spec} in {dtype}", "the time was up")
                continue
            with run.attempt(f"{spec} in {dtype}"):
                run.record(held(run, spec, dtype, shapes))


def held(run: Run, spec: str, dtype: str, shapes: dict[str, Shape]) -> Row:
    """State and temporaries in bytes, measured and planned; `within` when the plan's bounds hold."""
    planned = memory(spec, shapes, dtype)
    chosen = run.contender(spec, shapes, dtype)
    gradients = Rotating(shapes, run.place(dtype), 1)
    for step in range(2):
        gradients.give(chosen.parameters, step)
        chosen.step()
    gradients.give(chosen.parameters, 0)
    state, temporary = state_bytes(chosen.optimizer), temporary_bytes(chosen.step, run.device)
    assert planned.temporary is not None  # of edsl's own
    return {
        "spec": spec,
        "dtype": dtype,
        "state": state,
        "planned_state": planned.state,
        "temporary": temporary,
        "planned_temporary": planned.temporary,
        "within": state == planned.state and temporary <= planned.temporary + SLACK * len(shapes),
    }


def summary(rows: Sequence[Row]) -> str:
    known = [row for row in rows if "spec" in row]
    said = f"{sum(row['within'] for row in known)} of {len(known)} as planned"
    wrong = [f"- **over the plan**: {row['spec']} in {row['dtype']}" for row in known if not row["within"]]
    return "\n".join([said, *wrong, *notes(rows)])


def tables(rows: Sequence[Row]) -> str:
    titles = ["pipeline", "dtype", "state", "planned", "temporary", "planned ≤", "as planned"]
    keys = ("spec", "dtype", "state", "planned_state", "temporary", "planned_temporary", "within")
    cells = [[f"{row[key]:,}" if type(row[key]) is int else row[key] for key in keys] for row in rows if "spec" in row]
    return table(titles, cells)
