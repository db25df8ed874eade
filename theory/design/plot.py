"""The rate over the spectrum: as the pipeline is, at its best, and at its best without E."""

from __future__ import annotations

from pathlib import Path
from textwrap import wrap
from typing import Any

import numpy as np

from edsl.language.pipeline import Pipeline
from edsl.plotting import BLUE, GREY, ORANGE, pyplot, save
from edsl.theory.design.objective import Objective
from edsl.theory.stability.conditions import Gradients
from edsl.theory.systems.exploration import without_e

_POINTS = 400
_SLOWEST = 1e-6  # 1 − rate that is still drawn


def save_design(out: Path, pipeline: Pipeline, report: dict[str, Any], gradients: Gradients) -> None:
    """Write 1 − rate on quadratics over curvature, with certified rates and the limits as lines."""
    figure, panel = pyplot().subplots(figsize=(7.5, 4.6), layout="constrained")
    lines = [
        ("as given", pipeline, "own", GREY),
        ("best", pipeline, "best", BLUE),
        ("best without E", without_e(pipeline), "without_e", ORANGE),
    ]
    certified = report["of"] == "certified"
    for name, whose, key, colour in lines:
        if report[key] is None:
            continue
        values = report[key]["values"]
        objective = Objective(whose, tuple(values), tuple(report["spectrum"]), gradients)
        h = objective.grid(_POINTS)
        left = 1 - objective.rates(np.array([list(values.values())]), h)[0]
        panel.loglog(h, np.where(left > 0, np.maximum(left, _SLOWEST), np.nan), color=colour, label=name)
        if certified and report[key]["rate"] < 1:
            panel.axhline(1 - report[key]["rate"], color=colour, linewidth=1.5, alpha=0.6, label=f"{name}: certified")
    for (name, rate), style in zip((report["limits"] or {}).items(), (":", "--", "-.")):
        panel.axhline(1 - rate, color="black", linewidth=0.8, linestyle=style, label=name)
    panel.set(xlabel="curvature h of a quadratic", ylabel="1 − rate of a step (higher is faster)")
    panel.grid(alpha=0.3)
    panel.legend(fontsize=8)
    said = f"; {gradients.said}" if gradients.said else ""
    figure.suptitle("\n".join(wrap(pipeline.line + said, 90)), fontsize=10)
    save(figure, out)
