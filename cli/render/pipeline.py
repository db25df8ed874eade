"""A pipeline: its text, stages, cost and recurrences; and what follows from them."""

from __future__ import annotations

from collections.abc import Sequence
from inspect import cleandoc
from typing import Any

from rich.markup import escape
from rich.table import Table

from edsl.cli.render.page import Page
from edsl.language.domain import plain

_BROKEN = 22  # columns that hyper-parameters get at least


def print_pipeline(pipeline: dict[str, Any]) -> None:
    """A pipeline's canonical text, stages, cost and recurrences."""
    page = Page()
    page.print_spec(pipeline["spec"])
    page.print(f"fingerprint {pipeline['fingerprint']}\n")
    for stage in pipeline["stages"]:
        if stage["about"]:
            page.print(f"[bold]{escape(stage['stage'])}[/bold]: {escape(_paragraphs(stage['about']))}\n")
    table = Table()
    table.add_column("stage", overflow="fold")
    table.add_column("hyper-parameters", overflow="fold", min_width=_BROKEN)
    table.add_column("buffers", overflow="fold")
    table.add_column("B/\nparam", justify="right", no_wrap=True)
    for stage in pipeline["stages"]:
        letters = stage["letters"]
        arguments = [
            f"{name}={plain(value)}" + (f"  ({letters[name]})" if letters.get(name, name) != name else "")
            for name, value in stage["arguments"].items()
        ]
        kept, shapes = stage["buffers"], stage["shapes"]
        table.add_row(
            f"[bold]{escape(stage['stage'])}[/bold]\n{stage['kind']}",
            escape("\n".join(arguments)) or "–",
            "its own"
            if kept is None
            else ", ".join(f"{name} ({shapes[name]})" if name in shapes else name for name in kept) or "–",
            "?" if kept is None else f"{stage['bytes_per_parameter']:g}",
        )
    page.print(table)
    cost = pipeline["cost"]
    for route, one in {"": cost}.items() if cost is None or "state" in cost else cost.items():
        if one is not None:
            page.say(
                f"{route}{': ' if route else ''}state {one['state']:g} B and memory traffic ≥ "
                f"{one['traffic']:g} B per float32 parameter and step" + _messages(one)
            )
    estimator = pipeline["estimator"]
    page.say(
        f"a step costs {estimator['forwards']:g} forward and {estimator['backwards']:g} backward"
        + (f", over {estimator['calls']} calls" if estimator["calls"] > 1 else "")
        + (f"; step(closure) needs a closure: {estimator['closure']}" if estimator["closure"] else "")
        + f"\ngradient noise: {estimator['noise']}"
    )
    for line in pipeline["notes"]:
        page.say(line, begin="note: ")
    _recurrences(page, [(stage["stage"], stage["recurrence"]) for stage in pipeline["stages"]])
    if any(value == 0 and value is not False for stage in pipeline["stages"] for value in stage["arguments"].values()):
        page.print("\n(terms whose hyper-parameter is 0 now are left out)")
    if "paths" in pipeline:
        _print_paths(page, pipeline["paths"])


def _print_paths(page: Page, found: Sequence[dict[str, Any]]) -> None:
    """Which path each kind of parameter takes, by the first of its kind."""
    table = Table(title="paths here, on the CPU", title_justify="left")
    for title in ("parameters", "stages", "path", "why no faster one"):
        table.add_column(title, overflow="fold")
    for kind in found:
        first, *others = kind["parameters"]
        names = escape(first) + (f"\nand {len(others)} more" if others else "")
        for number, path in enumerate(kind["paths"]):
            cells = (path["stages"], path["taken"], path["reason"] or "–")
            table.add_row("" if number else names, *map(escape, cells))
    page.print()
    page.print(table)


def _recurrences(page: Page, stages: Sequence[tuple[str, Sequence[str]]]) -> None:
    for name, lines in stages:
        page.print(f"\n[bold]{escape(name)}[/bold]")
        for line in lines:
            page.say(line, begin="    ")


def _messages(cost: dict[str, Any]) -> str:
    """What a step on sharded parameters sends."""
    sent = []
    if cost["all_reduces"]:
        sent.append(f"{cost['all_reduces']} all-reduce{'s' if cost['all_reduces'] > 1 else ''}")
    if cost["exchanged"]:
        sent.append(f"{cost['exchanged']:g} B per parameter exchanged")
    return f"; sharded over processes: {' and '.join(sent)}" if sent else ""


