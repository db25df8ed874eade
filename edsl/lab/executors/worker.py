"""What a worker does: one trial, from nothing but its description."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from edsl.lab.races.entrant import Work
from edsl.lab.trials.run import run_trial
from edsl.language.registry.plugins import load_held


def run_work(work: Work, tick: Callable[[int], None] | None = None) -> dict[str, Any]:
    """Run one trial; its record."""
    load_held(work.plugins)
    return run_trial(work.task(), work.setting, work.spec, work.seed, tick, bar=work.bar).record()
