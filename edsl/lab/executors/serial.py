"""One trial after the other, in this process."""

from __future__ import annotations

from typing import Any

from edsl.lab.executors.executor import Tick
from edsl.lab.executors.worker import run_work
from edsl.lab.races.entrant import Work


class Serial:
    """Runs one trial after another in this process."""

    capacity = 1

    def __init__(self) -> None:
        self.waiting: list[Work] = []

    def submit(self, work: Work) -> None:
        self.waiting.append(work)

    def next(self, tick: Tick) -> tuple[tuple[str, int], dict[str, Any]]:
        work = self.waiting.pop(0)
        return work.key, run_work(work, lambda step: tick(work.spec, work.seed, step))

    def __enter__(self) -> Serial:
        return self

    def __exit__(self, *reason: object) -> None:
        self.waiting.clear()
