"""What a page tells of several races together, before each: a score over tasks, or times over batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from edsl.lab.races.race import Race
from edsl.lab.report.scaling import scaling_picture
from edsl.lab.results import scaling, score_tables
from edsl.lab.results.result_tables import Line, ResultTable
from edsl.lab.results.results import Results
from edsl.lab.results.scores import Scores


@dataclass(frozen=True)
class Overview:
    """Sentences, tables and pictures of several races.

    Attributes:
        under: what stands below the title.
        pictures: matplotlib figures by name. files: rows of tables to write beside the page, by name.
        by_batch: whether the races are one task at several batches, which no performance profile is drawn of.
    """

    title: str
    under: str
    findings: tuple[str, ...]
    tables: tuple[ResultTable, ...]
    notes: tuple[str, ...]
    pictures: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    by_batch: bool = False


def of_scores(found: Scores) -> Overview:
    """One score over several tasks."""
    return Overview(
        f"{len(found.tasks) + len(found.left_out)} tasks, one score",
        f"Compared to {found.baseline}; the races are below.",
        tuple(score_tables.findings(found)) or ("There is one optimizer: nothing is compared.",),
        (score_tables.score_table(found), score_tables.by_task(found)),
        tuple(score_tables.notes(found)),
    )


def of_batches(races: Sequence[tuple[Race, Results]], rule: str) -> Overview:
    """One task at several batches."""
    race, found = races[0]
    each = scaling.batch_tables(races)
    lines = tuple(
        Line(name, line.control, line.ended, (line.name, *line.cells)) for name, table in each for line in table.lines
    )
    picture = scaling_picture(races)
    return Overview(
        f"{race.setting.task} ({race.setting.model}) at {len(races)} batches",
        f"{len(found.rows)} optimizers, {race.seeds} seeds each, compared to {race.baseline}; the races are below.",
        tuple(scaling.findings(races)) or ("There is one optimizer, or no target: nothing is compared.",),
        (ResultTable(("batch", *each[0][1].titles), lines),),
        tuple(scaling.notes(races, rule)),
        {} if picture is None else {"scaling": picture},
        {"times": scaling.records(races)},
        by_batch=True,
    )
