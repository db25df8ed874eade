"""Walks over a landscape."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from edsl.cli.render.page import Page, formatted


def print_tours(configuration: dict[str, Any], found: Sequence[Any]) -> None:
    """One row an optimizer: medians over starts of what its walks have seen."""
    page = Page()
    starts = configuration["starts"]
    page.print(
        f"{configuration['landscape']}, {starts} start{'s' if starts > 1 else ''}, {configuration['steps']} steps: "
        "medians with 95 % bootstrap intervals"
    )
    table = Table(box=SIMPLE_HEAD)
    table.add_column("optimizer", overflow="fold", min_width=16)
    titles = (
        "valley walked\nalong",
        "range of its\narc",
        "starts that\nreach it",
        "final loss",
        "flattest point,\nλ max",
    )
    for title in titles:
        table.add_column(title, justify="right", no_wrap=True)
    for one in found:
        table.add_row(
            escape(one.name),
            _interval(one.covered),
            _interval(one.arc),
            f"{100 * one.reached:.0f} %",
            formatted(one.final.median, ".2g"),
            formatted(one.flattest.median, ".3g"),
        )
    page.print(table)


def print_sweeps(configuration: dict[str, Any], minima: Sequence[float], found: Sequence[Any]) -> None:
    """One row an optimizer: at which minimum its learning rates end."""
    page = Page()
    rates = found[0].rates
    page.print(
        f"{configuration['landscape']}, {len(rates)} learning rates from {rates[0]:g} to {rates[-1]:g}, "
        f"{configuration['steps']} steps: how many end where"
    )
    table = Table(box=SIMPLE_HEAD)
    table.add_column("optimizer", overflow="fold", min_width=16)
    for title in (f"first minimum,\nx = {minima[0]:.3g}", "another", "none", "furthest\nminimum, x"):
        table.add_column(title, justify="right", no_wrap=True)
    for one in found:
        last = "–" if one.furthest < 0 else f"{minima[one.furthest]:.3g}"
        table.add_row(escape(one.name), str(one.first), str(one.another), str(one.none), last)
    page.print(table)


def _interval(interval: Any) -> str:
    return f"{interval.median:.3g} [{interval.low:.2g}, {interval.high:.2g}]"
