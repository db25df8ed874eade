"""A race from Python: `edsl.compare`, for notebooks and scripts."""

from __future__ import annotations

import inspect
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from html import escape
from pathlib import Path
from typing import Any

from edsl.errors import EdslError, nearest, shown
from edsl.lab.executors.driver import run_until_decided
from edsl.lab.executors.engines import executor
from edsl.lab.races.build import open_record, race
from edsl.lab.races.race import Race
from edsl.lab.races.record import read_configuration
from edsl.lab.report import tables
from edsl.lab.results.result_tables import as_text, summary
from edsl.lab.results.results import Results, results
from edsl.lab.tasks.task import Task


@dataclass(frozen=True)
class Comparison:
    """What `edsl.compare` gives; it prints as the race's table.

    Attributes:
        race: what was raced. results: its rows, with every figure, difference and verdict.
        folder: where the record lies, which `edsl report` and `edsl compare --resume` read.
    """

    race: Race
    results: Results
    folder: Path
    finished: Sequence[Mapping[str, Any]] = field(repr=False)

    @property
    def trials(self) -> Any:
        """One row a trial, tuning trials too: a pandas DataFrame where pandas is installed, else a list of dicts."""
        rows = tables.tables(self.race, self.results, self.finished)["trials"]
        try:
            import pandas
        except ImportError:
            return rows
        return pandas.DataFrame(rows)

    def report(self, folder: str | os.PathLike[str] | None = None) -> Path:
        """Write report.html, with pictures and tables beside the record; its place.

        Args:
            folder: for the page; that of the record by default.

        Raises:
            EdslError: without matplotlib, or where the folder can't be written.
        """
        from edsl.lab.report.page import write

        place = self.folder if folder is None else Path(folder)
        try:
            place.mkdir(parents=True, exist_ok=True)
            return write([(self.race, self.results, self.finished, self.folder)], place).page
        except OSError as reason:
            raise EdslError(f"can't write a report to {place}: {reason.strerror or reason}") from None

    def __repr__(self) -> str:
        return as_text(summary(self.race, self.results))

    def _repr_html_(self) -> str:
        shown = summary(self.race, self.results)
        head = "".join(f"<th>{escape(title)}</th>" for title in ("optimizer", *shown.titles))
        lines = ([line.name, *line.cells] for line in shown.lines)
        body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}</tr>" for cells in lines)
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def compare(
    specs: Sequence[Any],
    *,
    task: str | os.PathLike[str] | Task,
    seeds: int = 5,
    stop_early: bool = False,
    model: str | None = None,
    batch: int | None = None,
    steps: int | None = None,
    schedule: str = "constant",
    lr: str = "default",
    tune: str = "",
    trials: int = 8,
    metric: str | None = None,
    baseline: Any = None,
    controls: bool = True,
    jobs: int = 1,
    engine: str = "local",
    out: str | os.PathLike[str] | None = None,
    resume: bool = False,
    more: Mapping[str, Any] | None = None,
) -> Comparison:
    """Race optimizers on a task, as `edsl compare` does: same weights, batches, seeds and number of trials for all.

    Args:
        specs: texts or pipelines; the first is the baseline unless `baseline` names another.
        task: the name of one of edsl's, a file such as "mytask.py" or "mytask.py:name", or an `edsl.Task`.
        stop_early: look after 5, 8, 12, … seeds, and stop once every verdict is decided.
        controls: also run each optimizer with E without it and as its linear twin.
        jobs: trials at once, each in a process of its own, which imports the script that asks: keep its call behind
            `if __name__ == "__main__":`. engine: "local", or "ray" for a Ray cluster.
        out: the record's folder, a new temporary one by default; with `resume` its race goes on, with more seeds too.
        more: further arguments of `edsl.lab.races.build.race` by name, such as {"device": "cuda", "tune_seeds": 3}.

    Raises:
        EdslError: for whatever `edsl compare` refuses, with the same line.
    """
    if isinstance(specs, str) or not isinstance(specs, Sequence):
        raise EdslError(f"specs must be a list, such as ['alto', 'lamb(lr=0.01)'], got {shown(specs)}")
    if resume and out is None:
        raise EdslError("resume=True needs out=: the folder of the race to finish")
    place = os.fspath(task) if isinstance(task, os.PathLike) else task
    against = None if baseline is None else str(baseline)
    trained = {"seeds": seeds, "stop_early": stop_early, "model": model, "batch": batch, "steps": steps}
    judged = {"metric": metric, "baseline": against, "controls": controls, "schedule": schedule}
    tuned = {"lr": lr, "tune": tune, "trials": trials}
    chosen = race(place, [str(spec) for spec in specs], **{**trained, **judged, **tuned, **_further(more or {})})
    return _run(chosen, Path(tempfile.mkdtemp(prefix="edsl-") if out is None else out), resume, engine, jobs)


def _further(more: Mapping[str, Any]) -> Mapping[str, Any]:
    """Arguments of a race beside `compare`'s own; raises EdslError for what is none."""
    known = inspect.signature(race).parameters.keys() - {"task", "specs", *inspect.signature(compare).parameters}
    for name in more:
        if name not in known:
            raise EdslError(f"more: unknown argument {shown(name)}; {nearest(str(name), sorted(known), 'known')}")
    return more


def _run(chosen: Race, folder: Path, resume: bool, engine: str, jobs: int) -> Comparison:
    first = executor(engine, jobs)  # bad options are refused before anything is written
    if resume and chosen.looks:
        chosen = _where_it_stopped(chosen, folder)
    record = open_record(chosen, folder, resume)
    chosen, record = run_until_decided(chosen, record, first, lambda _: None, lambda: executor(engine, jobs))
    return Comparison(chosen, results(chosen, record.finished), folder, tuple(record.finished))


def _where_it_stopped(chosen: Race, folder: Path) -> Race:
    """The race with as many seeds as its record has come to."""
    held = read_configuration(folder)
    seeds = held.get("seeds") if isinstance(held, dict) else None
    return replace(chosen, seeds=seeds) if seeds in chosen.looks else chosen
