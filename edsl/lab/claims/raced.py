"""Claims that a race decides: it is run, or finished, in a folder of its own."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edsl.errors import EdslError
from edsl.lab.executors.driver import run
from edsl.lab.executors.engines import executor
from edsl.lab.races.build import open_record
from edsl.lab.races.race import Race
from edsl.lab.report.page import write
from edsl.lab.results.result_tables import figure_text
from edsl.lab.results.results import Effect, ResultRow, Results, results


def raced(
    race: Race, folder: Path, targets: Sequence[float] = ()
) -> tuple[Results, Sequence[Mapping[str, Any]], tuple[Path, ...]]:
    """A race's results, its trials, and the pictures of its report; what the folder holds is not run again.

    Args:
        targets: of the metric, to which steps are judged.
    """
    record = open_record(race, folder, resume=True)
    jobs = min(os.cpu_count() or 1, max(1, race.planned // 4))
    run(race, record, executor("local", jobs), lambda progress: None)
    found = results(race, record.finished, targets)
    written = write([(race, found, record.finished, folder)], folder)
    return found, record.finished, tuple(place for place in written.others if place.suffix == ".png")


def effect_of(found: Results, name: str, against: str) -> Effect:
    """The effect of one entrant against another; raises EdslError where the race did not compare them."""
    row = row_of(found, name)
    for effect in row.effects:
        if effect.against == against:
            return effect
    raise EdslError(f"{name} was not compared to {against}")


def row_of(found: Results, name: str) -> ResultRow:
    """The row of an entrant."""
    return next(row for row in found.rows if row.name == name)


def interval_text(effect: Effect, scale: float = 100.0) -> str:
    """A mean difference with its interval, in percentage points for accuracies."""
    interval = effect.interval
    if interval is None or math.isnan(interval.mean):
        return effect.verdict
    mean = f"{scale * interval.mean:+.2f}"
    if interval.low is None or interval.high is None:
        return mean
    return f"{mean} [{scale * interval.low:+.2f}, {scale * interval.high:+.2f}]"


def table_of(found: Results, baseline: str, **more: Any) -> list[dict[str, Any]]:
    """Rows for a claim: accuracy, learning rate, difference, verdict alone and among all of the race."""
    lines = []
    for row in found.rows:
        effect = next((effect for effect in row.effects if effect.against == baseline), None)
        lines.append(
            {
                **more,
                "optimizer": row.name,
                "lr": ", ".join(f"{rate:.3g}" for rate in row.lr.values()),
                "test accuracy, %": figure_text(row.test_accuracy, 100),
                f"− {baseline}": interval_text(effect) if effect else "",
                "verdict": effect.verdict if effect else "",
                "family-wise": effect.family_wise if effect else "",
                "did not end well": row.diverged + row.failed,
            }
        )
    return lines
