"""Stability over a plane of two hyper-parameters, computed for all points at once."""

from __future__ import annotations

from typing import Any

import numpy as np
import sympy

from edsl.theory.stability.intervals import schur_conditions, spectral_radius
from edsl.theory.systems.linearise import CURVATURE, LinearSystem

LEAST, MOST, SCAN = 1e-6, 1e9, 160  # values of lr · curvature that are checked, on a log grid
HALVINGS = 40


def with_free(system: LinearSystem, free: tuple[str, str], **values: Any) -> LinearSystem:
    """The system with all numbers put in but those of two hyper-parameters."""
    own = {str(symbol): value for symbol, value in system.values.items() if str(symbol) not in free}
    bare = LinearSystem(system.states, system.A, system.B, {}, system.notes)
    return bare.at(**{**own, **values})


def radius_map(system: LinearSystem, free: tuple[str, str], x: Any, y: Any, h: float) -> Any:
    """The spectral radius at curvature h, for every (x, y); shape (len(y), len(x))."""
    numbers = with_free(system, free, h=h)
    return spectral_radius(numbers, [sympy.Symbol(name) for name in free])(*np.meshgrid(x, y))


def sharpness_map(system: LinearSystem, free: tuple[str, str], x: Any, y: Any) -> Any:
    """The largest stable curvature for every (x, y): 0 where none is, ∞ where none is too large.

    The Schur conditions are evaluated on a log grid of lr · curvature; the first that fails is
    sharpened by bisection.
    """
    symbols = [*(sympy.Symbol(name) for name in free), CURVATURE]
    conditions = sympy.lambdify(symbols, schur_conditions(with_free(system, free)), "numpy", cse=True)
    grid = np.meshgrid(np.asarray(x, dtype=float), np.asarray(y, dtype=float))
    lr = step_sizes(system, free, x, y)
    unit = 1 / np.where(lr > 0, lr, 1.0)

    def stable(s: Any) -> Any:
        values = (np.broadcast_to(value, grid[0].shape) for value in conditions(*grid, s * unit))
        return np.logical_and.reduce([value > 0 for value in values])

    low, high = np.zeros_like(grid[0]), np.full_like(grid[0], np.inf)
    open_still = np.ones(grid[0].shape, dtype=bool)
    for s in np.geomspace(LEAST, MOST, SCAN):
        fails = open_still & ~stable(s)
        high[fails] = s
        open_still &= ~fails
        low[open_still] = s
        if not open_still.any():
            break
    bounded = np.isfinite(high) & (low > 0)
    for _ in range(HALVINGS):
        middle = np.where(bounded, np.sqrt(np.maximum(low, LEAST) * np.where(bounded, high, 1)), 1.0)
        good = stable(middle)
        low = np.where(bounded & good, middle, low)
        high = np.where(bounded & ~good, middle, high)
    return np.where(np.isinf(high), np.inf, low * unit)


def step_sizes(system: LinearSystem, free: tuple[str, str], x: Any, y: Any) -> Any:
    """lr for every (x, y): an axis's own where lr is one, the pipeline's elsewhere, 1 where it has none."""
    grid = dict(zip(free, np.meshgrid(np.asarray(x, dtype=float), np.asarray(y, dtype=float))))
    own = float(system.values.get(sympy.Symbol("lr"), 1.0))
    return grid.get("lr", np.full_like(grid[free[0]], own))