def _paragraphs(text: str) -> str:
    """A docstring whose paragraphs the page may break anew, but for what is set apart in them, such as formulas."""
    parts = cleandoc(text).split("\n\n")
    return "\n\n".join(part if "\n " in f"\n{part}" else part.replace("\n", " ") for part in parts)


def print_explanation(explained: dict[str, Any]) -> None:
    """Recurrences, then what follows from them."""

    page = Page()
    page.print_spec(explained["spec"])
    _recurrences(page, [(part["stage"], part["lines"]) for part in explained["recurrences"]])
    page.print()
    table = Table(show_header=False)
    for _ in range(2):
        table.add_column(overflow="fold")
    for name, value in facts(explained):
        table.add_row(escape(name), escape(value))
    page.print(table)


def facts(explanation: dict[str, Any]) -> list[tuple[str, str]]:
    """What follows from the recurrences, as (name, value) in words."""
    from edsl.theory.text.figure import figure

    found, stability = explanation["filter"], explanation["stability"]
    said: list[tuple[str, str]] = [("of one step", line) for line in explanation.get("taken", ())]
    if isinstance(found, str):
        said.append(("adaptors as a filter", found))
    else:
        said += [
            ("transfer function g → u", f"H(z) {found['written']}"),
            ("gain of a constant gradient", figure(found["dc_gain"])),
            ("gain of a gradient that flips sign each step", figure(found["nyquist_gain"])),
            ("gain of the newest gradient", figure(found["first_gain"])),
            ("white-noise variance gain", figure(found["noise_gain"])),
            ("minimum phase", "yes" if found["minimum_phase"] else "no"),
            ("adaptor buffers: used, needed", f"{found['buffers']}, {found['buffers_needed']}"),
            *(("note", note) for note in found["notes"]),
        ]
    if isinstance(stability, str):
        said.append(("stability", stability))
    else:
        said += [("stability", stability["verdict"]), *(("note", note) for note in stability["notes"])]
    said += _effects(explanation)
    said += [(f"equivalent to {r['name']}", r["statement"]) for r in explanation["relations"]]
    if explanation["no_twin"]:
        said.append(("linear twin, a control", f"none: {explanation['no_twin']}"))
    return said + [
        ("linear twin, a control", f"{control['spec']}  ({control['about']})")
        for control in explanation["controls"]
        if control["name"] == "twin"
    ]


def _effects(explanation: dict[str, Any]) -> list[tuple[str, str]]:
    """What the steps do beside converging."""
    from edsl.theory.text.figure import figure

    said: list[tuple[str, str]] = []
    if (factor := explanation["noise_factor"]) is not None:
        said.append(("effective lr where gradients are noise", f"{figure(factor)} of the lr without adaptors"))
    if isinstance(small := explanation["small_steps"], dict):
        side = "late" if small["delay"] >= 0 else "ahead"
        frozen = isinstance(explanation["stability"], dict) and explanation["stability"]["notes"]
        said += [
            (
                "stride along a constant gradient",
                f"{figure(small['lr'])} g, {figure(abs(small['delay']))} steps {side}",
            ),
            (
                "small steps descend",
                f"f + {figure(small['regulariser'])} ‖∇f‖²".replace("+ -", "− ")
                + (", preconditioned" if frozen else ""),
            ),
        ]
    if (turning := explanation["rotation"]) is not None:
        said.append(
            (
                "scale-invariant layers, gradients being noise",
                f"turn {figure(turning['angle'])} rad a step, at ‖θ‖ = {figure(turning['norm'])} √(elements)",
            )
        )
    if isinstance(scaling := explanation["degrees"], dict):
        said.append(("a step scales as", _scale(*scaling["step"])))
    return said


def _scale(gradient: float, theta: float) -> str:
    from edsl.theory.text.figure import figure

    parts = [
        "" if not power else base if power == 1 else f"{base}^{figure(power)}"
        for base, power in (("gradient", gradient), ("θ", theta))
    ]
    kept = " · ".join(part for part in parts if part) or "neither gradient nor θ"
    loss = "lr need not follow the loss's scale" if not gradient else "lr must follow 1/(the loss's scale)"
    if gradient not in (0, 1):
        loss = f"lr must follow the loss's scale to the power {figure(-gradient)}"
    return f"{kept}: {loss}"
