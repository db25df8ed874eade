"""Bayesian optimisation in the unit cube: a Gaussian process of the scores, and where it expects most improvement.

For few trials of few hyper-parameters. Everything is a pure function of points and scores.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

DRAWS = 64  # of length scales and noise, each weighted by its marginal likelihood
KEPT = 8  # of these, the likeliest
LENGTHS = (0.08, 3.0)  # of a dimension, in the cube's side; drawn on a log scale
NOISE = (1e-6, 0.1)  # variance, of scores with variance 1; on a log scale
WIDEST, SHRINK, NARROWEST = 1.0, 0.75, 0.01  # side of the trust region at first, after each point that is no better
SPREAD, NEAR = 1024, 256  # candidates all over the region; and about the best point, with these deviations in its side
DEVIATIONS = (1 / 8, 1 / 30)


def next_point(points: Sequence[Sequence[float]], scores: Sequence[float], starts: int) -> tuple[float, ...]:
    """The candidate of the most expected improvement, within a trust region about the best point.

    Expected improvement is Jones et al. 1998, eq. 15, averaged over length scales and noise by their marginal
    likelihood (Snoek et al. 2012, section 3.2). Scores count by their ranks, so that neither a huge loss nor a scale
    matters. The region shrinks with each point that is no better than all before, in the manner of Eriksson et al.
    2019: the best learning rate and momentum lie on a narrow ridge, which a search of the whole box comes near and
    does not climb.

    Args:
        points: in [0, 1]ᵈ, one at least.
        scores: the less the better; infinite where it diverged.
        starts: how many of the points were not chosen by this.
    """
    from threadpoolctl import threadpool_limits

    x, y = np.asarray(points, dtype=float), ranked(np.asarray(scores, dtype=float))
    candidates = _candidates(x[int(np.argmin(y))], _side(scores, starts))
    with threadpool_limits(1, "blas"):  # the matrices are small
        found = _expected(x, y, candidates)
    return tuple(map(float, candidates[int(np.argmax(found))]))


def _expected(x: Array, y: Array, candidates: Array) -> Array:
    """The expected improvement of each candidate, but for a factor."""
    apart = np.abs(x[:, None] - x[None])
    fits = sorted((_fit(apart, y, draw) for draw in _draws(x.shape[1])), key=lambda fit: -fit[0])[:KEPT]
    found = np.zeros(len(candidates))
    away = np.abs(candidates[:, None] - x[None])
    for likelihood, lengths, inverse in fits:
        across = _kernel(away, lengths)
        deviation = np.sqrt(np.maximum(1 - np.einsum("ij,ij->i", across @ inverse, across), 1e-12))
        found += np.exp(likelihood - fits[0][0]) * _improvement(across @ (inverse @ y), deviation, float(y.min()))
    return found


def _side(scores: Sequence[float], starts: int) -> float:
    """The side of the trust region behind these scores."""
    side = WIDEST
    for place in range(starts, len(scores)):
        if not scores[place] < min(scores[:place]):
            side = max(SHRINK * side, NARROWEST)
    return side


def ranked(scores: Array) -> Array:
    """Logarithms of ranks, with mean 0 and variance 1: the best few differ most, and infinite scores are alike."""
    from scipy.stats import rankdata

    found = np.log(rankdata(scores))
    deviation = found.std()
    return (found - found.mean()) / deviation if deviation > 0 else np.zeros_like(found)


def _kernel(apart: Array, lengths: Array) -> Array:
    """Matérn's with ν = 3/2, of distances (…, dimensions)."""
    r = np.sqrt(3 * ((apart / lengths) ** 2).sum(-1))
    return (1 + r) * np.exp(-r)


def _fit(apart: Array, y: Array, draw: Array) -> tuple[float, Array, Array]:
    """(log marginal likelihood, length scales, inverse of the covariance) of one draw."""
    lengths, noise = draw[:-1], draw[-1]
    lower = np.linalg.cholesky(_kernel(apart, lengths) + noise * np.eye(len(y)))
    half = np.linalg.solve(lower, np.column_stack([np.eye(len(y)), y]))
    likelihood = -0.5 * float(half[:, -1] @ half[:, -1]) - float(np.log(np.diag(lower)).sum())
    return likelihood, lengths, half[:, :-1].T @ half[:, :-1]


def _improvement(mean: Array, deviation: Array, best: float) -> Array:
    from scipy.special import ndtr

    z = (best - mean) / deviation
    return (best - mean) * ndtr(z) + deviation * np.exp(-0.5 * z**2) / np.sqrt(2 * np.pi)


@lru_cache(maxsize=8)
def _draws(dimensions: int) -> Array:
    """Length scales of each dimension, and the noise, evenly over their ranges."""
    ends = np.log([LENGTHS] * dimensions + [NOISE])
    return np.exp(ends[:, 0] + _spread(dimensions + 1, DRAWS) * (ends[:, 1] - ends[:, 0]))


def _candidates(best: Array, side: float) -> Array:
    """Points all over a box about the best point, and nearer to it."""
    from scipy.special import ndtri

    low, high = np.clip(best - side / 2, 0, 1), np.clip(best + side / 2, 0, 1)
    steps = ndtri(_spread(len(best), NEAR))
    near = [np.clip(best + deviation * side * steps, 0, 1) for deviation in DEVIATIONS]
    return np.concatenate([low + _spread(len(best), SPREAD) * (high - low), *near])


@lru_cache(maxsize=16)
def _spread(dimensions: int, count: int) -> Array:
    """A Halton sequence without its corner."""
    from scipy.stats.qmc import Halton

    return np.asarray(Halton(dimensions, scramble=False).random(count + 1)[1:])
