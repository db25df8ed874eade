"""Intervals cover as often as they say, and no winner is named without one."""

import math
from itertools import product

import numpy as np
import pytest

from edsl.lab.results.statistics import compared, holm, paired, performance_profile, ranked, verdict


def test_t_interval_is_students_by_hand():
    values = [0.3, -0.1, 0.4, 0.2, 0.25]
    mean = sum(values) / 5
    sd = math.sqrt(sum((value - mean) ** 2 for value in values) / 4)
    half = 2.7764451051977987 * sd / math.sqrt(5)  # t(4) at 97.5 %, from a printed table
    found = paired(values)
    assert (found.method, found.n) == ("t", 5)
    assert found.mean == pytest.approx(mean)
    assert (found.low, found.high) == (pytest.approx(mean - half), pytest.approx(mean + half))


@pytest.mark.parametrize("n", [3, 5, 30])
def test_95_percent_intervals_cover_about_95_percent(n):
    drawn = np.random.default_rng(0).normal(1.0, 2.0, (1000, n))
    covered = sum(found.low <= 1.0 <= found.high for found in map(paired, drawn))
    assert covered / len(drawn) > 0.95 - 3 * math.sqrt(0.95 * 0.05 / len(drawn))


def test_no_interval_is_narrower_than_a_step_of_the_metric():
    step = 1 / 270
    found = paired([step, step, 2 * step, step, step], resolution=step)
    assert found.high - found.mean == pytest.approx(step)
    assert found.p == pytest.approx(2 * t_tail(found.mean / step * 2.7764451051977987, 4), rel=1e-6)


def t_tail(at, freedom):
    """P(T > at) of Student's t, by numbers."""
    x = np.linspace(at, 4000, 4_000_001)
    density = (1 + x * x / freedom) ** (-(freedom + 1) / 2)
    scale = math.gamma((freedom + 1) / 2) / (math.sqrt(freedom * math.pi) * math.gamma(freedom / 2))
    return scale * np.trapezoid(density, x)


def test_float32_noise_is_no_spread():
    right, wrong = np.float32(263 / 270), np.float32(262 / 270)
    noisy = [float(right) - float(wrong), 251 / 270 - 250 / 270, float(right - wrong)]
    assert len(set(noisy)) > 1
    for resolution in (0.0, 1 / 270):
        found = paired(noisy, resolution=resolution)
        assert (found.method, found.low, verdict(found, True)) == ("no spread", None, "not comparable")


@pytest.mark.parametrize("values", [[0.5], [0.5, 0.4], [1e9, 1.1e9], [0.0, 0.0]])
def test_with_fewer_than_3_seeds_nothing_is_compared(values):
    found = paired(values)
    assert (found.low, found.p, found.method) == (None, None, "too few")
    assert verdict(found, True) == verdict(None, True) == "not comparable"


@pytest.mark.parametrize("n", [3, 5, 20])
def test_no_spread_decides_nothing_and_is_never_equal(n):
    assert verdict(paired([0.5] * n), True) == "not comparable"
    assert verdict(paired([0.0] * n), True) == "no difference shown"
    assert (paired([0.0] * n).low, paired([0.5] * n).low) == (None, None)


def test_no_winner_is_named_where_the_interval_holds_zero():
    assert verdict(paired([1.0, -1.0, 2.0]), True) == "no difference shown"
    assert verdict(paired([1.0, 1.1, 0.9]), True) == "better"
    assert verdict(paired([1.0, 1.1, 0.9]), False) == "worse"


@pytest.mark.parametrize("values", [[3, -1, 4, 1, 5, 9], [1, 1, -1, 2, 0, 3, 3], [math.inf, 2, -1, math.inf, 3, 4, 5]])
def test_signed_ranks_are_counted_over_all_signs(values):
    kept = [value for value in values if value]
    order = sorted(map(abs, kept))
    ranks = [np.mean([place for place, size in enumerate(order, 1) if size == abs(value)]) for value in kept]
    seen = abs(sum(math.copysign(rank, value) for rank, value in zip(ranks, kept)))
    tosses = [abs(np.dot(signs, ranks)) for signs in product((-1, 1), repeat=len(kept))]
    assert ranked(values).p == pytest.approx(np.mean([toss >= seen - 1e-9 for toss in tosses]))


