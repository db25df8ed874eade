"""Stability maps and Bode plots, with matplotlib (the extra `edsl-optim[plot]`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from edsl.pictures import BLUE, GREY, ORANGE, pyplot, save
from edsl.theory.filter import Filter


def save_map(
    out: Path,
    title: str,
    axes: tuple[str, str],
    grid: tuple[Any, Any],
    radius: Any,
    sharpness: Any,
    curvature: float,
    lr: float,
) -> None:
    """Two panels: spectral radius at one curvature, and the largest stable s = lr · h.

    The paper's bound |α| = 1/(1−β₁) is drawn where α and β₁ are the axes, or the one axis is α.
    """
    x, y = grid
    figure, (left, right) = pyplot().subplots(1, 2, figsize=(12, 4.8), layout="constrained")
    clipped = np.clip(radius, 0.8, 1.2)
    image = left.pcolormesh(x, y, clipped, cmap="RdBu_r", vmin=0.8, vmax=1.2, shading="auto")
    if radius.min() < 1 < radius.max():
        left.contour(x, y, radius, levels=[1.0], colors="black", linewidths=1.5)
    figure.colorbar(image, ax=left, label="spectral radius (black line: 1)", extend="both")
    left.set_title(f"spectral radius at curvature h = {curvature:g} (s = {lr * curvature:g})")
    s = np.where(np.isfinite(sharpness) & (sharpness > 0), lr * sharpness, np.nan)
    image = right.pcolormesh(x, y, np.log10(s), cmap="cividis", shading="auto")
    figure.colorbar(image, ax=right, label="log₁₀ of the largest stable s = lr · h")
    right.set_title("stable sharpness")
    for panel in (left, right):
        panel.set_xlabel(axes[0])
        panel.set_ylabel(axes[1])
        _paper_bound(panel, axes, x, y)
        panel.set_xlim(np.min(x), np.max(x))
        panel.set_ylim(np.min(y), np.max(y))
    figure.suptitle(title, fontsize=10)
    save(figure, out)


def _paper_bound(panel: Any, axes: tuple[str, str], x: Any, y: Any) -> None:
    if set(axes) != {"alpha", "beta1"}:
        return
    beta1 = np.linspace(0, 1, 2001)[:-1]
    for sign in (-1, 1):
        curve = (sign / (1 - beta1), beta1)
        label = "paper's bound |α| = 1/(1−β₁)" if sign == 1 else None
        horizontal, vertical = curve if axes[0] == "alpha" else curve[::-1]
        panel.plot(horizontal, vertical, color=ORANGE, linestyle="--", linewidth=2, label=label)
    panel.legend(loc="lower right", framealpha=0.9)


def save_bode(out: Path, title: str, filters: dict[str, Filter]) -> None:
    """Gain and phase over frequency, and poles (×) and zeros (○) on the unit circle."""
    figure, (gain, phase, plane) = pyplot().subplots(1, 3, figsize=(14, 4.4), layout="constrained")
    frequencies = np.geomspace(1e-4, 0.5, 600)
    for (name, each), colour, line in zip(filters.items(), (BLUE, ORANGE), ("-", "--")):
        response, angle = each.bode(frequencies)
        gain.loglog(frequencies, np.maximum(response, 1e-12), color=colour, linestyle=line, label=name)
        phase.semilogx(frequencies, np.degrees(angle), color=colour, linestyle=line, label=name)
        plane.plot(np.real(each.poles), np.imag(each.poles), "x", color=colour, label=f"poles of {name}")
        plane.plot(
            np.real(each.zeros), np.imag(each.zeros), "o", color=colour, fillstyle="none", label=f"zeros of {name}"
        )
    circle: Any = np.exp(2j * np.pi * np.linspace(0, 1, 400))
    plane.plot(circle.real, circle.imag, color=GREY, linewidth=0.8)
    plane.set_aspect("equal", adjustable="datalim")
    plane.set(title="poles and zeros", xlabel="real part", ylabel="imaginary part")
    gain.set(title="gain", xlabel="frequency, cycles a step (0.5: a sign change at every step)", ylabel="|H|")
    phase.set(title="phase", xlabel="frequency, cycles a step", ylabel="degrees")
    for panel in (gain, phase, plane):
        panel.grid(alpha=0.3)
        panel.legend(fontsize=8, loc="lower left")
    figure.suptitle(title, fontsize=10)
    save(figure, out)
