"""Stability maps and Bode plots, with matplotlib (the extra `edsl-optim[plot]`)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from textwrap import wrap
from typing import Any

import numpy as np

from edsl.plotting import BLUE, GREY, ORANGE, pyplot, save
from edsl.theory.systems.filter import Filter

BELOW_ONE = ("beta", "momentum", "decay")  # hyper-parameters in [0, 1) whose distance from 1 counts
NEAR = 0.1  # from 1, in the plane of poles and zeros: what is closer is seen in a view of its own
NEAR_ONE = 0.95  # from here on an axis of theirs is a logarithm of that distance


@dataclass(frozen=True)
class Axis:
    """One side of a map: a hyper-parameter, its values, the pipeline's own, and how they are laid out.

    Attributes:
        kind: "plain", or "log" of the value, or "near one": log of 1 − value, 1 to the far end.
    """

    name: str
    values: Any
    own: float
    kind: str

    @classmethod
    def over(cls, name: str, low: float, high: float, own: float, points: int) -> Axis:
        """Points laid out so that none of them is squashed: decays near 1 and rates over decades in logarithms."""
        field = name.rpartition(".")[2]
        if field.startswith(BELOW_ONE) and high >= NEAR_ONE:
            return cls(name, 1 - np.geomspace(1 - low, 1 - high, points), own, "near one")
        if field.endswith("lr") and low > 0 and high >= 10 * low:
            return cls(name, np.geomspace(low, high, points), own, "log")
        return cls(name, np.linspace(low, high, points), own, "plain")

    @property
    def middle(self) -> float:
        """The value in the middle of the axis."""
        return float(self.values[len(self.values) // 2])

    def placed(self, values: Any) -> Any:
        """Where values lie on the axis."""
        values = np.asarray(values, dtype=float)
        return {"plain": values, "log": np.log10(np.maximum(values, 1e-300))}.get(
            self.kind, -np.log10(np.maximum(1 - values, 1e-17))
        )

    def ticks(self) -> tuple[Any, list[str]] | None:
        """Places and labels; None where the plotter's own are right."""
        if self.kind == "plain":
            return None
        low, high = self.placed(self.values[[0, -1]])
        marks = [*(sign for decade in range(16) for sign in _marks(self.kind, decade))]
        shown = [(float(self.placed(mark)), mark) for mark in marks if low - 1e-9 <= self.placed(mark) <= high + 1e-9]
        return [place for place, _ in shown], [f"{mark:.12g}" for _, mark in shown]


def _marks(kind: str, decade: int) -> tuple[float, ...]:
    if kind == "near one":
        return (1 - 10.0**-decade,) if decade else (0.0, 0.5, 0.8)
    return 10.0**-decade, *((10.0**decade,) if decade else ())


def save_map(out: Path, title: str, axes: tuple[Axis, Axis], radius: Any, stable: Any, about: str) -> None:
    """Two panels: spectral radius at one curvature, and the largest stable s = lr · h.

    The paper's bound |α| = 1/(1−β₁) is drawn where α and β₁ are the axes; the pipeline's own point
    where it lies on the map.

    Args:
        stable: s for every point; 0 where no small one is stable, ∞ where any is.
        about: at which curvature the radius is.
    """
    x, y = (axis.placed(axis.values) for axis in axes)
    figure, (left, right) = pyplot().subplots(1, 2, figsize=(12, 4.8), layout="constrained")
    clipped = np.clip(radius, 0.8, 1.2)
    image = left.pcolormesh(x, y, clipped, cmap="RdBu_r", vmin=0.8, vmax=1.2, shading="auto")
    if radius.min() < 1 < radius.max():
        left.contour(x, y, radius, levels=[1.0], colors="black", linewidths=1.5)
    figure.colorbar(image, ax=left, label="spectral radius (black line: 1)", extend="both")
    left.set_title(f"spectral radius at {about}")
    drawn = np.where(np.isfinite(stable) & (stable > 0), stable, np.nan)
    logs = np.log10(drawn)
    flat = np.isfinite(logs).any() and np.nanmax(logs) - np.nanmin(logs) < 1e-6
    limits = {"vmin": np.nanmin(logs) - 0.5, "vmax": np.nanmax(logs) + 0.5} if flat else {}
    image = right.pcolormesh(x, y, logs, cmap="cividis", shading="auto", **limits)
    figure.colorbar(image, ax=right, label="log₁₀ of the largest stable s = lr · h")
    blank = [said for said, where in (("none stable", stable <= 0), ("any stable", np.isinf(stable))) if where.any()]
    right.set_title("stable sharpness" + (f" (white: {' or '.join(blank)})" if blank else ""))
    for panel in (left, right):
        panel.set_xlabel(axes[0].name)
        panel.set_ylabel(axes[1].name)
        _paper_bound(panel, axes)
        _own_point(panel, axes)
        panel.set_xlim(np.min(x), np.max(x))
        panel.set_ylim(np.min(y), np.max(y))
        for axis, set_ticks in zip(axes, (panel.set_xticks, panel.set_yticks)):
            if (ticks := axis.ticks()) is not None:
                set_ticks(*ticks)
        if panel.get_legend_handles_labels()[0]:
            panel.legend(loc="best", framealpha=0.9, fontsize=8)
    figure.suptitle("\n".join(wrap(title, 120)), fontsize=10)
    save(figure, out)


