"""Part 5: a GPT on source text: tokens a second, the optimizer's share, and the losses of a CPU."""

from __future__ import annotations

import math
import multiprocessing
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from statistics import mean, stdev
from typing import Any

import torch

import edsl
from edsl.lab.models.decoder import Decoder
from edsl.lab.tasks.python_bytes import BYTES, LENGTH
from edsl.lab.tasks.task import Scale, Task
from edsl.lab.trials.setting import Setting
from edsl.lab.trials.training import Training, fair_groups
from gpu_parts.run import Row, Run, notes, table

TITLE = "Training"
SPECS = ("alto(lr=0.01)", "adamw(lr=0.001)", "emuon(lr=0.02, other_lr=0.001)")
SEEDS = (0, 1, 2)
BATCH = 32


def _least() -> Decoder:
    """1 layer, 8 wide: what Triton's interpreter steps in a moment."""
    return Decoder(256, LENGTH, width=8, depth=1, heads=1)


TASK = replace(BYTES, models={**BYTES.models, "least": _least})


def measure(run: Run) -> None:
    """Rows of `large` in bfloat16, then of `tiny` in float32 beside a CPU."""
    steps = 2 if run.quick else 100
    plain, matrices = SPECS[: 1 if run.quick else 2], () if run.quick else SPECS[2:]
    for specs in (plain, matrices):  # which compile for long: last
        for spec in specs:
            _attempt(run, f"large with {spec}", lambda spec=spec: throughput(run, spec))
        for spec in specs:
            _attempt(run, f"losses of {spec}", lambda spec=spec: beside_a_cpu(run, spec, steps))


def _attempt(run: Run, what: str, measured: Callable[[], Row]) -> None:
    if run.left < 10 and not run.quick:
        run.skip(what, "the time was up")
        return
    with run.attempt(what):
        run.record(measured())


def throughput(run: Run, spec: str) -> Row:
    """Tokens a second, and the optimizer's share of a step, where the host waits for each part of it."""
    scale = Scale(autocast="bfloat16")
    model, steps = ("least", 2) if run.quick else ("large", 200)
    training = _training(run, replace(TASK, scale=scale), model, spec, 0, steps)
    losses = [training.step(step, step + 1) for step in range(steps)]
    clock = training.clock
    step_ms, optimizer_ms = clock.median_ms(clock.whole), clock.median_ms(clock.optimizer)
    return {
        "spec": spec,
        "model": model,
        "steps": steps,
        "tokens_per_s": 1e3 * BATCH * LENGTH / step_ms,
        "step_ms": step_ms,
        "optimizer_ms": optimizer_ms,
        "share": optimizer_ms / step_ms,
        "first_loss": losses[0],
        "last_loss": mean(losses[-10:]),
    }


def beside_a_cpu(run: Run, spec: str, steps: int) -> Row:
    """The mean loss of the last tenth of the steps here and on a CPU, for some seeds.

    Returns:
        within: their difference is at most two standard errors of a mean over seeds, or 1 %.
    """
    seeds = SEEDS[:2] if run.quick else SEEDS
    model = "least" if run.quick else "tiny"
    here = [final_loss(run, model, spec, seed, steps) for seed in seeds]
    there = _on_cpus(model, spec, seeds, steps)
    error = math.sqrt(2 / len(seeds)) * max(stdev(here), stdev(there))
    difference = abs(mean(here) - mean(there))
    return {
        "losses_of": spec,
        "steps": steps,
        "here": here,
        "on_a_cpu": there,
        "difference": difference,
        "noise": error,
        "within": difference <= max(2 * error, 0.01 * mean(there)),
    }


def final_loss(run: Run, model: str, spec: str, seed: int, steps: int) -> float:
    training = _training(run, TASK, model, spec, seed, steps)
    losses = [training.step(step, step + 1) for step in range(steps)]
    return mean(losses[-max(1, steps // 10) :])


def _on_cpus(model: str, spec: str, seeds: Sequence[int], steps: int) -> list[float]:
    """The same on CPUs, a process of one thread for each seed."""
    count = min(len(seeds), os.cpu_count() or 1)
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload([__name__])
    with processes.Pool(count) as pool:
        return pool.starmap(_on_a_cpu, [(model, spec, seed, steps) for seed in seeds])


def _on_a_cpu(model: str, spec: str, seed: int, steps: int) -> float:
    torch.set_num_threads(1)
    training = Training(TASK, _setting("cpu", model, steps), edsl.parse(spec), seed)
    training.optimizer = edsl.compile(spec, fair_groups(training.pipeline, training.model), mode="eager")
    training.rates = [group["lr"] for group in training.optimizer.param_groups]
    losses = [training.step(step, step + 1) for step in range(steps)]
    return mean(losses[-max(1, steps // 10) :])


def _training(run: Run, task: Task, model: str, spec: str, seed: int, steps: int) -> Training:
    training = Training(task, _setting(run.device, model, steps), edsl.parse(spec), seed)
    training.optimizer = run.optimizer(spec, fair_groups(training.pipeline, training.model))
    training.rates = [group["lr"] for group in training.optimizer.param_groups]
    return training


def _setting(device: str, model: str, steps: int) -> Setting:
    return Setting(task=BYTES.name, model=model, batch=BATCH, budget=steps, device=device, threads=1)


def _mean(losses: Sequence[float | None]) -> float | None:
    """The mean, or None where one was not finite."""
    known = [loss for loss in losses if loss is not None]
    return mean(known) if len(known) == len(losses) else None


def summary(rows: Sequence[Row]) -> str:
    known = [row for row in rows if "losses_of" in row]
    said = f"{sum(row['within'] for row in known)} of {len(known)} losses are those of a CPU within noise"
    return "\n".join([said, *notes(rows)])


def tables(rows: Sequence[Row]) -> str:
    trained: list[Any] = [row for row in rows if "tokens_per_s" in row]
    titles = ["optimizer", "model", "tokens/s", "step ms", "optimizer ms", "share", "loss at first", "at last"]
    keys = ("spec", "model", "tokens_per_s", "step_ms", "optimizer_ms", "share", "first_loss", "last_loss")
    parts = [table(titles, [[row[key] for key in keys] for row in trained])]
    compared = [
        [
            *(row[key] for key in ("losses_of", "steps")),
            *(_mean(row[key]) for key in ("here", "on_a_cpu")),
            *(row[key] for key in ("difference", "noise", "within")),
        ]
        for row in rows
        if "losses_of" in row
    ]
    titles = ["optimizer", "steps", "loss here", "on a CPU", "difference", "noise", "within"]
    parts.append("`tiny` in float32, the mean of the last tenth of the steps, over seeds:")
    parts.append(table(titles, compared))
    return "\n\n".join(parts)
