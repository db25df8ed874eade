"""What can be measured of a training run, beside its loss: one file an idea, one line of registration here.

A measure never changes the training: not its weights, gradients, random numbers or normalisation
statistics.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edsl.errors import EdslError, nearest
from edsl.lab.measures.measure import Measure, Run

# name: (place, what it gives)
MEASURES = {
    "sharpness": ("edsl.lab.measures.curvature:Sharpness", "the top Hessian eigenvalue of the training loss"),
    "trace": ("edsl.lab.measures.curvature:Trace", "the Hessian's trace, with its standard error"),
    "drift": ("edsl.lab.measures.movement:Drift", "‖θ−θ₀‖, and relative to ‖θ₀‖"),
    "path": ("edsl.lab.measures.movement:Path", "Σ‖θₖ₊₁−θₖ‖ over all steps, and over the drift"),
    "update": ("edsl.lab.measures.movement:Update", "‖Δθ‖/‖θ‖ of a step, the median over layers"),
    "noise": ("edsl.lab.measures.noise:NoiseScale", "the gradient noise scale tr Σ/‖G‖², in examples"),
    "curvature-noise": (
        "edsl.lab.measures.noise:CurvatureNoise",
        "the noise scale of the curvature along the top eigenvector, in examples",
    ),
    "norms": ("edsl.lab.measures.stages:Norms", "the norm of what goes into and comes out of each stage"),
    "trust": ("edsl.lab.measures.stages:Trust", "the layerwise factor of lamb or lars: median, least and most"),
}
OF_CURVATURE = ("sharpness", "trace", "curvature-noise")  # which need curvlinops


def check_measures(names: Sequence[str]) -> None:
    """Raises EdslError for an unknown measure, or one whose package is missing."""
    for name in names:
        if name not in MEASURES:
            raise EdslError(f"unknown measure {name!r}; {nearest(name, MEASURES, 'measures')}")
        if name in OF_CURVATURE:
            from edsl.lab.measures.curvature import check_installed

            check_installed()


class Measuring:
    """Several measures around the steps of one run."""

    def __init__(self, measures: Sequence[Measure], every: int) -> None:
        self.measures = measures
        self.every = every

    def before(self, k: int) -> None:
        """Called before step k, counted from 1."""
        due = self._due(k)
        for measure in self.measures:
            if due or measure.each_step:
                measure.before()

    def after(self, k: int) -> dict[str, float] | None:
        """Called after step k: the values, or None at steps that aren't measured."""
        due = self._due(k)
        values: dict[str, float] = {}
        for measure in self.measures:
            if due or measure.each_step:
                measure.after()
            if due:
                values |= measure.read()
        return values if due else None

    def _due(self, k: int) -> bool:
        return k == 1 or k % self.every == 0


def measuring(
    names: Sequence[str],
    task: Any,
    model: Any,
    optimizer: Any,
    pipeline: Any,
    train: Any,
    seed: int,
    every: int,
) -> Measuring:
    """The measures of these names, read at step 1 and at every `every`th.

    Raises:
        EdslError: as `check_measures`.
    """
    from edsl.language.registry.stages import load

    check_measures(names)
    run = Run(task, model, optimizer, pipeline, train, seed)
    return Measuring([load(MEASURES[name][0])(run) for name in names], every)