def save_plane(out: Path, title: str, axes: tuple[Axis, Axis], values: Any, label: str, blank: str) -> None:
    """One panel: a quantity over two hyper-parameters, its logarithm in colour.

    Args:
        values: for every point; 0, ∞ and NaN stay white. blank: what white means.
    """
    x, y = (axis.placed(axis.values) for axis in axes)
    figure, panel = pyplot().subplots(figsize=(7.2, 5), layout="constrained")
    shown = np.isfinite(values) & (values > 0)
    logs = np.log10(np.where(shown, values, np.nan))
    image = panel.pcolormesh(x, y, logs, cmap="cividis", shading="auto")
    figure.colorbar(image, ax=panel, label=f"log₁₀ of {label}")
    panel.set_title("" if shown.all() else f"white: {blank}", fontsize=9)
    panel.set(xlabel=axes[0].name, ylabel=axes[1].name)
    _paper_bound(panel, axes)
    _own_point(panel, axes)
    panel.set(xlim=(np.min(x), np.max(x)), ylim=(np.min(y), np.max(y)))
    for axis, set_ticks in zip(axes, (panel.set_xticks, panel.set_yticks)):
        if (ticks := axis.ticks()) is not None:
            set_ticks(*ticks)
    if panel.get_legend_handles_labels()[0]:
        panel.legend(loc="best", framealpha=0.9, fontsize=8)
    figure.suptitle("\n".join(wrap(title, 80)), fontsize=9)
    save(figure, out)


def _own_point(panel: Any, axes: tuple[Axis, Axis]) -> None:
    if all(axis.values[0] <= axis.own <= axis.values[-1] for axis in axes):
        place = [axis.placed(axis.own) for axis in axes]
        panel.plot(*place, "*", markersize=13, color="white", markeredgecolor="black", label="this pipeline")


def _paper_bound(panel: Any, axes: tuple[Axis, Axis]) -> None:
    names = [axis.name for axis in axes]
    if set(names) != {"alpha", "beta1"}:
        return
    beta1 = 1 - np.geomspace(1, 1e-6, 2001)
    for sign in (-1, 1):
        curve = {"alpha": sign / (1 - beta1), "beta1": beta1}
        label = "paper's bound |α| = 1/(1−β₁)" if sign == 1 else None
        places = [axis.placed(curve[axis.name]) for axis in axes]
        panel.plot(*places, color=ORANGE, linestyle="--", linewidth=2, label=label)


def save_bode(out: Path, title: str, filters: dict[str, Filter]) -> None:
    """Gain and phase over frequency, and poles (×) and zeros (○) on the unit circle."""
    figure, (gain, phase, plane) = pyplot().subplots(1, 3, figsize=(14, 4.4), layout="constrained")
    frequencies = np.geomspace(1e-4, 0.5, 600)
    for (name, each), colour, line in zip(filters.items(), (BLUE, ORANGE), ("-", "--")):
        response, angle = each.bode(frequencies)
        gain.loglog(frequencies, np.maximum(response, 1e-12), color=colour, linestyle=line, label=name)
        phase.semilogx(frequencies, np.degrees(angle), color=colour, linestyle=line, label=name)
    _poles_and_zeros(plane, filters)
    _near_one(plane, filters)
    plane.set_aspect("equal", adjustable="datalim")
    plane.set(title="poles and zeros", xlabel="real part", ylabel="imaginary part")
    gain.set(title="gain", xlabel="frequency, cycles a step (0.5: a sign change at every step)", ylabel="|H|")
    phase.set(title="phase", xlabel="frequency, cycles a step", ylabel="degrees")
    for panel in (gain, phase, plane):
        panel.grid(alpha=0.3)
        panel.legend(fontsize=8, loc="lower left" if panel is plane else "best")
    figure.suptitle("\n".join(wrap(title, 140)), fontsize=10)
    save(figure, out)


def _poles_and_zeros(panel: Any, filters: dict[str, Filter]) -> None:
    for (name, each), colour in zip(filters.items(), (BLUE, ORANGE)):
        panel.plot(np.real(each.poles), np.imag(each.poles), "x", color=colour, label=f"poles of {name}")
        zeros = np.real(each.zeros), np.imag(each.zeros)
        panel.plot(*zeros, "o", color=colour, fillstyle="none", label=f"zeros of {name}")
    circle: Any = np.exp(2j * np.pi * np.linspace(0, 1, 2000))
    panel.plot(circle.real, circle.imag, color=GREY, linewidth=0.8)


def _near_one(plane: Any, filters: dict[str, Filter]) -> None:
    """Poles and zeros of slow averages, which would lie on each other at 1, once more in a closer view."""
    places = {complex(place) for each in filters.values() for place in (*each.poles, *each.zeros)}
    near = [place for place in places if abs(place - 1) < NEAR]
    widest = max((abs(place - 1) for place in near), default=0.0)
    if len(near) < 2 or widest < 1e-9:
        return
    view = plane.inset_axes((0.3, 0.42, 0.4, 0.3))
    _poles_and_zeros(view, filters)
    view.set(xlim=(1 - 1.3 * widest, 1 + 0.3 * widest), ylim=(-0.8 * widest, 0.8 * widest), title="near 1")
    view.title.set_fontsize(8)
    view.tick_params(labelsize=7)
    view.grid(alpha=0.3)
