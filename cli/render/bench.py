"""Times, what is compiled and memory, a row for each optimizer."""

from __future__ import annotations

from typing import Any

from edsl.cli.render.page import Page, formatted

_COLUMNS = [
    "optimizer",
    "step\nms",
    "quartiles\nms",
    "× fused\nAdamW",
    "× copy",
    "first step\ncold s",
    "first step\nwarm s",
    "graphs",
    "re-\ncompiled",
    "kernels",
    "state\nB/param",
    "temporary\nB/param",
]


def print_bench(found: dict[str, Any]) -> None:
    """One row an optimizer: times, what is compiled, memory."""
    page = Page()
    page.say(bench_title(found))
    titles, *rows = bench_rows(found)
    page.print_columns(titles, rows)
    for line in bench_notes(found):
        page.say(line)


def bench_title(found: dict[str, Any]) -> str:
    """What was measured, and where."""
    asked = found["configuration"]
    threads = f"{asked['threads']} thread{'s' if asked['threads'] > 1 else ''}"
    return (
        f"{asked['params']}: {asked['elements']:,} parameters in {asked['tensors']} tensors, {asked['dtype']}, "
        f"{asked['device_name']}, {threads}, {asked['steps']} steps"
    )


def bench_rows(found: dict[str, Any]) -> list[list[str]]:
    """The titles, a row for each optimizer, and one for the copy; without columns that have no figures."""
    rows = [_row(row) for row in found["rows"]]
    moved = found["copy_bytes"] / found["configuration"]["elements"]
    rows.append([f"copy of {moved:.0f} B/param", *_time_cells(found["copy_ms"])])
    rows = [row + ["–"] * (len(_COLUMNS) - len(row)) for row in rows]
    kept = [number for number in range(len(_COLUMNS)) if any(row[number] != "–" for row in rows)]
    return [[row[number] for number in kept] for row in (_COLUMNS, *rows)]


def bench_notes(found: dict[str, Any]) -> list[str]:
    """How to read the table, who is not in it, and what ran uncompiled."""
    return [
        "steps in turn, in one process: medians and quartiles, and ratios within each round",
        *(f"not measured: {line}" for line in found["absent"]),
        *(f"{row['optimizer']}: {reason}" for row in found["rows"] for reason in row["fallbacks"]),
    ]


def _row(row: dict[str, Any]) -> list[str]:
    first = row["first_step_s"] or {"cold": None, "warm": None}
    return [
        row["optimizer"],
        *_time_cells(row["step_ms"]),
        f"{row['to_adamw']:.2f}",
        f"{row['to_copy']:.2f}",
        formatted(first["cold"], ".2f"),
        formatted(first["warm"], ".2f"),
        str(row["graphs"]),
        str(row["recompiles"]),
        formatted(row["kernels"], "d"),
        f"{row['state_bytes']:.1f}",
        f"{row['temporary_bytes']:.1f}",
    ]


def _time_cells(spread: dict[str, float]) -> list[str]:
    return [_three_digits(spread["median"]), f"{_three_digits(spread['lower'])}–{_three_digits(spread['upper'])}"]


def _three_digits(value: float) -> str:
    return f"{value:.3g}" if value < 1000 else f"{value:.0f}"
