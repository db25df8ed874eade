"""One HTML page that a reader understands without us: question, answer, doubts, table, curves."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edsl.lab.races.race import Race
from edsl.lab.report import conclusions, pictures, tables
from edsl.lab.report.matched_loss import picture
from edsl.lab.report.overview import Overview
from edsl.lab.report.space import space
from edsl.lab.report.stability import stability
from edsl.lab.results import level_tables, matched_loss, result_tables
from edsl.lab.results.results import Results
from edsl.lab.trials.levels import END
from edsl.plotting import write_plain_numbers

CAPTIONS = {
    "curves": "Medians over seeds, bands from minimum to maximum.",
    "differences": "Paired differences to the baseline. Grey: none shown; hollow: holds alone, not family-wise.",
    "boxes": "Each box is one combination over its seeds; the points are the trials.",
    "stability": "Darker: unstable at smaller curvatures, as the exact linear recurrence says; blank: at any.",
    "tuning": "Every learning rate tried.",
    "space": "Every point tried, without those that diverged; ★ chosen. Shares of variance by fANOVA, means.",
    "scaling": "Medians of the trials that came to the target; grey: half the steps for twice the batch.",
    "measured": "Measurements during training: medians, bands from minimum to maximum.",
    "sharpness": "At matched training loss, whatever the step: medians, bands from minimum to maximum.",
}


@dataclass(frozen=True)
class Written:
    """The page and everything beside it."""

    page: Path
    others: tuple[Path, ...]


def write(
    races: Sequence[tuple[Race, Results, Sequence[Mapping[str, Any]], Path]],
    folder: Path,
    overview: Overview | None = None,
) -> Written:
    """Write report.html into a folder, and each race's pictures and tables into its own.

    Args:
        overview: of all races together, shown before each.

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
        parts.append({**_part(race, found, shown), **_levels(race, finished), "missing": _missing(race, finished)})
    alone = overview is None or not overview.by_batch
    profile = pictures.profiles([(race, found) for race, found, *_ in races]) if len(races) > 1 and alone else None
    drawn = []
    for name, figure in overview.pictures.items() if overview is not None else ():
        others += [_saved(figure, folder / f"{name}.{kind}") for kind in ("png", "svg")]
        drawn.append({"svg": Markup(_svg(figure, name, len(parts))), "caption": CAPTIONS[name]})
    for name, rows in overview.files.items() if overview is not None else ():
        others += tables.write(folder, {name: rows})
    if profile is not None:
        others += [_saved(profile, folder / f"profile.{kind}") for kind in ("png", "svg")]
    template = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined).from_string(
        (Path(__file__).parent / "page.html").read_text(encoding="utf-8")
    )
    text = template.render(
        title=parts[0]["question"] if overview is None else overview.title,
        overview=overview,
        drawn=drawn,
        parts=parts,
        profile=Markup(_svg(profile, "profile", 0)) if profile is not None else "",
        version=__version__,
    )
    page = folder / "report.html"
    page.write_text(text, encoding="utf-8")
    return Written(page, tuple(others))


def _figures(race: Race, found: Results, finished: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    ended = any(row.ok for row in found.rows)
    drawn = {
        "differences": pictures.differences(race, found),
        "boxes": pictures.boxes(race, found, finished),
        "stability": stability(race, found),
        "curves": pictures.curves(race, found, finished) if ended and race.kind != "sweep" else None,
        "tuning": pictures.tuning(race, finished),
        "space": space(race, found, finished),
        "measured": pictures.measured(race, found, finished),
        "sharpness": _at_levels(race, finished),
    }
    return {name: figure for name, figure in drawn.items() if figure is not None}


def _at_levels(race: Race, finished: Sequence[Mapping[str, Any]]) -> Any:
    seen = matched_loss.seen_in(race, finished)
    return picture(race, seen) if any(look.level != END for look in seen) else None


def _saved(figure: Any, place: Path) -> Path:
    write_plain_numbers(figure)
    figure.savefig(place, dpi=150)
    return place


def _svg(figure: Any, name: str, number: int) -> str:
    """The picture as SVG text for a page, its ids made its own."""
    drawn = io.StringIO()
    write_plain_numbers(figure)
    figure.savefig(drawn, format="svg", metadata={"Date": None})
    text = drawn.getvalue()
    text = text[text.index("<svg") :]
    own = f"{name}{number}-"
    text = re.sub(r'\bid="', f'id="{own}', text)
    text = re.sub(r'(xlink:href="#|url\(#)', rf"\1{own}", text)
    return re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)


def _missing(race: Race, finished: Sequence[Mapping[str, Any]]) -> str:
    """What there is of a race that was not run to its end; nothing for one that was."""
    done = {(trial["spec"], trial["seed"]): dict(trial) for trial in finished}
    if next(iter(race.ready(done)), None) is None:
        return ""
    return (
        f"This race is not finished: {len(done)} of at most {race.planned} trials are done, and what is below is of "
        "these. edsl compare --resume --out with its folder finishes it."
    )


def _levels(race: Race, finished: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Sharpness and drift at matched loss, where a race looked at them: its answers before all others."""
    if not race.setting.levels:
        return {"levels": [], "level_titles": (), "level_notes": [], "findings": []}
    rows = matched_loss.matched(race, matched_loss.seen_in(race, finished))
    return {
        "levels": level_tables.level_tables(rows),
        "level_titles": level_tables.TITLES,
        "level_notes": level_tables.footnotes(race, rows),
        "findings": [*level_tables.findings(race, rows)],
    }


def _part(race: Race, found: Results, shown: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    rows = found.rows
    return {
        "question": conclusions.question(race),
        "where": f"{len(rows)} optimizers, {race.seeds} seeds each, compared to {race.baseline}.",
        "conclusions": conclusions.conclusions(race, found) or ["There is one optimizer: nothing is compared."],
        "doubts": conclusions.doubts(race, found),
        "budget": conclusions.budget(race),
        "results": result_tables.outcomes(race, found),
        "words": result_tables.WORDS,
        "reading": result_tables.reading(race, found),
        "costs": result_tables.costs(race, found),
        "target": result_tables.target_text(race, found),
        "pictures": shown,
        "specs": [{"name": row.name, "spec": row.spec, "about": row.about} for row in rows],
        "reasons": [f"{row.name}: {reason}" for row in rows for reason in row.reasons],
    }
