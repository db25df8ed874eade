"""Pictures of walks: over the plane with the valley they saw, and along a line over learning rates."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from edsl.lab.landscapes.landscapes import Landscape
from edsl.lab.landscapes.walks import Sweep, Tour, Walk
from edsl.plotting import BLUE, GREY, ORANGE, YELLOW, pyplot, save

_COLUMNS = 3  # of panels, beside the column of figures
_DRAWN = 2  # walks in a panel
_STEPS = "viridis"


def save_plane(out: Path, landscape: Landscape, walked: Sequence[Walk], tours: Sequence[Tour]) -> None:
    """A panel for each pipeline, from the same starts, and the valley that all walks covered beside them."""
    columns = 2 if len(tours) == 4 else min(_COLUMNS, len(tours))
    rows = -(-len(tours) // columns)
    figure = pyplot().figure(figsize=(3.6 * columns + 5.6, max(4.6, 3.9 * rows + 0.9)), layout="constrained")
    figure.get_layout_engine().set(wspace=0.04, hspace=0.06)
    grid = figure.add_gridspec(rows, columns + 1, width_ratios=[*[1] * columns, 1.3])
    steps = len(walked[0].points) - 1
    chosen = _shown_starts(walked[0], landscape)
    image = None
    panels = []
    for number, (one, seen) in enumerate(zip(walked, tours)):
        panel = figure.add_subplot(grid[number // columns, number % columns])
        panels.append(panel)
        _contours(panel, landscape)
        for start in chosen:
            image = _path(panel, one.points[:, start], steps)
        _title(panel, seen)
        panel.set(xlim=landscape.box[0], ylim=landscape.box[1], aspect="equal", xlabel="x", ylabel="y")
        panel.label_outer()
    handles, names = panels[0].get_legend_handles_labels()
    known = dict(zip(names, handles))
    figure.legend(known.values(), known, loc="lower left", fontsize=9, frameon=False, ncols=2)
    figure.colorbar(image, ax=panels, location="bottom", label="step", shrink=0.5, aspect=40, pad=0.02)
    beside = grid[:, columns].subgridspec(2, 1, hspace=0.04)
    top = figure.add_subplot(beside[0])
    bottom = figure.add_subplot(beside[1])
    whole = landscape.valley().length if landscape.valley is not None else 0.0
    of = f" (all: {whole:.3g})" if landscape.name == "cardioid" else ""
    _strips(top, tours, [[v.covered for v in t.visits] for t in tours], f"valley walked along{of}, length", True)
    _strips(
        bottom, tours, [[v.flattest for v in t.visits] for t in tours], "flattest valley point, top eigenvalue", False
    )
    starts = walked[0].points.shape[1]
    figure.suptitle(
        f"{landscape.name}: f = {landscape.formula}, {steps} steps; {min(_DRAWN, starts)} of {starts} "
        f"start{'s' if starts > 1 else ''} drawn, figures over all",
        fontsize=11,
    )
    save(figure, out)


def save_line(out: Path, landscape: Landscape, walked: Sequence[Walk], sweeps: Sequence[Sweep]) -> None:
    """A row for each pipeline: the function with its end points over learning rates, and where each rate ended."""
    furthest = max([landscape.minima[b] for s in sweeps for b in s.basins if b >= 0], key=abs, default=0.0)
    low, high = landscape.box[0]
    high = max(high, float(furthest) * 1.08) if landscape.name == "f1" else high
    x = np.linspace(low, high, 4000)
    y = landscape.function(torch.from_numpy(x)[:, None]).numpy()
    figure = pyplot().figure(figsize=(11.5, 3.2 + 1.15 * len(sweeps)), layout="constrained")
    grid = figure.add_gridspec(len(sweeps) + 1, 1, height_ratios=[1.7, *[1] * len(sweeps)])
    curve = figure.add_subplot(grid[0])
    curve.plot(x, y, color=GREY, linewidth=1.2)
    start = float(walked[0].points[0, 0, 0])
    at = [landscape.minima[i] for i in range(len(landscape.minima)) if low <= landscape.minima[i] <= high]
    curve.plot(at, _values(landscape, at), "o", color=BLUE, markersize=4, label="minima")
    curve.plot(at[:1], _values(landscape, at[:1]), "o", color=ORANGE, markersize=6, label="the first minimum")
    curve.plot([start], _values(landscape, [start]), "k*", markersize=10, label=f"start, x = {start:g}")
    curve.set(ylabel=f"{landscape.name}(x)", xlim=(low, high))
    curve.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
    curve.margins(y=0.25)
    curve.tick_params(labelbottom=False)
    for row, (one, seen) in enumerate(zip(walked, sweeps), start=1):
        panel = figure.add_subplot(grid[row], sharex=curve)
        _ends(panel, one, seen, at)
        last = row == len(sweeps)
        panel.tick_params(labelbottom=last)
        if last:
            panel.set_xlabel(
                "x: grey where the walk went, dots where it ended; outside of the frame: no minimum reached"
            )
    steps = len(walked[0].points) - 1
    figure.suptitle(
        f"{landscape.name} = {landscape.formula}: where {len(sweeps[0].rates)} learning rates end after {steps} steps",
        fontsize=11,
    )
    save(figure, out)


def _ends(panel: Any, walked: Walk, seen: Sweep, at: Sequence[float]) -> None:
    basins, ends, rates = np.array(seen.basins), np.array(seen.ends), np.array(seen.rates)
    for place in at:
        panel.axvline(place, color=BLUE, linewidth=0.5, alpha=0.4)
    finite = np.where(np.isfinite(walked.points[..., 0]), walked.points[..., 0], np.nan)
    panel.hlines(rates, np.nanmin(finite, axis=0), np.nanmax(finite, axis=0), color="#CCCCCC", linewidth=1.0)
    for which, colour, label in (
        (basins == 0, ORANGE, f"the first: {seen.first}"),
        (basins > 0, BLUE, f"another minimum: {seen.another}"),
        (basins < 0, GREY, f"none: {seen.none}"),
    ):
        panel.scatter(ends[which], rates[which], s=13, color=colour, label=label, zorder=3, linewidths=0)
    panel.set_yscale("log")
    panel.set_ylabel("lr")
    panel.set_title(_short(seen.name, seen.spec, 110), fontsize=9, loc="left")
    panel.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, handletextpad=0.2)


def _values(landscape: Landscape, x: Sequence[float]) -> np.ndarray:
    return landscape.function(torch.tensor(list(x), dtype=torch.float64)[:, None]).numpy()


def _shown_starts(walked: Walk, landscape: Landscape) -> list[int]:
    """The starts a quarter and three quarters along the valley, whatever became of them."""
    assert landscape.valley is not None  # only planes with one are drawn
    order = np.argsort(landscape.valley().arc_of(walked.points[0]))
    return list(dict.fromkeys(int(order[share * (len(order) - 1) // 4]) for share in (1, 3)))[:_DRAWN]


def _contours(panel: Any, landscape: Landscape) -> None:
    axes = [np.linspace(low, high, 300) for low, high in landscape.box]
    x, y = np.meshgrid(*axes)
    values = landscape.function(torch.from_numpy(np.stack([x, y], axis=-1))).numpy()
    height = np.log10(np.maximum(values, 1e-6))
    panel.contourf(x, y, height, levels=14, cmap="Greys", alpha=0.28)
    assert landscape.valley is not None  # only planes with one are drawn
    curve = landscape.valley().points
    panel.plot(*curve.T, color=YELLOW, linewidth=2.5, alpha=0.8, label="valley", zorder=2)
    place, _ = landscape.flattest_point()
    panel.plot(
        *place,
        marker="D",
        color="white",
        markeredgecolor="black",
        markersize=5,
        linestyle="",
        zorder=6,
        label="flattest",
    )


def _path(panel: Any, points: np.ndarray, steps: int) -> Any:
    from matplotlib.collections import LineCollection
    from matplotlib.colors import SymLogNorm

    segments = np.stack([points[:-1], points[1:]], axis=1)
    lines = LineCollection(
        list(segments), cmap=_STEPS, norm=SymLogNorm(10, vmin=0, vmax=steps), linewidths=1.1, zorder=4
    )
    lines.set_array(np.arange(1, len(points)))
    panel.add_collection(lines)
    panel.plot(
        *points[0], "o", color="white", markeredgecolor="black", markersize=6, zorder=7, linestyle="", label="start"
    )
    panel.plot(
        *points[-1], "X", color=ORANGE, markeredgecolor="black", markersize=8, zorder=8, linestyle="", label="end"
    )
    return lines


def _title(panel: Any, seen: Tour) -> None:
    panel.set_title(_short(seen.name, seen.spec, 46), fontsize=8.5)


def _short(name: str, spec: str, width: int) -> str:
    text = name or spec
    return "\n".join(textwrap.wrap(text, width))


def _strips(panel: Any, tours: Sequence[Tour], values: Sequence[Sequence[float]], label: str, first: bool) -> None:
    """One strip of points a pipeline, with box and median."""
    floor = 1e-4  # of the axis: less is drawn there
    generator = np.random.default_rng(0)
    for row, sample in enumerate(values):
        known = np.maximum([value for value in sample if np.isfinite(value)], floor)
        if len(known) == 0:
            continue
        panel.scatter(
            known, row + generator.uniform(-0.18, 0.18, len(known)), s=12, color=BLUE, alpha=0.5, linewidths=0, zorder=3
        )
        low, middle, high = np.percentile(known, [25, 50, 75])
        panel.barh(row, high - low, left=low, height=0.56, color=BLUE, alpha=0.15, zorder=1)
        panel.plot([middle, middle], [row - 0.3, row + 0.3], color=ORANGE, linewidth=2.5, zorder=4)
        panel.annotate(
            f"{middle:.3g}", (middle, row - 0.32), fontsize=8, color=ORANGE, ha="center", va="bottom", zorder=5
        )
    panel.set_xscale("log")
    every = np.maximum([value for sample in values for value in sample if np.isfinite(value)], floor)
    if len(every):
        panel.set_xlim(10 ** np.floor(np.log10(every.min() / 1.3)), 10 ** np.ceil(np.log10(every.max() * 1.3)))
    panel.xaxis.set_minor_formatter(pyplot().NullFormatter())
    panel.set_ylim(len(tours) - 0.4, -0.75)
    panel.set_yticks(range(len(tours)), ["\n".join(textwrap.wrap(t.name, 30)) for t in tours], fontsize=8)
    panel.set_xlabel(label)
    panel.grid(axis="x", alpha=0.3)
    if first:
        panel.set_title("one point a start; box: middle half; orange: median", fontsize=8.5)
