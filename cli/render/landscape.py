"""Walks over a landscape."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edsl.cli.render.page import Page, formatted


def print_tours(configuration: dict[str, Any], found: Sequence[Any]) -> None:
    """One row an optimizer: medians over starts of what its walks have seen."""
    page = Page()
    starts = configuration["starts"]
    page.print(
        f"{configuration['landscape']}, {starts} start{'s' if starts > 1 else ''}, {configuration['steps']} steps: "
        "medians with 95 % bootstrap intervals"
    )
    titles = (
        "optimizer",
        "valley walked\nalong",
        "range of its\narc",
        "starts that\nreach it",
        "final loss",
        "flattest point,\nλ max",
    )
    rows = [
        (
            one.name,
            _interval(one.covered),
            _interval(one.arc),
            f"{100 * one.reached:.0f} %",
            formatted(one.final.median, ".2g"),
            formatted(one.flattest.median, ".3g"),
        )
        for one in found
    ]
    page.print_columns(titles, rows)


def print_sweeps(configuration: dict[str, Any], minima: Sequence[float], found: Sequence[Any]) -> None:
    """One row an optimizer: at which minimum its learning rates end."""
    page = Page()
    rates = found[0].rates
    page.print(
        f"{configuration['landscape']}, {len(rates)} learning rates from {rates[0]:g} to {rates[-1]:g}, "
        f"{configuration['steps']} steps: how many end where"
    )
    titles = ("optimizer", f"first minimum,\nx = {minima[0]:.3g}", "another", "none", "furthest\nminimum, x")
    furthest = ["–" if one.furthest < 0 else f"{minima[one.furthest]:.3g}" for one in found]
    rows = [
        (one.name, str(one.first), str(one.another), str(one.none), last)
        for one, last in zip(found, furthest, strict=True)
    ]
    page.print_columns(titles, rows)


def _interval(interval: Any) -> str:
    return f"{interval.median:.3g} [{interval.low:.2g}, {interval.high:.2g}]"
