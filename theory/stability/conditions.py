"""Under which gradients stability is asked: fresh or late ones, of one curvature or of one drawn anew at each step."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING

from edsl.errors import EdslError
from edsl.language.domain import plain
from edsl.language.pipeline import Pipeline

if TYPE_CHECKING:
    from edsl.theory.stability.intervals import Interval
    from edsl.theory.systems.exploration import EInLoop
    from edsl.theory.systems.loop import Loop
from edsl.theory.text.figure import figure

LONGEST_DELAY = 32
_MOST_NOISE = 1e6


@dataclass(frozen=True)
class Gradients:
    """What a step's gradient is: h_k θ_{k−1−d}.

    Attributes:
        delay: d, how many steps old the parameters are that it was computed at: 0 in ordinary training, the
            depth of an asynchronous pipeline less one.
        noise: c = σ_h/h, the relative deviation of the curvature, drawn anew at each step; 0 for none.
    """

    delay: int = 0
    noise: float = 0.0

    def check(self) -> None:
        """Raises EdslError for values outside their domains."""
        if not 0 <= self.delay <= LONGEST_DELAY:
            raise EdslError(f"--delay must lie in [0, {LONGEST_DELAY}], got {self.delay}")
        if not 0 <= self.noise <= _MOST_NOISE:
            raise EdslError(f"--batch-noise must lie in [0, {_MOST_NOISE:g}], got {plain(self.noise)}")

    @property
    def are_plain(self) -> bool:
        return self.delay == 0 and self.noise == 0

    @property
    def said(self) -> str:
        """In words, "" for plain ones."""
        parts = []
        if self.delay:
            parts.append(f"with gradients {self.delay} step{'s' if self.delay > 1 else ''} old")
        if self.noise:
            parts.append(f"in mean square, with a curvature whose deviation is {figure(self.noise)} of its mean")
        return ", ".join(parts)


PLAIN = Gradients()


def check_condition(condition: float) -> None:
    """Raises EdslError unless it is κ = L/m of some functions, above 1."""
    if not 1 < condition < math.inf:
        raise EdslError(f"--condition must be a number above 1, got {plain(condition)}")


def check_spectrum(spectrum: tuple[float, float]) -> None:
    """Raises EdslError unless it is the least and the largest of some curvatures above 0."""
    low, high = spectrum
    if not 0 < low <= high < math.inf:
        raise EdslError(f"--spectrum must be LOW:HIGH with 0 < LOW ≤ HIGH, got {low:g}:{high:g}")


@dataclass(frozen=True)
class Stability:
    """Where a pipeline converges.

    Attributes:
        intervals: the curvatures, in order.
        radius: (visible in θ, all modes) of the spectral radius a step at one curvature, of the mean.
        mean_square: √ of the factor by which E‖x‖² changes a step at one curvature.
        largest_noise: the c up to which one curvature is stable in mean square.
        variance: of θ in the long run, per unit of white gradient noise, at one curvature; None where it grows.
        loop: for a pipeline that does the same at every step.
        period: of one that acts every few steps, 1 for none.
        notes: what was idealised.
    """

    intervals: list[Interval]
    radius: Callable[[float], tuple[float, float]]
    mean_square: Callable[[float], float]
    largest_noise: Callable[[float], float | None]
    variance: Callable[[float], float | None]
    loop: Loop | None
    period: int
    notes: tuple[str, ...]


def stability_of(pipeline: Pipeline, gradients: Gradients) -> Stability:
    """Where a pipeline converges under given gradients.

    Raises:
        NotLinear: for a stage that has no linear model, by name.
    """
    from edsl.theory.stability import intervals as stability
    from edsl.theory.stability.batches import growth, largest_noise, noisy_intervals, steady_variance
    from edsl.theory.stability.periodic import Periodic
    from edsl.theory.systems.loop import loop_of_system
    from edsl.theory.systems.state_space import phases_of

    first, *others = phases_of(pipeline)
    if others:
        steps = Periodic((first, *others), gradients.delay, gradients.noise)
        mean = replace(steps, c=0.0)
        return Stability(
            steps.intervals(1 / (float(pipeline.hyperparameters.get("lr", 1.0)) or 1.0)),
            lambda h: (mean.radius(h), mean.radius(h)),
            steps.radius,
            lambda h: None,
            lambda h: None,
            None,
            first.period,
            first.notes,
        )
    loop = loop_of_system(first).delayed(gradients.delay)
    return Stability(
        noisy_intervals(loop, stability.stable_intervals(loop), gradients.noise),
        lambda h: (stability.minimal_radius_at(loop, h), stability.radius_at(loop, h)),
        lambda h: math.sqrt(growth(loop, h, gradients.noise)),
        lambda h: largest_noise(loop, Fraction(h)),
        lambda h: steady_variance(loop, Fraction(h)),
        loop,
        1,
        first.notes,
    )


def delayed_e(e: EInLoop, delay: int) -> EInLoop:
    """The E of a loop whose gradients are some steps old; the closed forms of E with a momentum do not hold then."""
    if not delay:
        return e
    wait = tuple(Fraction(n == delay) for n in range(delay + 1))
    from edsl.theory.systems.polynomial import multiply

    return replace(
        e, without=e.without.delayed(delay), slopes=(multiply(e.slopes[0], wait), e.slopes[1]), momentum=None
    )
