"""What is shown while a race runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape

from edsl.cli.render.page import print_note

if TYPE_CHECKING:
    from edsl.lab.driver import Progress


@contextmanager
def race_progress() -> Iterator[Callable[[Progress], None]]:
    """A live line with the time left on a terminal, else one plain line a trial."""
    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:
        yield _plain_progress
        return
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Live

    columns = (
        TextColumn("trial {task.fields[done]}/{task.fields[planned]}"),
        BarColumn(bar_width=20),
        TextColumn("elapsed"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(elapsed_when_finished=True),
        TextColumn("{task.fields[what]}"),
    )
    with Live(*columns, console=console, transient=True, speed_estimate_period=600) as live:
        line = live.add_task("race", total=None, done=0, planned="?", what="")

        def watch(progress: Progress) -> None:
            part = progress.step / progress.steps if progress.steps else 0.0
            state: dict[str, Any] = {"done": progress.done + 1, "planned": progress.planned}
            what = escape(f"{progress.spec[:40]}, seed {progress.seed}")
            live.update(line, total=progress.planned, completed=progress.done + part, what=what, **state)

        yield watch


@contextmanager
def quiet() -> Iterator[Callable[[Progress], None]]:
    """No progress at all."""
    yield lambda progress: None


def _plain_progress(progress: Progress) -> None:
    if progress.step == 0:
        print_note(f"trial {progress.done + 1}/{progress.planned}: {progress.spec}, seed {progress.seed}")
