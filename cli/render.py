"""All that the command line shows; the only user of rich."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from edsl.lab.race import Progress
    from edsl.lab.report import Figure, Row

_PIPED_WIDTH = 140  # of a table that no terminal bounds


def _console(stderr: bool = False) -> Console:
    stream = sys.stderr if stderr else sys.stdout
    return Console(stderr=stderr, highlight=False, width=None if stream.isatty() else _PIPED_WIDTH)


def fail(message: str) -> None:
    """One message on stderr, as it is."""
    print(f"edsl: {message}", file=sys.stderr)


def note(message: str) -> None:
    """One line on stderr, beside the result."""
    print(message, file=sys.stderr)


def json_out(value: Any) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False))


@contextmanager
def race_progress() -> Iterator[Callable[[Progress], None]]:
    """A live line on a terminal, else one plain line a trial."""
    console = _console(stderr=True)
    if not console.is_terminal:
        yield _plain_progress
        return
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Live

    columns = (
        TextColumn("trial {task.fields[trial]}/{task.fields[trials]}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("steps"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[what]}"),
    )
    with Live(*columns, console=console, transient=True) as live:
        line = live.add_task("race", total=None, trial=0, trials=0, what="")

        def watch(progress: Progress) -> None:
            live.update(
                line,
                total=progress.trials * progress.steps,
                completed=(progress.trial - 1) * progress.steps + progress.step,
                trial=progress.trial,
                trials=progress.trials,
                what=escape(f"{progress.spec}, seed {progress.seed}"),
            )

        yield watch


def _plain_progress(progress: Progress) -> None:
    if progress.step == 0:
        note(f"trial {progress.trial}/{progress.trials}: {progress.spec}, seed {progress.seed}")


def race_table(configuration: dict[str, Any], rows: Sequence[Row]) -> None:
    """One row an optimizer: mean ± standard deviation over its seeds, median times."""
    seeds = configuration["seeds"]
    table = Table(
        title=f"{configuration['task']} ({configuration['model']}), batch {configuration['batch']}, "
        f"{configuration['steps']} steps, {seeds} seed{'s' if seeds > 1 else ''}, {configuration['device']}",
        caption="mean ± sd over seeds; loss and accuracy of the final weights; ms are medians",
        title_justify="left",
        caption_justify="left",
    )
    table.add_column("optimizer", overflow="fold")
    with_accuracy = any(row.test_accuracy for row in rows)
    accuracy = ["test accuracy %"] if with_accuracy else []
    for name in ["train loss", "test loss", *accuracy, "step ms", "of it optimizer", "first step s", "state B/param"]:
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(
            escape(row.spec) + _ended_badly(row),
            _figure(row.train_loss),
            _figure(row.test_loss),
            *([_figure(row.test_accuracy, 100)] if with_accuracy else []),
            _number(row.step_ms, ".3f"),
            _number(row.optimizer_ms, ".3f"),
            _number(row.first_step_s, ".2f"),
            _number(row.state_bytes, ".1f"),
        )
    _console().print(table)
    for row in rows:
        for reason in row.reasons:
            note(f"{row.spec}: {reason}")


def _ended_badly(row: Row) -> str:
    counts = {"diverged": row.diverged, "failed": row.failed}
    words = [f"{count} of {row.ok + row.diverged + row.failed} {word}" for word, count in counts.items() if count]
    return f"\n[red]{', '.join(words)}[/red]" if words else ""


def _figure(figure: Figure | None, scale: float = 1.0) -> str:
    if figure is None:
        return "–"
    digits = 1 if scale > 1 else 4
    spread = "" if figure.sd is None else f" ± {figure.sd * scale:.{digits}f}"
    return f"{figure.mean * scale:.{digits}f}{spread}"


def _number(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)


def description(pipeline: dict[str, Any]) -> None:
    """A pipeline's canonical text, stages, cost and recurrences."""
    console = _console()
    console.print(escape(pipeline["spec"]), style="bold", soft_wrap=True)
    console.print(f"fingerprint {pipeline['fingerprint']}\n")
    table = Table()
    for name in ("stage", "kind", "hyper-parameters", "buffers"):
        table.add_column(name)
    table.add_column("B/param", justify="right")
    for stage in pipeline["stages"]:
        letters = stage["letters"]
        arguments = [
            f"{name}={value!r}" + (f"  ({letters[name]})" if letters.get(name, name) != name else "")
            for name, value in stage["arguments"].items()
        ]
        kept = stage["buffers"]
        table.add_row(
            stage["stage"],
            stage["kind"],
            escape("\n".join(arguments)) or "–",
            "its own" if kept is None else ", ".join(kept) or "–",
            "?" if kept is None else str(stage["bytes_per_parameter"]),
        )
    console.print(table)
    cost = pipeline["cost"]
    if cost is not None:
        console.print(
            f"state {cost['state']} B and memory traffic ≥ {cost['traffic']} B per float32 parameter and step; "
            f"{cost['forwards']} forward, {cost['backwards']} backward",
            soft_wrap=True,
        )
    for stage in pipeline["stages"]:
        console.print(f"\n[bold]{escape(stage['stage'])}[/bold]")
        for line in stage["recurrence"]:
            console.print(f"    {escape(line)}", soft_wrap=True)


def catalogue(words: dict[str, Any]) -> None:
    """Stages with their arguments, recipes and tasks."""
    console = _console()
    stages = Table(title="stages", title_justify="left")
    for name in ("stage", "kind", "what it does", "argument", "default", "values"):
        stages.add_column(name)
    for stage in words["stages"]:
        arguments = stage["arguments"]
        stages.add_row(
            stage["stage"],
            stage["kind"],
            escape(stage["about"]),
            "\n".join(arguments),
            "\n".join(argument["default"] for argument in arguments.values()),
            escape("\n".join(argument["domain"] for argument in arguments.values())),
            end_section=True,
        )
    console.print(stages)
    for title, key, columns in (
        ("recipes", "recipes", ("recipe", "spec", "about")),
        ("tasks", "tasks", ("task", "about")),
    ):
        table = Table(title=title, title_justify="left")
        for column in columns:
            table.add_column(column)
        for word in words[key]:
            table.add_row(*(escape(word[column]) for column in columns))
        console.print(table)
    console.print(words["foreign"], soft_wrap=True)
