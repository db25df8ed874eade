"""E in a pipeline's own loop: does α move it, for which α is it stable, and is it E with one momentum alone?"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from edsl.language.pipeline import Pipeline
from edsl.theory.systems.linearise import live_names
from edsl.theory.systems.loop import Loop, loop_of
from edsl.theory.systems.polynomial import Polynomial, add, lies_inside, multiply, scale


@dataclass(frozen=True)
class Momentum:
    """m_k = β₂ m_{k−1} + κ u_k, a step −η m: κ = 1−β₂ for an EMA, 1 for a sum; none at all is β₂ = 0, κ = 1."""

    beta2: Fraction
    kappa: Fraction


@dataclass(frozen=True)
class EInLoop:
    """The one E of a pipeline, as its loop sees it.

    Attributes:
        alpha, beta1: its own values.
        without: the loop at α = 0.
        slopes: what α adds to free and gain; α is the gain of one edge, so both are affine in it.
        momentum: what stands behind E if that is all that the loop is, for every α: the closed
            forms of E with a momentum hold then. None otherwise.
    """

    alpha: Fraction
    beta1: Fraction
    without: Loop
    slopes: tuple[Polynomial, Polynomial]
    momentum: Momentum | None

    @property
    def moves(self) -> bool:
        """Whether α changes the loop at all."""
        return any(self.slopes)

    def over_alpha(self, h: Fraction) -> Loop:
        """At one curvature, the loop in which α stands for the curvature."""
        return Loop(self.without.at(h), add(self.slopes[0], scale(self.slopes[1], h)))


def places_of_e(pipeline: Pipeline) -> list[int]:
    """Which stages of a pipeline are E."""
    from edsl.adapters.exploration import Exploration

    return [index for index, stage in enumerate(pipeline.stages) if isinstance(stage, Exploration)]


def without_e(pipeline: Pipeline) -> Pipeline:
    """The pipeline without its E."""
    places = places_of_e(pipeline)
    return Pipeline(tuple(stage for index, stage in enumerate(pipeline.stages) if index not in places))


def e_in_loop(pipeline: Pipeline) -> EInLoop | None:
    """The one E of a linear pipeline; None where there is none, or more than one.

    Raises:
        NotLinear: for a stage that has no linear model, by name.
    """
    places = places_of_e(pipeline)
    if len(places) != 1:
        return None
    keys = live_names(pipeline, places[0])
    values = {field: decimal(pipeline.hyperparameters[key]) for field, key in keys.items()}
    none, one = (loop_of(pipeline, **{keys["alpha"]: Fraction(x)}) for x in (0, 1))
    slopes = add(one.free, scale(none.free, Fraction(-1))), add(one.gain, scale(none.gain, Fraction(-1)))
    return EInLoop(values["alpha"], values["beta1"], none, slopes, _momentum(pipeline, values["beta1"], none, one))


def decimal(value: Any) -> Fraction:
    """The number that a float's decimal text says."""
    return Fraction(repr(float(value)))


def _momentum(pipeline: Pipeline, beta1: Fraction, none: Loop, one: Loop) -> Momentum | None:
    """The momentum with which the loop is THEORY's at α = 0 and 1, and so, being affine, at every α."""
    lr = decimal(pipeline.hyperparameters.get("lr", 1.0))
    if lr == 0 or not lies_inside(none.hidden):
        return None
    fields = (getattr(pipeline.update, field) for field in pipeline.update.live_fields())
    known = {decimal(value) for value in fields if 0 <= value < 1}
    for beta2 in sorted({Fraction(0), *known}):
        for kappa in {1 - beta2, Fraction(1)}:
            if all(_is_reference(loop, x, beta1, beta2, lr * kappa) for x, loop in enumerate((none, one))):
                return Momentum(beta2, kappa)
    return None


def _is_reference(loop: Loop, alpha: int, beta1: Fraction, beta2: Fraction, size: Fraction) -> bool:
    """Whether a loop is (z−1)(z−β₁)(z−β₂) + sκ z((1+γ)z − (β₁+γ)), but for hidden modes."""
    gamma = alpha * (1 - beta1)
    free = multiply(multiply((Fraction(-1), Fraction(1)), (-beta1, Fraction(1))), (-beta2, Fraction(1)))
    gain = scale((Fraction(0), -(beta1 + gamma), 1 + gamma), size)
    return multiply(loop.free, gain) == multiply(loop.gain, free)
