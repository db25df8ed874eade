"""A linear pipeline on f = hθ²/2 as a feedback loop, in exact rationals.

The eigenvalues of A(h) = A₀ + h B e_θᵀ are the roots of free(z) + h · gain(z). All that is decided
here is decided over the rationals that the pipeline's decimals are, so that clusters of eigenvalues
near 1, as of several averages with one β, can't mislead it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from itertools import pairwise
from typing import Any

from edsl.language.pipeline import Pipeline
from edsl.theory.systems.circle import correlation, imaginary_part, real_part
from edsl.theory.systems.polynomial import (
    Polynomial,
    add,
    common_factor,
    lies_inside,
    multiply,
    quotient,
    roots_between,
    scale,
    value,
)
from edsl.theory.systems.state_space import StateSpace, of_pipeline


@dataclass(frozen=True)
class Edge:
    """A curvature at which an eigenvalue lies on the unit circle, and where there: the cosine of its angle."""

    curvature: Fraction
    cosine: Fraction

    @property
    def kind(self) -> str:
        """ "fold" at +1, "flip" at −1, "hopf" for a complex pair."""
        return {1: "fold", -1: "flip"}.get(self.cosine, "hopf")  # pyright: ignore[reportCallIssue, reportArgumentType]


@dataclass(frozen=True)
class Loop:
    """The polynomial free(z) + h · gain(z), whose roots are the eigenvalues at curvature h.

    Attributes:
        free: det(zI − A₀), the eigenvalues without a gradient.
        gain: what the gradient adds; of lower degree.
        start: over free, what θ₀ does to θ without a gradient.
    """

    free: Polynomial
    gain: Polynomial
    start: Polynomial = ()

    def at(self, h: Fraction) -> Polynomial:
        """The characteristic polynomial at one curvature."""
        return add(self.free, scale(self.gain, h))

    @cached_property
    def hidden(self) -> Polynomial:
        """The modes that the gradient does not reach or θ does not show: the common factor."""
        return common_factor(self.free, self.gain)

    @cached_property
    def minimal(self) -> Loop:
        """The loop without its hidden modes."""
        return Loop(quotient(self.free, self.hidden), quotient(self.gain, self.hidden))

    @cached_property
    def unreached(self) -> Polynomial:
        """The hidden modes that θ₀ excites and θ shows, though no gradient reaches them."""
        return quotient(self.hidden, common_factor(self.hidden, self.start)) if self.start else self.hidden

    def delayed(self, steps: int) -> Loop:
        """The loop whose gradients are of the θ that many steps ago: free(z) zᵈ + h · gain(z)."""
        wait = (*[Fraction(0)] * steps, Fraction(1))
        return Loop(multiply(self.free, wait), self.gain, multiply(self.start, wait))

    def is_stable(self, h: Fraction) -> bool:
        """Whether all eigenvalues, hidden ones too, lie inside the unit circle."""
        return lies_inside(self.at(h))

    @cached_property
    def edges(self) -> tuple[Edge, ...]:
        """Every curvature at which an eigenvalue lies on the unit circle, sorted.

        At z = e^{iω} that is h = −free/gain, where it is real: Im(free · gain*) = sin ω · P(cos ω) = 0.
        """
        free, gain = self.minimal.free, self.minimal.gain
        if not gain:
            return ()
        mixed = correlation(free, gain)
        real, square = real_part(mixed), real_part(correlation(gain, gain))
        places = [Fraction(1), Fraction(-1), *roots_between(imaginary_part(mixed), Fraction(-1), Fraction(1))]
        found = [Edge(-value(real, x) / value(square, x), x) for x in places if value(square, x) != 0]
        return tuple(sorted(found, key=lambda edge: edge.curvature))


def loop_of(pipeline: Pipeline, **instead: Any) -> Loop:
    """The loop of a pipeline with its own numbers, or those given instead.

    Raises:
        NotLinear: for a stage that has no linear model, by name.
    """
    return loop_of_system(of_pipeline(pipeline, **instead))


def loop_of_system(system: StateSpace) -> Loop:
    """The loop of a linear system, from θ back to θ."""
    theta = tuple(Fraction(index == 0) for index in range(len(system.A)))
    gain, free = system.transfer(theta, system.B)
    start, _ = system.transfer(theta, theta)
    return Loop(free, scale(gain, Fraction(-1)), start)


def take_the_same_steps(first: Loop, second: Loop) -> bool:
    """Whether two loops move θ alike, from every θ₀, for every sequence of gradients, if memories begin at 0."""
    return all(
        multiply(getattr(first, part), second.free) == multiply(getattr(second, part), first.free)
        for part in ("gain", "start")
    )


def widest_gaps(edges: tuple[Edge, ...]) -> list[tuple[Fraction | None, Fraction | None, Fraction]]:
    """(low, high, a place between) for every stretch between neighbouring edges; None for no end."""
    places = sorted({edge.curvature for edge in edges})
    if not places:
        return [(None, None, Fraction(0))]
    first, last = places[0], places[-1]
    between = [(low, high, _short_between(low, high)) for low, high in pairwise(places) if not _same(low, high)]
    return [(None, first, first - max(1, abs(first))), *between, (last, None, last + max(1, abs(last)))]


def _short_between(low: Fraction, high: Fraction) -> Fraction:
    """A number of few digits near the middle of two, which exact arithmetic is fast with."""
    middle = (low + high) / 2
    size = math.floor(math.log2(abs(middle.numerator)) - math.log2(middle.denominator)) if middle else 0
    for bits in (8, 24, 53):
        unit = Fraction(2) ** (size - bits)
        if low < (short := round(middle / unit) * unit) < high:
            return short
    return middle


def _same(low: Fraction, high: Fraction) -> bool:
    return high - low <= abs(high) / 10**15
