"""Certified rates over s, and the cycle on its polygon."""

from __future__ import annotations

from pathlib import Path
from textwrap import wrap
from typing import Any

import numpy as np

from edsl.plotting import BLUE, GREY, ORANGE, YELLOW, pyplot, save
from edsl.theory.certificates.certificate import rate_at
from edsl.theory.certificates.cycle import Cycle
from edsl.theory.certificates.multiplier import radius_near
from edsl.theory.certificates.report import Certified
from edsl.theory.systems.loop import loop_of_system
from edsl.theory.text.figure import figure as number

_POINTS = 60


def save_certificate(out: Path, found: Certified) -> None:
    """Two panels: the certified rate beside the quadratics' over s, and θ walking round the polygon."""
    figure, (left, right) = pyplot().subplots(1, 2, figsize=(12, 4.8), layout="constrained")
    _draw_rates(left, found)
    if found.shown is None:
        right.set_axis_off()
        right.text(0.5, 0.5, "no cycle of up to 60 steps was found", ha="center", transform=right.transAxes)
    else:
        _draw_cycle(right, found.shown, found.lr or 1.0)
    figure.suptitle("\n".join(wrap(f"{found.pipeline.line}, condition {number(found.condition)}", 130)), fontsize=10)
    save(figure, out)


def _draw_rates(panel: Any, found: Certified) -> None:
    loop, unit = loop_of_system(found.system), found.lr or 1.0
    top = found.quadratic if np.isfinite(found.quadratic) else 10 * max(found.certified, found.smoothness)
    if found.certified > 0 and not found.is_clamped:
        L = np.append(np.geomspace(found.certified * 1e-4, found.certified, _POINTS), found.certified)
        rates = [rate_at(loop, found.condition, x) or np.nan for x in L]
        panel.loglog(unit * L, 1 - np.array(rates), color=BLUE, label="certified: every such function")
    if top > 0:
        L = np.geomspace(top * 1e-6, top * 0.9999, _POINTS * 2)
        worst = [max(radius_near(loop, x), radius_near(loop, x / found.condition)) for x in L]
        panel.loglog(unit * L, np.maximum(1 - np.array(worst), 1e-9), color=GREY, label="quadratics")
    if found.first is not None:
        panel.axvspan(
            unit * found.first.curvature, unit * top, color=ORANGE, alpha=0.15, label="from the first cycle on"
        )
    panel.axvline(unit * found.smoothness, color="black", linewidth=0.8, linestyle="--", label="here")
    panel.set(xlabel="s = lr · L", ylabel="1 − rate of a step (higher is faster)", title="guaranteed rates")
    panel.grid(alpha=0.3)
    panel.legend(fontsize=8)


def _draw_cycle(panel: Any, cycle: Cycle, unit: float) -> None:
    corners: Any = cycle.vertex * np.exp(2j * np.pi * np.arange(cycle.period + 1) / cycle.period)
    points: Any = np.append(cycle.points, cycle.points[0])
    panel.fill(corners.real, corners.imag, color=YELLOW, alpha=0.3, label="polygon P")
    panel.plot(points.real, points.imag, "-o", color=ORANGE, markersize=4, label=f"θ, {cycle.period} steps a round")
    grid = np.linspace(-1.4, 1.4, 81)
    values = np.array([[cycle.value_at(complex(x, y)) for x in grid] for y in grid])
    panel.contour(grid, grid, np.log(values + values.max() * 1e-4), levels=12, colors=GREY, linewidths=0.4)
    panel.set_aspect("equal")
    panel.set_title(f"a cycle at s = {number(unit * cycle.curvature)}" + (", which attracts" if cycle.attracts else ""))
    panel.legend(fontsize=8, loc="upper right")
