"""Whether two optimizers are the same: by their steps, and as linear systems."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.markup import escape

from edsl.cli.render.page import Page


def print_verdict(found: dict[str, Any]) -> None:
    """Whether two optimizers took the same steps, or where they part."""
    page = Page()
    page.print(f"{escape(found['first'])}\n{escape(found['second'])}", soft_wrap=True)
    largest = f"largest difference {found['largest']:.3g}, tolerance {found['tolerance']:g}"
    what = f"{found['steps']} steps in float64, {len(found['tensors'])} tensors"
    parted = found["parted"]
    if parted is None:
        page.print(f"[bold]Equal[/bold]: {what}; {largest}", soft_wrap=True)
    else:
        page.print(
            f"[bold]Not equal[/bold]: they part at step {parted['step']} in {escape(parted['tensor'])}"
            f"{escape(str(parted['index']))}: {parted['first']!r} against {parted['second']!r}, "
            f"a difference of {parted['difference']:.3g} (tolerance {found['tolerance']:g})",
            soft_wrap=True,
        )
    for line in found["notes"]:
        page.print(f"note: {escape(line)}", soft_wrap=True)


def print_comparison(first: str, second: str, found: Any, notes: Sequence[str]) -> None:
    """Whether two pipelines are equal, a map between them, or where they part."""
    page = Page()
    if found.equal:
        page.print("[bold]Equal[/bold] as linear systems: the same steps for every sequence of gradients.")
    else:
        page.print("[bold]Not equal[/bold] as linear systems.")
        for values in found.maps:
            said = ", ".join(f"{name}={value:.12g}" for name, value in values.items())
            page.print(f"- the second equals the first with {said}", soft_wrap=True)
        if not found.maps:
            page.print("- no values of the second's hyper-parameters make it equal the first")
        if found.first_difference is not None:
            age, one, two = found.first_difference
            page.print(f"- first difference: the gradient {age} steps back weighs {one:.6g} and {two:.6g}")
        frequency, one, two = found.largest_difference
        page.print(f"- largest ratio of gains: {one:.6g} and {two:.6g} at {frequency:.4g} cycles a step")
    for line in notes:
        page.print(f"- {escape(line)}", soft_wrap=True)
