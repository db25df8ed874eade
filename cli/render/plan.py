"""Bytes before anything is allocated, and what was compiled ahead."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from edsl.cli.render.page import Page, formatted, print_note

_TITLES = (
    "optimizer",
    "state",
    "state\nB/param",
    "temporaries\n≤",
    "on a CPU\n≤",
    "traffic per step\n≥",
    "moved by\nits loops",
    "step\n≥ ms",
    "its loops\nms",
)
_TIMES = ("step\n≥ ms", "its loops\nms")  # which need a bandwidth


def print_plans(params: str, found: Sequence[dict[str, Any]]) -> None:
    """A row for each optimizer, then the buffers of each one's stages."""
    page = Page()
    first = found[0]
    page.say(
        f"{params}: {first['parameters']:,} parameters in {first['tensors']} tensors, {first['dtype']}: "
        f"{_bytes(first['parameter_bytes'])}, their gradients {_bytes(first['gradient_bytes'])}"
    )
    timed = any(plan["least_seconds"] is not None for plan in found)
    shown = [place for place, title in enumerate(_TITLES) if timed or title not in _TIMES]
    rows = [_row(plan) for plan in found]
    page.print_columns([_TITLES[place] for place in shown], [[row[place] for place in shown] for row in rows])
    for plan in found:
        _plan(page, plan)


def _row(plan: dict[str, Any]) -> list[str]:
    return [
        plan["given"],
        _bytes(plan["state_bytes"]),
        formatted(plan["state_per_parameter"], ".4g"),
        _bytes(plan["temporary_bytes"]),
        _bytes(plan["temporary_bytes_on_cpu"]),
        _bytes(plan["traffic_bytes"]),
        _bytes(plan["traffic_bytes_of_loops"]),
        formatted(_milliseconds(plan["least_seconds"]), ".3g"),
        formatted(_milliseconds(plan["loop_seconds"]), ".3g"),
    ]


def _plan(page: Page, plan: dict[str, Any]) -> None:
    """One optimizer's stages, and what its step allocates."""
    page.print_spec(plan["spec"])
    table = Table(box=SIMPLE_HEAD)
    for name in ("stage", "buffer", "dtype"):
        table.add_column(name, overflow="fold")
    for name in ("bytes", "B/param"):
        table.add_column(name, justify="right", overflow="fold")
    for route in plan["routes"]:
        if route["route"]:
            head = f"{route['route']}: {route['tensors']} tensor{'s' if route['tensors'] != 1 else ''}"
            table.add_row(f"[bold]{escape(head)}[/bold]", "", "", f"{route['parameters']:,} elements", "")
        for stage in route["stages"] if route["tensors"] else ():
            for name, dtype, size, share in _kept(stage):
                table.add_row(escape(stage["stage"]), escape(name), dtype, _bytes(size), formatted(share, ".4g"))
    page.print(table)
    for one in plan["temporaries"] or ():
        on_cpu = "" if one["on_cpu"] == one["bytes"] else f", on a CPU {_bytes(one['on_cpu'])}"
        page.say(f"a step allocates at most {_bytes(one['bytes'])}{on_cpu}: {one['what']}")
    if "placement" in plan:
        _placement(page, plan)
    if any(stage["buffers"] is None for route in plan["routes"] for stage in route["stages"]):
        page.say("its state belongs to the other package and is known only after its first step")
    page.print()


def _placement(page: Page, plan: dict[str, Any]) -> None:
    """What lies where."""
    found = plan["placement"]
    if found["attach"]:
        at_once, whole = _bytes(found["gradients"]), _bytes(plan["gradient_bytes"])
        page.say(f"attached: gradients of at least {at_once} at once (the largest tensor's) instead of {whole}")
    if found["offload"]:
        host, device, bus = (_bytes(found[name]) for name in ("state_on_host", "state_on_device", "bus"))
        page.say(
            f"offloaded: {host} of state in the CPU's memory, at most {device} on the GPU; {bus} a step to and fro"
        )


def _kept(stage: dict[str, Any]) -> Iterator[tuple[str, str, int | None, float | None]]:
    """Name, dtype, bytes and bytes a parameter of each buffer of a stage."""
    if not stage["buffers"]:
        yield "its own" if stage["buffers"] is None else "–", "", stage["bytes"], stage["bytes_per_parameter"]
    for buffer in stage["buffers"] or ():
        yield buffer["name"], buffer["dtype"], buffer["bytes"], buffer["bytes_per_parameter"]


def _bytes(size: float | None) -> str:
    """A size with three digits: 1.49 GB, of 10⁹ bytes."""
    if size is None:
        return "–"
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= scale:
            return f"{size / scale:.3g} {unit}" if size < 1000 * scale else f"{size / scale:,.0f} {unit}"
    return f"{size:g} B"


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else 1e3 * seconds


def print_warmed(found: dict[str, Any]) -> None:
    """What was compiled for one optimizer."""
    page = Page()
    graphs = found["graphs"]
    said = f"{graphs} graph{'s' if graphs != 1 else ''}, {found['compiled']} compiled anew" if graphs else "no graphs"
    page.print_spec(found["spec"])
    page.say(f"{said}, in {found['seconds']:.2f} s", begin="  ")
    for reason in found["fallbacks"]:
        print_note(f"{found['spec']}: {reason}: it will run uncompiled")
