"""A race from Python: `edsl.compare`, for notebooks and scripts."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from html import escape
from pathlib import Path
from typing import Any

from edsl.errors import EdslError, shown
from edsl.lab.executors.driver import Progress, run_until_decided
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
    epochs: int | None = None,
    steps: int | None = None,
    evaluations: int | None = None,
    seconds: float | None = None,
    schedule: str = "constant",
    lr: str = "default",
    trials: int = 8,
    tune_seeds: int = 2,
    tuner: str | None = None,
    tune: str = "",
    metric: str | None = None,
    baseline: str | None = None,
    controls: bool = True,
    measures: Sequence[str] = (),
    target: float | None = None,
    device: str = "auto",
    threads: int = 1,
    jobs: int = 1,
    engine: str = "local",
    out: str | os.PathLike[str] | None = None,
    resume: bool = False,
    progress: bool = False,
) -> Comparison:
    """Race optimizers on a task, as `edsl compare` does: same weights, batches, seeds and number of trials for all.

    Args:
        specs: texts or pipelines; the first is the baseline unless `baseline` names another.
        task: the name of one of edsl's, a file such as "mytask.py" or "mytask.py:name", or an `edsl.Task`.
        stop_early: look after 5, 8, 12, … seeds, and stop once every verdict is decided.
        controls: also run each optimizer with E without it and as its linear twin.
        jobs: trials at once, each in a process. engine: "local", or "ray" for a Ray cluster.
        out: the record's folder; a new one among the system's temporary files by default.
        resume: go on with the race that `out` holds; more seeds extend it.
        progress: print a line for each trial.

    Other arguments are those of `edsl.lab.races.build.race`.

    Raises:
        EdslError: for whatever `edsl compare` refuses, with the same line.

    Example:
        >>> import edsl
        >>> result = edsl.compare(["sgd(lr=0.1)", "adam(lr=0.01)"], task="digits", model="linear", steps=20, seeds=3)
        >>> [row.name for row in result.results.rows], len(result.trials)
        (['sgd(lr=0.1)', 'adam(lr=0.01)'], 6)
    """
    if isinstance(specs, str) or not isinstance(specs, Sequence):
        raise EdslError(f"specs must be a list, such as ['alto', 'lamb(lr=0.01)'], got {shown(specs)}")
    if resume and out is None:
        raise EdslError("resume=True needs out=: the folder of the race to finish")
    chosen = race(
        os.fspath(task) if isinstance(task, os.PathLike) else task,
        [str(spec) for spec in specs],
        seeds=seeds,
        stop_early=stop_early,
        model=model,
        batch=batch,
        epochs=epochs,
        steps=steps,
        evaluations=evaluations,
        seconds=seconds,
        schedule=schedule,
        lr=lr,
        trials=trials,
        tune_seeds=tune_seeds,
        tuner=tuner,
        tune=tune,
        metric=metric,
        baseline=None if baseline is None else str(baseline),
        controls=controls,
        measures=measures,
        device=device,
        threads=threads,
    )
    runner = executor(engine, jobs)
    folder = Path(tempfile.mkdtemp(prefix="edsl-") if out is None else out)
    if resume and chosen.looks:
        chosen = _where_it_stopped(chosen, folder)
    record = open_record(chosen, folder, resume)
    made = [runner]
    chosen, record = run_until_decided(
        chosen,
        record,
        lambda: made.pop() if made else executor(engine, jobs),
        _told if progress else lambda _: None,
    )
    return Comparison(chosen, results(chosen, record.finished, target), folder, tuple(record.finished))


def _where_it_stopped(chosen: Race, folder: Path) -> Race:
    """The race with as many seeds as its record has come to."""
    held = read_configuration(folder)
    seeds = held.get("seeds") if isinstance(held, dict) else None
    return replace(chosen, seeds=seeds) if seeds in chosen.looks else chosen


def _told(now: Progress) -> None:
    if not now.step:
        print(f"trial {now.done + 1}/{now.planned}: {now.name}, {now.trial}")
