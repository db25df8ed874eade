"""Intervals cover as often as they say, and no winner is named without one."""

import math

import numpy as np
import pytest

from edsl.lab.statistics import paired, performance_profile, verdict


def test_t_interval_is_students_by_hand():
    values = [0.3, -0.1, 0.4, 0.2, 0.25]
    mean = sum(values) / 5
    sd = math.sqrt(sum((value - mean) ** 2 for value in values) / 4)
    half = 2.7764451051977987 * sd / math.sqrt(5)  # t(4) at 97.5 %, from a printed table
    found = paired(values)
    assert (found.method, found.n) == ("t", 5)
    assert found.mean == pytest.approx(mean)
    assert (found.low, found.high) == (pytest.approx(mean - half), pytest.approx(mean + half))


@pytest.mark.parametrize(
    ("n", "method"),
    [(5, "t"), (14, "t"), *(pytest.param(n, "BCa bootstrap", marks=pytest.mark.slow) for n in (15, 30))],
)
def test_95_percent_intervals_cover_about_95_percent(n, method):
    generator = np.random.default_rng(0)
    tries = 400 if method == "t" else 60
    covered = 0
    for _ in range(tries):
        found = paired(generator.normal(1.0, 2.0, n))
        assert found.method == method
        covered += found.low <= 1.0 <= found.high
    assert covered / tries > 0.95 - 3 * math.sqrt(0.95 * 0.05 / tries) - (0.03 if method != "t" else 0)


def test_bca_interval_is_scipys():
    from scipy.stats import bootstrap

    values = np.random.default_rng(1).exponential(size=20)
    found = paired(values)
    theirs = bootstrap((values,), np.mean, n_resamples=9999, method="BCa", rng=np.random.default_rng(0))
    assert found.method == "BCa bootstrap"
    assert (found.low, found.high) == pytest.approx(theirs.confidence_interval)
    assert found.high - found.mean > found.mean - found.low  # to the right, as the data's tail


def test_one_value_and_no_spread_give_no_interval():
    assert (paired([0.5]).low, paired([0.5]).method) == (None, "one value")
    assert (paired([0.5, 0.5]).low, paired([0.5, 0.5]).method) == (None, "no spread")
    assert verdict(paired([0.5]), True) == verdict(paired([0.5, 0.5]), True) == verdict(None, True) == "not comparable"


def test_no_winner_is_named_where_the_interval_holds_zero():
    assert verdict(paired([1.0, -1.0, 2.0]), True) == "no difference shown"
    assert verdict(paired([1.0, 1.1, 0.9]), True) == "better"
    assert verdict(paired([1.0, 1.1, 0.9]), False) == "worse"
    assert verdict(paired([0.0, 0.0]), False) == "equal"


@pytest.mark.parametrize("values", [[], [math.nan, 1.0], [math.inf]])
def test_values_that_are_not_finite_have_no_interval(values):
    with pytest.raises(ValueError, match="needs finite values"):
        paired(values)


def test_performance_profile_is_the_share_within_a_factor_of_the_best():
    first, second = performance_profile([[1.0, 4.0, math.inf], [2.0, 2.0, math.nan]])
    assert first == [(1.0, 1 / 3), (2.0, 2 / 3)]
    assert second == [(1.0, 1 / 3), (2.0, 2 / 3)]
