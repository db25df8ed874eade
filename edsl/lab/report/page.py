"""One HTML page that a reader understands without us: question, answer, doubts, table, curves."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edsl.lab import sharpness
from edsl.lab.race import Race
from edsl.lab.report import conclusions, pictures, tables
from edsl.lab.report.stability import stability
from edsl.lab.results import NAMES, Figure, Results, Row
from edsl.lab.trial import CHECKPOINTS

CAPTIONS = {
    "curves": "Medians over seeds, bands from the least to the most.",
    "differences": "Paired differences to the baseline. Where a line crosses 0, no difference is shown.",
    "boxes": "Each box is one combination over its seeds; the points are the trials.",
    "stability": "Darker: unstable at smaller curvatures, as the exact linear recurrence says; blank: at any.",
    "tuning": "Every learning rate that was tried.",
    "measured": "What was measured along the way: medians, bands from the least to the most.",
    "sharpness": "At the same training loss, wherever each run was by then: medians, bands from the least to the most.",
}


@dataclass(frozen=True)
class Written:
    """The page and everything beside it."""

    page: Path
    others: tuple[Path, ...]


def write(races: Sequence[tuple[Race, Results, Sequence[Mapping[str, Any]], Path]], folder: Path) -> Written:
    """Write report.html into a folder, and each race's pictures and tables into its own.

    Raises:
        EdslError: without matplotlib.
    """
    import jinja2
    from markupsafe import Markup

    from edsl import __version__

    parts, others = [], []
    for race, found, finished, place in races:
        figures = _figures(race, found, finished)
        others += tables.write(place, tables.tables(race, found, finished))
        shown = []
        for name, figure in figures.items():
            others += [_saved(figure, place / f"{name}.{kind}") for kind in ("png", "svg")]
            shown.append({"svg": Markup(_svg(figure, name, len(parts))), "caption": CAPTIONS[name]})
        parts.append(_part(race, found, shown))
    profile = pictures.profiles([(race, found) for race, found, *_ in races]) if len(races) > 1 else None
    if profile is not None:
        others += [_saved(profile, folder / f"profile.{kind}") for kind in ("png", "svg")]
    template = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined).from_string(
        (Path(__file__).parent / "page.html").read_text(encoding="utf-8")
    )
    text = template.render(
        title=parts[0]["question"],
        parts=parts,
        profile=Markup(_svg(profile, "profile", 0)) if profile is not None else "",
        version=__version__,
    )
    page = folder / "report.html"
    page.write_text(text, encoding="utf-8")
    return Written(page, tuple(others))


def _figures(race: Race, found: Results, finished: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    drawn = {
        "differences": pictures.differences(race, found),
        "boxes": pictures.boxes(race, found, finished),
        "stability": stability(race, found),
        "curves": pictures.curves(race, found, finished) if race.kind != "sweep" else None,
        "tuning": pictures.tuning(race, found, finished),
        "measured": pictures.measured(race, found, finished),
        "sharpness": sharpness.picture(race, sharpness.seen_in(race, finished)) if race.setting.levels else None,
    }
    return {name: figure for name, figure in drawn.items() if figure is not None}


def _saved(figure: Any, place: Path) -> Path:
    figure.savefig(place, dpi=150)
    return place


def _svg(figure: Any, name: str, number: int) -> str:
    """The picture as SVG text for a page, its ids made its own."""
    drawn = io.StringIO()
    figure.savefig(drawn, format="svg", metadata={"Date": None})
    text = drawn.getvalue()
    text = text[text.index("<svg") :]
    own = f"{name}{number}-"
    text = re.sub(r'\bid="', f'id="{own}', text)
    text = re.sub(r'(xlink:href="#|url\(#)', rf"\1{own}", text)
    return re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)


def _part(race: Race, found: Results, shown: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    rows = found.rows
    return {
        "question": conclusions.question(race),
        "where": f"{len(rows)} optimizers, {race.seeds} seeds each, compared to {race.baseline}.",
        "conclusions": conclusions.conclusions(race, found) or ["There is one optimizer: nothing is compared."],
        "doubts": conclusions.doubts(race, found),
        "budget": conclusions.budget(race),
        "results": _results(race, found),
        "costs": _costs(found),
        "target": _target(race, found),
        "pictures": shown,
        "specs": [{"name": row.name, "spec": row.spec, "about": row.about} for row in rows],
        "reasons": [f"{row.name}: {reason}" for row in rows for reason in row.reasons],
    }


def _results(race: Race, found: Results) -> dict[str, Any]:
    tuned = bool(race.tuning.tuner)
    accurate = any(row.test_accuracy for row in found.rows)
    least = any(row.suboptimality for row in found.rows)
    columns = ["optimizer", *(["learning rate"] if tuned else []), "training loss"]
    columns += [*(["training loss − least"] if least else []), "test loss"]
    columns += ["test accuracy, %"] if accurate else []
    columns += [f"{NAMES[race.metric]} at default lr"] if tuned else []
    columns += [f"{NAMES[race.metric]} − baseline’s", "95 % interval", "verdict"]
    percent = 100 if race.metric == "accuracy" else 1
    rows = []
    for row in found.rows:
        effect = next((effect for effect in row.effects if effect.against == race.baseline), None)
        interval = effect.interval if effect else None
        between = ""
        if interval is not None and interval.low is not None and interval.high is not None:
            between = f"{_signed(interval.low, percent)} to {_signed(interval.high, percent)}"
        said = effect.verdict if effect else "baseline" if row.name == race.baseline else "–"
        cells = [
            row.name,
            *([_rates(row)] if tuned else []),
            figure_text(row.train_loss),
            *([figure_text(row.suboptimality)] if least else []),
            figure_text(row.test_loss),
            *([figure_text(row.test_accuracy, 100)] if accurate else []),
            *([figure_text(row.default, percent)] if tuned else []),
            _signed(interval.mean, percent) if interval else "–",
            between or "–",
            said,
        ]
        kind = said if said in ("better", "worse") else ""
        rows.append({"cells": cells, "control": bool(row.control_of), "kind": kind})
    return {"columns": columns, "rows": rows}


def _costs(found: Results) -> dict[str, Any]:
    measures = list(dict.fromkeys(name for row in found.rows for name in row.measures))
    columns = ["optimizer", "steps to target", "evaluations", "seconds", "step, ms", "optimizer’s, ms", "first step, s"]
    columns += ["state, B a parameter", *measures]
    rows = []
    for row in found.rows:
        target = row.target
        steps = "–"
        if target is not None:
            share = "" if target.reached == target.trials else f" ({target.reached} of {target.trials})"
            steps = "never" if target.steps is None else f"{target.steps:g}{share}"
        rows.append(
            [
                row.name,
                steps,
                _number(target.evaluations if target else None, ".0f"),
                _number(target.seconds if target else None, ".3g"),
                _number(row.step_ms, ".3f"),
                _number(row.optimizer_ms, ".3f"),
                _number(row.first_step_s, ".2f"),
                _number(row.state_bytes, ".1f"),
                *(figure_text(row.measures.get(name)) for name in measures),
            ]
        )
    return {"columns": columns, "rows": rows}


def _target(race: Race, found: Results) -> str:
    times = "Times are medians; trials that ran side by side disturb each other’s."
    if found.target is None:
        return times
    whose = "" if race.metric == "train" else "validation "
    return f"Target: {whose}{race.metric} {found.target:.4g}, read at {CHECKPOINTS} points of each trial. {times}"


def figure_text(figure: Figure | None, scale: float = 1.0) -> str:
    """Mean ± sd, with four significant digits or one decimal of a percentage."""
    if figure is None:
        return "–"
    form = ".1f" if scale == 100 else ".4g"
    spread = "" if figure.sd is None else f" ± {format(figure.sd * scale, '.1f' if scale == 100 else '.2g')}"
    return f"{format(figure.mean * scale, form)}{spread}"


def _rates(row: Row) -> str:
    return ", ".join(f"{rate:.3g}" for rate in row.lr.values()) + (" (edge)" if row.lr_on_edge else "")


def _signed(value: float, scale: float) -> str:
    return f"{value * scale:+.2f}" if scale == 100 else f"{value:+.4g}"


def _number(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)
