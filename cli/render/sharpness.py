"""Sharpness and drift at matched loss."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.markup import escape

from edsl.cli.render.page import Page, formatted
from edsl.cli.render.race import race_line

if TYPE_CHECKING:
    from edsl.lab.race import Race
    from edsl.lab.sharpness import Matched
    from edsl.lab.statistics import Interval


def print_sharpness(race: Race, rows: Sequence[Matched]) -> None:
    """Sharpness and drift by level of the training loss, each beside the first optimizer's."""
    page = Page()
    page.print(escape(race_line(race)), soft_wrap=True)
    first = race.entrants[0].name
    for level in dict.fromkeys(row.level for row in rows):
        head = f"when the training loss first was {level:g} or less" if level else "at the end, whatever the loss"
        page.print(f"[bold]{head}[/bold]")
        titles = ("optimizer", "seeds\nthere", "step", "sharpness", "over the first's", "drift", "− the first's")
        page.print_columns(titles, [_cells(row) for row in rows if row.level == level])
    for level in sorted({*race.setting.levels} - {row.level for row in rows}, reverse=True):
        page.print(f"no run came to a training loss of {level:g}")
    page.print(
        f"the first is {escape(first)}; geometric mean ratios and mean differences, paired by seed, 95 % intervals",
        soft_wrap=True,
    )


def _cells(row: Matched) -> tuple[str, ...]:
    return (
        row.name,
        f"{row.reached} of {row.seeds}",
        formatted(row.steps, ".0f") if row.reached else "never",
        formatted(row.sharpness, ".4g") if row.reached else "–",
        _three(row.sharpness_ratio),
        formatted(row.drift, ".4g") if row.reached else "–",
        _three(row.drift_difference),
    )


def _three(interval: Interval | None) -> str:
    """A mean with its interval, as 1.02 (0.98 to 1.06)."""
    if interval is None:
        return ""
    if interval.low is None or interval.high is None:
        return f"{interval.mean:.3g}"
    return f"{interval.mean:.3g} ({interval.low:.3g} to {interval.high:.3g})"
