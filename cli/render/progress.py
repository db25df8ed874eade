"""What is shown while a race runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.text import Text

from edsl.cli.render.page import PlainConsole, print_note

if TYPE_CHECKING:
    from edsl.lab.executors.driver import Progress


WIDE = 72  # columns from which the bar is long
SHORTEST = 12  # columns that a name gets beside what is tried


@contextmanager
def race_progress() -> Iterator[Callable[[Progress], None]]:
    """A live bar with the time left, and the trial below it, on a terminal; else one plain line a trial."""
    console = PlainConsole(stderr=True, highlight=False)
    if not console.is_terminal:
        yield _plain_progress
        return
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Live

    columns = (
        TextColumn("trial {task.fields[done]}/{task.fields[planned]}"),
        BarColumn(bar_width=20 if console.width >= WIDE else 8),
        TextColumn("elapsed"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(elapsed_when_finished=True),
    )

    class Bar(Live):
        what = ""

        def get_renderables(self) -> Iterator[Any]:
            yield self.make_tasks_table(self.tasks)
            yield Text(self.what, no_wrap=True)

    with Bar(*columns, console=console, transient=True, speed_estimate_period=600) as live:
        line = live.add_task("race", total=None, done=0, planned="?")

        def watch(progress: Progress) -> None:
            part = progress.step / progress.steps if progress.steps else 0.0
            state: dict[str, Any] = {"done": progress.done + 1, "planned": progress.planned}
            live.what = trial_text(progress, console.width)
            live.update(line, total=progress.planned, completed=progress.done + part, **state)

        yield watch


def trial_text(progress: Progress, width: int) -> str:
    """Whose trial and which, in some columns: a long name loses its middle, and so do many values; the seed stays."""
    trial = _without_middle(progress.trial, width - SHORTEST - 2)
    return f"{_without_middle(progress.name, width - len(trial) - 2)}, {trial}"


def _without_middle(text: str, room: int) -> str:
    """A text in so many columns, its middle left out where it is longer."""
    if len(text) <= room:
        return text
    return f"{text[: room // 2]}…{text[len(text) - (room - room // 2 - 1) :]}"


@contextmanager
def quiet() -> Iterator[Callable[[Progress], None]]:
    """No progress at all."""
    yield lambda progress: None


def _plain_progress(progress: Progress) -> None:
    if progress.step == 0:
        print_note(f"trial {progress.begun or progress.done + 1}/{progress.planned}: {progress.name}, {progress.trial}")
