"""The weighted off-by-one condition for many pipelines at once, on a grid of angles and in floats.

For maps, and for searches, whose end `certificates.certificate` then shows in exact arithmetic.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

_LEAST = 1e-5  # the least angle
_PRECISE = 3e-7  # to which share of its range a rate is found
_FEW = 8  # pipelines, for which cells of a search are tried at once
_MOST = 3.0  # times the radius on quadratics: beyond, no rate is looked for


def angles(points: int) -> Any:
    """Angles in powers from the least on, and as many evenly spaced."""
    return np.concatenate([np.geomspace(_LEAST, np.pi, points), np.linspace(np.pi / points, np.pi, points)])


def are_certified(free: Any, gain: Any, condition: float, radius: Any, omega: Any) -> Any:
    """Whether some λ in [0, ρ] meets the condition on |z| = ρ at all angles, for every pipeline.

    That the loop with the gain m lies inside that circle is another condition: `lie_inside`.

    Args:
        free, gain: of the loop free + h · gain in units in which L is 1, the constant first, (P, degree + 1).
        radius: ρ, (P,).
    """
    turns = np.exp(1j * omega)
    powers = turns[None, :] ** np.arange(free.shape[1])[:, None]
    free, gain = (on_circles(part, radius) @ powers for part in (free, gain))
    product = np.conj(free + gain / condition) * (free + gain)
    a, b = product.real, (product * np.conj(turns)).real
    with np.errstate(divide="ignore", invalid="ignore"):
        bound = a / b
    high = np.where(b > 0, bound, np.inf).min(axis=1)
    low = np.where(b < 0, bound, -np.inf).max(axis=1)
    return np.maximum(low, 0) < np.minimum(high, radius) - 1e-12


def rates(free: Any, gain: Any, condition: float, radius: Any, omega: Any) -> Any:
    """The smallest ρ that the condition gives, for every pipeline; above 1 where none below it is given.

    A ρ above 1 tells a search how far a pipeline is from being certified, and nothing else.

    Args:
        radius: what the quadratics of curvatures L/κ and L allow, below which no ρ is, (P,).
    """
    count = len(free)
    low, high = np.asarray(radius, dtype=float), np.maximum(np.asarray(radius, dtype=float), 1.0) * _MOST
    below_one = low < 1
    below_one[below_one] = are_certified(free[below_one], gain[below_one], condition, np.ones(below_one.sum()), omega)
    low, high = np.where(below_one, low, np.maximum(low, 1.0)), np.where(below_one, 1.0, high)
    cells = 12 if count <= _FEW else 2
    shares = np.arange(1, cells) / cells
    frees, gains = (np.repeat(part, cells - 1, axis=0) for part in (free, gain))
    for _ in range(math.ceil(math.log(_PRECISE) / -math.log(cells))):
        tried = low[:, None] + (high - low)[:, None] * shares
        good = are_certified(frees, gains, condition, tried.ravel(), omega).reshape(tried.shape)
        ends = np.column_stack([low, tried, high])
        holds = np.logical_and.accumulate(good[:, ::-1], axis=1).sum(axis=1)  # of the tried, from the highest down
        first = cells - holds
        low, high = ends[np.arange(count), first - 1], ends[np.arange(count), first]
    return high


def lie_inside(polynomials: Any) -> Any:
    """Whether all roots lie inside the unit circle, by Schur and Cohn's recursion; (P, degree + 1) → (P,)."""
    a, good = polynomials, np.ones(len(polynomials), dtype=bool)
    with np.errstate(all="ignore"):
        while a.shape[1] > 1:
            ratio = a[:, 0] / a[:, -1]
            good &= np.abs(ratio) < 1
            a = (a - ratio[:, None] * a[:, ::-1])[:, 1:] / a[:, -1:]
    return good


def on_circles(polynomials: Any, radius: Any) -> Any:
    """The polynomials whose values on the unit circle are these ones' on the circles of these radii."""
    return polynomials * np.asarray(radius)[:, None] ** np.arange(polynomials.shape[1])
