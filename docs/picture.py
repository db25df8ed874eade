"""Draw the picture of README.md, for light and dark pages: `make picture` (five minutes on two cores).

On the left two walks from one start along the valley of the paper's Figure 1; on the right what a race says: the
differences to Lamb with their intervals and verdicts, and the accuracy of the validation split over steps. Trials that
runs/picture holds already are not run again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.patheffects import withStroke
from PIL import Image

import edsl
from edsl.lab.compare import Comparison
from edsl.lab.landscapes.landscapes import STEPS, landscape
from edsl.lab.landscapes.walks import Tour, Walk, tour, walk
from edsl.plotting import pyplot

DOCS = Path(__file__).parent
SPECS = ("adam(lr=0.01)", "grad | e(alpha=-90) | adam(lr=0.01)")
STARTS = 20  # figures are medians over these
RACED: tuple[str, ...] = ("lamb", "alto", "adam(lr=0.003)")
RACE: dict[str, Any] = {
    "task": "mnist1d",
    "batch": 4096,
    "steps": 300,
    "schedule": "warmup-cosine",
    "lr": "auto",
    "trials": 6,
}
MONOSPACED = {"family": "DejaVu Sans Mono", "fontsize": 9, "linespacing": 1.4}


@dataclass(frozen=True)
class Theme:
    """Colours of a page: what it lies on, text, lines, the valley, and who is drawn."""

    paper: str
    ink: str
    soft: str
    line: str
    valley: str
    plain: str
    with_e: str
    baseline: str


THEMES = {
    "light": Theme("#ffffff", "#1f2328", "#59636e", "#d1d9e0", "#f0d48a", "#c2410c", "#0b63b6", "#8c959f"),
    "dark": Theme("#0d1117", "#e6edf3", "#9198a1", "#3d444d", "#7a5f1c", "#ff9b5e", "#6cb6ff", "#7d8590"),
}


@dataclass(frozen=True)
class Measured:
    """What is drawn: a walk and its figures for each spec, and a race."""

    walks: tuple[Walk, ...]
    tours: tuple[Tour, ...]
    race: Comparison


def measure(
    starts: int = STARTS, steps: int = STEPS, seeds: int = 8, changes: Mapping[str, Any] | None = None
) -> Measured:
    """Walk and race; smaller ones for a trial."""
    place = landscape("cardioid")
    walks = tuple(walk(place, spec, place.starts(starts), steps) for spec in SPECS)
    tours = tuple(tour(place, spec, one) for spec, one in zip(SPECS, walks))
    folder = Path("runs/picture")
    known = {"resume": True} if (folder / "race.json").exists() else {}
    options = {**RACE, "out": folder, "more": {"tune_seeds": 1}, **known, **(changes or {})}
    return Measured(walks, tours, edsl.compare(list(RACED), seeds=seeds, baseline="lamb", **options))


def draw(measured: Measured, theme: Theme, out: Path) -> None:
    """One picture of 1600 pixels, twice the width that GitHub gives it."""
    plot = pyplot()
    style = {
        "font.family": "DejaVu Sans",
        "font.size": 9,
        "text.color": theme.ink,
        "axes.labelcolor": theme.soft,
        "xtick.color": theme.soft,
        "ytick.color": theme.soft,
        "axes.edgecolor": theme.line,
        "figure.facecolor": theme.paper,
        "axes.facecolor": theme.paper,
        "savefig.facecolor": theme.paper,
        "savefig.dpi": 200,
    }
    with plot.rc_context(style):
        figure = plot.figure(figsize=(8, 4.1))
        _valley(figure.add_axes((0.012, 0.02, 0.455, 0.76)), measured, theme)
        _head(figure, 0.02, "Explore a valley", _walked(measured.tours), theme)
        _verdicts(figure.add_axes((0.595, 0.53, 0.2, 0.25)), measured.race, theme)
        _curves(figure.add_axes((0.595, 0.125, 0.3, 0.27)), measured.race, theme)
        _head(figure, 0.515, f"Race: {_answer(measured.race)}", _raced(measured.race), theme)
        image = BytesIO()
        figure.savefig(image)
        plot.close(figure)
    Image.open(image).convert("RGB").quantize(128).save(out, optimize=True)  # a third of the bytes


def _head(figure: Any, left: float, title: str, under: str, theme: Theme) -> None:
    figure.text(left, 0.975, title, fontsize=13, weight="bold", va="top")
    figure.text(left, 0.905, under, fontsize=8.5, color=theme.soft, va="top", linespacing=1.35)


def _walked(tours: tuple[Tour, ...]) -> str:
    plain, with_e = (float(np.median([visit.covered for visit in one.visits])) for one in tours)
    return (
        f"Cardioid of the paper's Figure 1, {STEPS} steps. Valley\n"
        f"walked, median: {with_e:.2g} with E, {plain:.1g} without"
    )


def _answer(race: Comparison) -> str:
    return next(row.effects[0].verdict for row in race.results.rows if row.name == "alto")


def _raced(race: Comparison) -> str:
    return (
        f"MNIST-1D, batches of {RACE['batch']}, {race.race.seeds} seeds, tuned alike.\n"
        "Test accuracy − Lamb's, points, 95 % intervals:"
    )


def _valley(axes: Any, measured: Measured, theme: Theme) -> None:
    place = landscape("cardioid")
    (left, right), (low, high) = place.box
    x, y = np.meshgrid(np.linspace(left, right, 400), np.linspace(low, high, 400))
    values = place.function(torch.from_numpy(np.stack([x, y], axis=-1))).numpy()
    axes.contour(
        x, y, np.log10(np.maximum(values, 1e-4)), levels=11, colors=theme.line, linewidths=0.6, linestyles="solid"
    )
    assert place.valley is not None
    start = _median_start(measured.tours[1])
    axes.plot(*place.valley().points.T, color=theme.valley, linewidth=5, alpha=0.75, solid_capstyle="round")
    for one, colour, width in zip(reversed(measured.walks), (theme.with_e, theme.plain), (1.0, 2.0)):
        points = one.points[:, start]
        axes.plot(*points.T, color=colour, linewidth=width, solid_joinstyle="round")
        axes.plot(*points[-1], "o", color=colour, markersize=7, markeredgecolor=theme.paper)
    halo = [withStroke(linewidth=4, foreground=theme.paper)]  # contours keep off letters
    begin = measured.walks[0].points[0, start]
    axes.plot(*begin, "o", color=theme.paper, markeredgecolor=theme.ink, markersize=6)
    axes.annotate("start", begin, xytext=(7, -3), textcoords="offset points", fontsize=8.5, color=theme.soft)
    with_e, plain = (SPECS[1].replace(" |", "\n|"), SPECS[0])
    for height, text, colour in ((0.66, with_e, theme.with_e), (0.4, plain, theme.plain)):
        axes.text(
            0.385, height, text, transform=axes.transAxes, color=colour, path_effects=halo, va="top", **MONOSPACED
        )
    axes.set(xlim=(left, right), ylim=(low, high), xticks=[], yticks=[], aspect="equal")
    axes.spines[:].set_visible(False)


def _median_start(seen: Tour) -> int:
    """The start from which the length of valley walked along is the median, the lower one of two."""
    order = np.argsort([visit.covered for visit in seen.visits])
    return int(order[(len(order) - 1) // 2])


def _colours(race: Comparison, theme: Theme) -> dict[str, str]:
    shades: dict[str, str] = dict(zip(RACED, (theme.baseline, theme.with_e, theme.plain)))
    return {row.name: shades[row.control_of or row.name] for row in race.results.rows}


def _verdicts(axes: Any, race: Comparison, theme: Theme) -> None:
    """A row an entrant: the difference to the baseline, its 95 % interval and the verdict."""
    colours = _colours(race, theme)
    rows = [row for row in race.results.rows if row.effects]
    axes.axvline(0, color=theme.line, linewidth=1, zorder=0)
    for height, row in enumerate(rows):
        effect = row.effects[0]  # the baseline's
        if effect.interval is None or effect.interval.low is None or effect.interval.high is None:
            continue
        low, middle, high = (100 * v for v in (effect.interval.low, effect.interval.mean, effect.interval.high))
        axes.plot([low, high], [height] * 2, color=colours[row.name], linewidth=2.2, solid_capstyle="round")
        axes.plot([middle], [height], "o", color=colours[row.name], markersize=6)
        axes.text(1.05, height, effect.verdict, transform=axes.get_yaxis_transform(), va="center", fontsize=8.5)
    axes.set_yticks(range(len(rows)), [_label(row.name) for row in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.tick_params(length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)


def _label(name: str) -> str:
    optimizer, _, control = name.partition(", ")
    optimizer = optimizer.partition("(")[0]
    return f"{control} of {optimizer}" if control else optimizer


def _curves(axes: Any, race: Comparison, theme: Theme) -> None:
    """Medians of the validation accuracy over steps, by optimizer."""
    colours = _colours(race, theme)
    ends = {}
    for row in race.results.rows:
        trials = [one for one in race.finished if one["spec"] == row.spec and one["seed"] < race.race.seeds]
        lines = [
            [(p["steps"], p["accuracy"]) for p in one["checkpoints"] if p.get("accuracy") is not None] for one in trials
        ]
        if row.control_of or not lines:
            continue
        steps = [step for step, _ in lines[0]]
        values = 100 * np.median([[value for _, value in line] for line in lines], axis=0)
        axes.plot(steps, values, color=colours[row.name], linewidth=4 if not row.effects else 1.8)
        ends[row.name] = values[-1]
    for place, name in enumerate(sorted(ends, key=lambda name: -ends[name])):
        axes.text(1.05, 0.92 - 0.16 * place, _label(name), transform=axes.transAxes, color=colours[name], va="center")
    axes.set_xlabel("step", fontsize=8.5, labelpad=1)
    axes.set_ylabel("accuracy, %", fontsize=8.5)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(length=2, labelsize=8)


def main() -> None:
    measured = measure()
    for name, theme in THEMES.items():
        draw(measured, theme, DOCS / f"picture-{name}.png")


if __name__ == "__main__":
    main()