def test_without_ties_signed_ranks_are_scipys():
    from scipy.stats import wilcoxon

    values = np.random.default_rng(2).normal(0.4, 1, 12)
    assert ranked(values).p == pytest.approx(wilcoxon(values, method="exact").pvalue)


def test_holm_is_the_published_example():
    # Holm 1979 steps down: 0.01 · 4, 0.0133 · 3, 0.02 · 2, 0.04 · 1, each no less than the one before
    assert holm([0.02, 0.01, 0.04, 0.0133]) == pytest.approx([0.04, 0.04, 0.04, 0.04])
    assert holm([0.001, 0.5, 0.02]) == pytest.approx([0.003, 0.5, 0.04])
    assert holm([]) == []


ENDS = {  # (repetitions, 2, seeds) ends of two optimizers that are alike
    "270 images": lambda draw, shape: draw.binomial(270, draw.normal(0.95, 0.005, shape).clip(0, 1)) / 270,
    "270 images near the ceiling": lambda draw, shape: draw.binomial(270, 0.996, shape) / 270,
    "10,000 images": lambda draw, shape: draw.binomial(10_000, 0.93, shape) / 10_000,
    "one in ten at chance": lambda draw, shape: (
        draw.binomial(270, np.where(draw.random(shape) < 0.1, 0.1, 0.95), shape) / 270
    ),
}


@pytest.mark.parametrize("n", [3, 5, 10, 20])
@pytest.mark.parametrize("case", ENDS)
def test_alike_optimizers_have_a_winner_in_at_most_6_percent_of_races(case, n):
    ends = ENDS[case](np.random.default_rng(0), (2000, 2, n))
    step = 1 / 10_000 if case.startswith("10,000") else 1 / 270
    assert np.mean([paired(one - two, resolution=step).decides for one, two in ends]) <= 0.06


@pytest.mark.parametrize("n", [3, 5, 10, 20])
def test_alike_optimizers_have_a_winner_in_at_most_6_percent_where_one_run_in_ten_fails(n):
    draw = np.random.default_rng(1)
    ends = draw.binomial(270, 0.95, (2000, 2, n)) / 270
    failed = draw.random(ends.shape) < 0.1
    races = [[[*map(none_where, row, lost)] for row, lost in zip(*one)] for one in zip(ends, failed)]
    assert np.mean([compared(ours, theirs, True, 1 / 270).decides for ours, theirs in races]) <= 0.06


def none_where(end, failed):
    return None if failed else end


def test_a_run_that_failed_is_worse_than_any_that_ended():
    ended = [0.9, 0.91, 0.93, 0.9, 0.92, 0.94]
    lost: list[float | None] = [None] * 6
    for higher_is_better in (True, False):
        assert verdict(compared(lost, ended, higher_is_better), higher_is_better) == "worse"
        assert verdict(compared(ended, lost, higher_is_better), higher_is_better) == "better"
        assert verdict(compared(lost, lost, higher_is_better), higher_is_better) == "no difference shown"
    assert not compared(lost[:5], ended[:5], True).decides


@pytest.mark.parametrize("values", [[], [math.nan, 1.0], [math.inf]])
def test_values_that_are_not_finite_have_no_interval(values):
    with pytest.raises(ValueError, match="needs finite values"):
        paired(values)


def test_performance_profile_is_the_share_within_a_factor_of_the_best():
    first, second = performance_profile([[1.0, 4.0, math.inf], [2.0, 2.0, math.nan]])
    assert first == [(1.0, 1 / 3), (2.0, 2 / 3)]
    assert second == [(1.0, 1 / 3), (2.0, 2 / 3)]
