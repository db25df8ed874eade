"""A head-to-head: every optimizer on the same task, with the same seeds."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edsl.errors import EdslError, shown
from edsl.lab.device import usable_device
from edsl.lab.record import Record
from edsl.lab.report import Row, summary
from edsl.lab.task import Task
from edsl.lab.tasks import task as task_named
from edsl.lab.trial import Setting, check_fit, run_trial
from edsl.spec import parse


@dataclass(frozen=True)
class Progress:
    """Where a race is: trial `trial` of `trials`, at `step` of `steps`."""

    trial: int
    trials: int
    spec: str
    seed: int
    step: int
    steps: int


@dataclass(frozen=True)
class Race:
    """A race that can be run: `edsl.lab.race.race` makes one."""

    task: Task
    setting: Setting
    specs: tuple[str, ...]
    seeds: int

    def configuration(self) -> dict[str, Any]:
        """What must agree for two runs to be of one race."""
        return {**asdict(self.setting), "specs": list(self.specs), "seeds": self.seeds}

    def plan(self) -> Iterator[tuple[str, int]]:
        """(spec, seed) of each trial; all optimizers take one seed before the next begins."""
        for seed in range(self.seeds):
            for spec in self.specs:
                yield spec, seed

    def run(self, record: Record, watch: Callable[[Progress], None]) -> list[Row]:
        """Run what the record does not hold yet, and sum up all of it."""
        with record.locked():
            self._run(record, watch)
        return summary(self.specs, self.seeds, record.finished)

    def _run(self, record: Record, watch: Callable[[Progress], None]) -> None:
        done = {(trial["spec"], trial["seed"]) for trial in record.finished}
        trials = list(self.plan())
        for number, (spec, seed) in enumerate(trials, start=1):
            if (spec, seed) in done:
                continue

            def tick(step: int, number: int = number, spec: str = spec, seed: int = seed) -> None:
                watch(Progress(number, len(trials), spec, seed, step, self.setting.steps))

            tick(0)
            record.append(run_trial(self.task, self.setting, spec, seed, tick).record())


def race(
    task: str,
    specs: Sequence[str],
    *,
    model: str | None = None,
    batch: int | None = None,
    epochs: int | None = None,
    steps: int | None = None,
    seeds: int = 3,
    device: str = "auto",
    threads: int = 1,
    monitor: str = "",
) -> Race:
    """A race between specs, checked before anything runs.

    Args:
        batch: examples a step, at most the training split.
        epochs, steps: the budget, one of them.
        threads: of the CPU; one is fastest for small models, and gives the same bits on every machine.

    Raises:
        EdslError: for an unknown task, model or device, a bad spec, one given twice or that can't take
            the model's parameters, or a bad number.
    """
    chosen = task_named(task)
    if not specs:
        raise EdslError("no optimizer to race: name at least one spec, such as 'alto(lr=0.01)'")
    seen: dict[str, str] = {}
    for spec in specs:
        canonical = str(parse(spec))
        if canonical in seen:
            raise EdslError(f"{shown(spec)} is given twice (as {shown(seen[canonical])}); a race needs different specs")
        seen[canonical] = spec
    if monitor not in ("", "regret"):
        raise EdslError(f"monitor must be 'regret', got {shown(monitor)}")
    if epochs is not None and steps is not None:
        raise EdslError("the budget is epochs or steps, not both")
    batch = chosen.batch if batch is None else batch
    for name, value in {"batch": batch, "epochs": epochs, "steps": steps, "seeds": seeds, "threads": threads}.items():
        if value is not None and value < 1:
            raise EdslError(f"{name} must be at least 1, got {value}")
    most = os.cpu_count() or 1
    if threads > most:
        raise EdslError(f"threads must be at most {most}, the CPUs of this machine, got {threads}")
    model = chosen.model(model)[0]
    device = usable_device(device)
    examples = len(chosen.data().train.inputs)
    if batch > examples:
        raise EdslError(f"batch must be at most the {examples} training examples of {task}, got {batch}")
    for spec in specs:
        check_fit(parse(spec), chosen.model(model)[1]())
    if epochs is not None:
        steps = epochs * (examples // batch)
    setting = Setting(task, model, batch, chosen.steps if steps is None else steps, device, threads, monitor)
    return Race(chosen, setting, tuple(specs), seeds)


def open_record(race: Race, folder: Path, resume: bool) -> Record:
    """The folder that a race's results go to; raises EdslError as Record does."""
    return Record(folder, race.configuration(), resume)
