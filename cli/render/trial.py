"""One trial, as edsl train runs it."""

from __future__ import annotations

from typing import Any

from edsl.cli.render.page import Page, formatted


def print_trial(record: dict[str, Any]) -> None:
    """One trial's figures."""
    page = Page()
    page.print_spec(record["spec"])
    said = f"{record['status']}{': ' if record['reason'] else ''}{record['reason']}"
    page.say(f"{said}, {record['steps']} steps in {record['seconds']:.1f} s")
    for split in ("train", "validation", "test"):
        accuracy = record.get(f"{split}_accuracy")
        shown = "" if accuracy is None else f", accuracy {100 * accuracy:.1f} %"
        page.print(f"  {split:10} loss {formatted(record[f'{split}_loss'], '.4g')}{shown}")
    step, part = (formatted(record[name], ".3f") for name in ("step_ms", "optimizer_ms"))
    state = formatted(record["state_bytes"], ".1f")
    page.print(f"  a step {step} ms, the optimizer's part {part} ms; state {state} B a parameter")
