"""Saturating stages: where clip(value) is a smooth convex function's own gradient, and the pipeline behind it linear.

Of f(θ) = Σ fᵢ(θᵢ), each fᵢ m-strongly convex with an L-Lipschitz derivative, clamp(fᵢ′) is the derivative
of a convex function with an L-Lipschitz derivative: the sector is [0, L], and the multiplier with m = 0
gives convergence, without a rate. Where f couples the coordinates clamping turns ∇f, and no sector holds.
"""

from __future__ import annotations

from edsl.language.pipeline import Pipeline
from edsl.theory.systems.linearise import NotLinear

CLAMPED = (
    "clip(value): of sums of functions of one coordinate each, on which it leaves a convex function's gradient; where "
    "coordinates are coupled no sector bounds it"
)


def without_clamp(pipeline: Pipeline) -> Pipeline:
    """The pipeline without a clip(value) directly behind the estimator, which a sector bounds; else itself.

    Raises:
        NotLinear: for one that stands behind another adaptor, by name.
    """
    from edsl.adapters.clip import Clip

    places = [index for index, stage in enumerate(pipeline.stages) if isinstance(stage, Clip) and stage.norm is None]
    if not places:
        return pipeline
    if places != [1]:
        raise NotLinear(
            "clip(value) has a sector only directly behind the estimator: behind another adaptor it clamps what that "
            "remembers, not the gradient"
        )
    return Pipeline((pipeline.stages[0], *pipeline.stages[2:]))
