"""Roots, boundaries and power gains in exact arithmetic, against what is known of them."""

import random
from fractions import Fraction

import numpy as np
import pytest
from scipy.signal import lfilter

from edsl.theory.systems.bisection import boundary
from edsl.theory.systems.polynomial import multiply, power_gain, roots_between


@pytest.mark.parametrize("guess", [0.3, 1.5, 1.41421356, 1.41421356237, 2.0, -7.0, float("nan")])
@pytest.mark.parametrize(("bad", "good"), [(0.0, 2.0), (2.0, 0.0)])
def test_boundary_is_found_whatever_is_guessed(guess, bad, good):
    asked = []

    def holds(x):
        asked.append(x)
        return (x * x > 2) == (good > bad)

    ends = boundary(holds, bad, good, guess, 1e-12)
    assert not holds(Fraction(ends[0]))
    assert holds(Fraction(ends[1]))
    assert abs(ends[1] - ends[0]) <= 2e-12
    if guess == 1.41421356237:
        assert len(asked) < 15


def test_roots_are_found_to_30_digits_beside_rational_ones():
    root = [Fraction(-2), Fraction(0), Fraction(1)]
    product = multiply(tuple(root), multiply((Fraction(-1, 3), Fraction(1)), (Fraction(0), Fraction(1))))
    found = roots_between(product, Fraction(-2), Fraction(2))
    assert [float(x) for x in found] == pytest.approx([-(2**0.5), 0, 1 / 3, 2**0.5], abs=1e-15)
    assert abs(found[3] ** 2 - 2) < Fraction(1, 10**29)


def test_power_gain_of_fractions_is_that_of_the_impulse_response():
    rng = random.Random(5)
    for _ in range(20):
        poles = [Fraction(rng.randint(-9, 9), 10) for _ in range(rng.randint(1, 5))]
        bottom = (Fraction(rng.randint(1, 5)),)
        for pole in poles:
            bottom = multiply(bottom, (-pole, Fraction(1)))
        top = [Fraction(rng.randint(-5, 5)) for _ in range(rng.randint(1, len(bottom)))]
        up, down = ([float(x) for x in reversed(part)] for part in ([*top, *[0] * (len(bottom) - len(top))], bottom))
        response = lfilter(up, down, np.eye(1, 4000)[0])
        assert float(power_gain(top, bottom)) == pytest.approx((response**2).sum(), rel=1e-9)
