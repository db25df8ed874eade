"""Whether two optimizers are the same: by their steps, and as linear systems."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edsl.cli.render.page import Page
from edsl.language.domain import plain


def print_verdict(found: dict[str, Any]) -> None:
    """Whether two optimizers took the same steps, or where they part."""
    page = Page()
    page.print_spec(f"{found['first']}\n{found['second']}")
    largest = f"largest difference {found['largest']:.3g}, tolerance {found['tolerance']:g}"
    what = f"{found['steps']} steps in float64, {len(found['tensors'])} tensors"
    parted = found["parted"]
    if parted is None:
        page.say(f": {what}; {largest}", verdict="Equal")
    else:
        page.say(
            f": they diverge at step {parted['step']} in {parted['tensor']}{parted['index']}: {parted['first']!r} "
            f"against {parted['second']!r}, a difference of {parted['difference']:.3g} "
            f"(tolerance {found['tolerance']:g})",
            verdict="Not equal",
        )
    for line in found["notes"]:
        page.say(line, begin="note: ")


def print_comparison(found: Any, maps: Sequence[dict[str, float]], run: dict[str, Any] | None) -> None:
    """Whether two pipelines take the same steps, a map between them, or where they part."""
    page = Page()

    def item(text: str) -> None:
        page.say(text, begin="- ")

    verdict, said = _VERDICTS[found.verdict]
    page.say(said, verdict=verdict)
    for line in found.left_out:
        item(line)
    for relation in found.relations:
        item(f"{relation.name}: {relation.statement} ({relation.source})")
    if run is not None and run["parted"] is None:
        item(f"{run['steps']} steps of a small network in float64: largest difference {run['largest']:.2g}")
    elif run is not None:
        item(f"they diverge at step {run['parted']['step']} of training a small network in float64")
    if found.first_parting is not None:
        item(f"with the same random gradients they diverge at step {found.first_parting}")
    if found.first_difference is not None:
        age, one, two = found.first_difference
        item(f"first difference: the gradient {age} steps back weighs {one:.6g} and {two:.6g}")
    if found.largest_difference is not None:
        frequency, one, two = found.largest_difference
        item(f"largest ratio of gains: {one:.6g} and {two:.6g} at {frequency:.4g} cycles a step")
    for values in maps:
        said = ", ".join(f"{name}={plain(value)}" for name, value in values.items())
        page.say(f"With {said} the second takes the first's steps.")
    if not (found.equal or maps) and "" in found.second.branches:  # none is sought where there are routes
        page.say("Found no values with which the second takes the first's steps; some may exist.")


_VERDICTS = {
    "equal": ("Equal", ": the same steps for every sequence of gradients, at constant hyper-parameters."),
    "linear part": ("Equal in the linear part", " only: past gradients have the same weights. They differ in"),
    "different": ("Different", "."),
}
