"""Part 6: the kernels of one step of ALTO, one by one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

import edsl
from edsl.costs.traffic import bytes_of_loops
from edsl.lab.benchmarks.contender import Contender
from edsl.lab.benchmarks.parameter_sets import Shape, parameter_set
from edsl.step.plan import GroupPlan
from gpu_parts.run import Rotating, Row, Run, notes, table

TITLE = "A profile"
SPEC = "alto"
STEPS = 5


def shapes_of(quick: bool) -> dict[str, Shape]:
    return {"a.weight": (40, 50), "b.weight": (2000,)} if quick else parameter_set("gpt2-medium")


def warmed_up(run: Run) -> tuple[Contender, Rotating]:
    """The optimizer that has taken three steps, and its gradients."""
    shapes = shapes_of(run.quick)
    chosen, gradients = run.contender(SPEC, shapes, "float32"), Rotating(shapes, run.place("float32"), 2)
    for step in range(3):
        gradients.give(chosen.parameters, step)
        chosen.step()
    run.wait()
    return chosen, gradients


def measure(run: Run) -> None:
    """A row for each kernel: its time, and what it moves."""
    chosen, gradients = warmed_up(run)
    took = _kernel_microseconds(run, chosen, gradients) if run.on_gpu else {}
    elements = sum(parameter.numel() for parameter in chosen.parameters)
    pipeline = edsl.parse(SPEC)
    moved = bytes_of_loops(GroupPlan(pipeline, False, pipeline.hyperparameters), torch.float32)
    assert moved is not None  # of elements and norms
    names = [f"{kind}{number}" for number in range(len(moved)) for kind in ("scalars", "pass")]
    for name in names:  # what is spared the layerwise factor, 0.1 % of the elements, takes the first pass alone
        size = moved[int(name.removeprefix("pass"))] if name.startswith("pass") else None
        took_us = took.get(name)
        row = {"kernel": name, "us": took_us, "bytes": size and size * elements, "bytes_per_parameter": size}
        run.record({**row, "gbps": size * elements / took_us / 1e3 if size and took_us else None})
    for name, took_us in took.items():
        if name not in names:
            run.record({"kernel": name, "us": took_us, "bytes": None, "bytes_per_parameter": None, "gbps": None})


def _kernel_microseconds(run: Run, chosen: Any, gradients: Rotating) -> dict[str, float]:
    """The mean time of each kernel and copy of a step."""
    with profile(activities=[ProfilerActivity.CUDA, ProfilerActivity.CPU]) as profiler:
        for step in range(STEPS):
            gradients.give(chosen.parameters, step)
            chosen.step()
        run.wait()
    found = [event for event in profiler.key_averages() if event.device_type.name == "CUDA"]
    own = [event for event in found if not event.is_user_annotation and event.self_device_time_total > 0]
    return {event.key: event.self_device_time_total / STEPS for event in own}


def summary(rows: Sequence[Row]) -> str:
    known = [row for row in rows if row.get("us") is not None]
    total = sum(row["us"] for row in known)
    said = f"{SPEC}: {len(known)} kinds of kernels and copies take {total:,.0f} µs a step" if known else "no times here"
    return "\n".join([said, *notes(rows)])


def tables(rows: Sequence[Row]) -> str:
    kernels = [[row["kernel"], row["us"], row["bytes_per_parameter"], row["gbps"]] for row in rows if "kernel" in row]
    return table(["kernel", "µs", "B/param", "GB/s"], kernels)
