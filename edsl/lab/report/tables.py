"""A race as flat tables: final figures, every trial, and every checkpoint."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edsl.lab.races.race import TUNING_SEEDS_FROM, Race
from edsl.lab.results.results import Results

NESTED = ("curve", "checkpoints", "measured", "looks", "regret")


def tables(race: Race, found: Results, finished: Sequence[Mapping[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Rows by table: "results", one an entrant; "trials", one a trial; "curves", one a checkpoint."""
    names = {row.spec: row.name for row in found.rows}
    trials, curves = [], []
    for trial in finished:
        who = {
            "optimizer": names.get(trial["spec"], ""),
            "spec": trial["spec"],
            "seed": trial["seed"],
            "phase": "tuning" if trial["seed"] >= TUNING_SEEDS_FROM else "final",
        }
        trials.append({**who, **{key: value for key, value in trial.items() if key not in (*NESTED, *who)}})
        measured = {point["step"]: point for point in trial["measured"]}
        for point in trial["checkpoints"]:
            extra = {key: value for key, value in measured.get(point["steps"], {}).items() if key != "step"}
            curves.append({**who, **point, **extra})
    return {"results": [_flat(race, row) for row in found.rows], "trials": trials, "curves": curves}


def _flat(race: Race, row: Any) -> dict[str, Any]:
    """A row with its figures as columns of their own."""
    flat: dict[str, Any] = {"optimizer": row.name, "spec": row.spec, "control_of": row.control_of, **row.lr}
    flat |= {f"sensitivity_{name}": share for name, share in row.sensitivity.items()}
    flat |= {name: getattr(row, name) for name in ("lr_tried", "lr_on_edge", "ok", "diverged", "failed")}
    for name in ("train_loss", "suboptimality", "test_loss", "test_accuracy", "default"):
        figure = getattr(row, name)
        flat |= {name: figure and figure.mean, f"{name}_sd": figure and figure.sd}
    for effect in row.effects:
        if effect.against == race.baseline:
            interval = effect.interval
            flat |= {
                "difference": interval and (None if math.isnan(interval.mean) else interval.mean),
                "difference_low": interval and interval.low,
                "difference_high": interval and interval.high,
                "method": interval and interval.method,
                "p": interval and interval.p,
                "verdict": effect.verdict,
                "family_wise": effect.family_wise,
            }
    for place, one in enumerate(row.targets):
        end = "" if len(row.targets) == 1 else f"_{place + 1}"
        flat |= {f"target{end}": one.target, f"reached{end}": one.reached}
        flat |= {f"{unit}_to_target{end}": getattr(one, unit) for unit in ("steps", "evaluations", "seconds")}
    flat |= {name: getattr(row, name) for name in ("step_ms", "optimizer_ms", "first_step_s", "state_bytes")}
    return flat | {name: figure.mean for name, figure in row.measures.items()}


def write(folder: Path, found: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[Path]:
    """Each table as CSV, and as Parquet where pyarrow is there; their places."""
    places = []
    for name, rows in found.items():
        columns = list(dict.fromkeys(column for row in rows for column in row))
        place = folder / f"{name}.csv"
        with place.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(map(_cell, columns))
            writer.writerows([_cell(row.get(column, "")) for column in columns] for row in rows)
        places.append(place)
        if parquet := _parquet(folder / f"{name}.parquet", rows, columns):
            places.append(parquet)
    return places


def _cell(value: Any) -> Any:
    """A value in a CSV file; text that a spreadsheet would take for a formula begins with an apostrophe instead."""
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value


def _parquet(place: Path, rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> Path | None:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        return None
    table = pyarrow.table({column: [row.get(column) for row in rows] for column in columns})
    parquet.write_table(table, place)
    return place
