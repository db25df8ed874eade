"""Looking at a race before its last seed: when, and what a verdict is worth that may have come early."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np

from edsl.lab.results.statistics import LEVEL, ConfidenceInterval

SIMULATED = 100_000  # races without a difference
POWER = 0.8


@lru_cache
def _least_p(looks: tuple[int, ...]) -> Any:
    """The smallest p of paired t tests at all looks, of many races without a difference, in order."""
    from scipy.special import stdtr

    drawn = np.random.default_rng(0).standard_normal((SIMULATED, looks[-1]))
    least = np.ones(SIMULATED)
    for look in looks:
        seen = drawn[:, :look]
        statistic = seen.mean(1) * math.sqrt(look) / seen.std(1, ddof=1)
        np.minimum(least, 2 * stdtr(look - 1, -np.abs(statistic)), out=least)
    return np.sort(least)


def nominal_level(looks: Sequence[int]) -> float:
    """What p must be below at some look so that alike optimizers have a winner in 5 % of races (Pocock 1977).

    Example:
        >>> from edsl.lab.results.sequential import nominal_level
        >>> 0.015 < nominal_level((5, 8, 12, 20)) < 0.025, nominal_level((20,)) > 0.048
        (True, True)
    """
    return float(_least_p(tuple(looks))[int((1 - LEVEL) * SIMULATED)])


def over_looks(interval: ConfidenceInterval, looks: Sequence[int]) -> ConfidenceInterval:
    """The same difference, its p and its interval those of the best of all looks: true whenever the race stopped.

        p̃ = min(L p, P₀(the least p of L looks ≤ p)),   interval: at the level that this rejects at

    P₀ is simulated for normal differences; of signed ranks p̃ = L p (Bonferroni).
    """
    if interval.p is None or not looks:
        return interval
    bound = min(1.0, len(looks) * interval.p)
    if interval.method != "t" or interval.low is None or interval.high is None:
        return replace(interval, p=bound if interval.method == "signed ranks" else interval.p)
    from scipy.special import stdtrit

    least = _least_p(tuple(looks))
    share = (np.searchsorted(least, interval.p, side="right") + 1) / (SIMULATED + 1)
    freedom = interval.n - 1
    wider = stdtrit(freedom, 1 - nominal_level(looks) / 2) / stdtrit(freedom, (1 + LEVEL) / 2)
    half = (interval.high - interval.low) / 2 * float(wider)
    p = min(bound, max(float(share), interval.p))
    return replace(interval, low=interval.mean - half, high=interval.mean + half, p=p)


def seeds_to_show(sd: float, difference: float, most: int = 10_000) -> int | None:
    """Pairs with which a difference would show in 8 races of 10, where differences spread by sd; None beyond `most`.

    The least n with P(|T| > t₍n−1, 97.5 %₎) ≥ 0.8 for T noncentral, ν = n − 1, δ = difference √n / sd.

    Source: Student 1908; Cohen 1988, chapter 2.

    Example:
        >>> from edsl.lab.results.sequential import seeds_to_show
        >>> seeds_to_show(1.0, 1.0), seeds_to_show(1.0, 0.5)
        (10, 34)
    """
    from scipy.special import nctdtr, stdtrit

    if sd <= 0 or difference <= 0:
        return None

    def power(n: int) -> float:
        return 1 - float(nctdtr(n - 1, difference * math.sqrt(n) / sd, stdtrit(n - 1, (1 + LEVEL) / 2)))

    low, high = 2, 3
    while power(high) < POWER:
        low, high = high, 2 * high
        if low > most:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if power(middle) >= POWER else (middle, high)
    return high if high <= most else None
