"""What runs a race: it hands out trials that are ready, and records them as they end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from edsl.lab.executors.executor import Executor
from edsl.lab.executors.serial import Serial
from edsl.lab.races.build import open_record
from edsl.lab.races.race import Race
from edsl.lab.races.record import Record
from edsl.lab.results.results import Results, is_decided, results


@dataclass(frozen=True)
class Progress:
    """Where a race is: `done` trials of at most `planned`, and what goes on now: whose trial, and which.

    `step` of `steps` is known where one trial runs at a time, else both are 0. `begun` counts the trials that have
    begun, those that are done among them.
    """

    done: int
    planned: int
    name: str
    trial: str
    step: float = 0
    steps: float = 0
    begun: int = 0


def run(race: Race, record: Record, executor: Executor, watch: Callable[[Progress], None]) -> None:
    """Run what the record does not hold yet; each trial is on the disk before the next answer is read."""
    with record.locked(), executor:
        finished = {(trial["spec"], trial["seed"]): trial for trial in record.finished}
        running: dict[tuple[str, int], tuple[str, str]] = {}  # whose trial, and which

        def tick(spec: str, seed: int, step: int) -> None:
            watch(Progress(len(finished), race.planned, *running[spec, seed], step, race.setting.budget))

        while True:
            for work in race.ready(finished):
                if len(running) >= executor.capacity:
                    break
                if work.key not in running:
                    running[work.key] = work.name, race.tells(work)
                    begun = len(finished) + len(running)
                    watch(Progress(len(finished), race.planned, *running[work.key], begun=begun))
                    executor.submit(work)
            if not running:
                return
            key, trial = executor.next(tick)
            running.pop(key)
            record.append(trial)
            finished[key] = trial


def run_until_decided(
    race: Race, record: Record, executor: Executor, watch: Callable[[Progress], None], again: Callable[[], Executor]
) -> tuple[Race, Record]:
    """Run a race; one that looks stops at the first look at which every verdict is decided. Both as they ended.

    Args:
        executor: up to the first look. again: makes another, for each stretch between two looks uses one up.
    """
    run(race, record, executor, watch)
    for seeds in (look for look in race.looks if look > race.seeds):
        if is_decided(results(race, record.finished), race.baseline):
            break
        race = replace(race, seeds=seeds)
        record = open_record(race, record.folder, resume=True)
        run(race, record, again(), watch)
    return race, record


def run_to_end(
    race: Race, record: Record, watch: Callable[[Progress], None], executor: Executor | None = None
) -> Results:
    """Run a race and sum it up; in this process unless an executor is given."""
    run(race, record, Serial() if executor is None else executor, watch)
    return results(race, record.finished)
