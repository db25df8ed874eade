"""The worst rate of a linear pipeline over a spectrum, for many hyper-parameters at once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import sympy

from edsl.errors import EdslError
from edsl.language.pipeline import Pipeline
from edsl.theory.stability.conditions import PLAIN, Gradients
from edsl.theory.systems.linearise import CURVATURE, linearise

_MOST_SQUARED = 8  # states of which second moments are taken
_DIVERGES = 1e6


@dataclass(frozen=True)
class Objective:
    """max over h in [low, high] of the rate of a step: |eigenvalue|, or √ of the growth of E‖x‖² with noise.

    Attributes:
        free: hyper-parameters that vary, by their keys; all others keep the pipeline's values.
        spectrum: (low, high), 0 < low ≤ high.
    """

    pipeline: Pipeline
    free: tuple[str, ...]
    spectrum: tuple[float, float]
    gradients: Gradients = PLAIN

    @cached_property
    def _entries(self) -> tuple[int, list[Any], list[Any]]:
        """The number of states; A at h = 0 and its slope in h, entry by entry, as functions of the free values."""
        system = linearise(self.pipeline)
        numbers = {symbol: value for symbol, value in system.values.items() if str(symbol) not in self.free}
        A = system.A.subs(numbers)
        symbols = [sympy.Symbol(name) for name in self.free]
        parts = (A.subs(CURVATURE, 0), A.diff(CURVATURE))
        free, slope = ([sympy.lambdify(symbols, entry, "numpy") for entry in part] for part in parts)
        size = len(system.states) + self.gradients.delay
        if self.gradients.noise and size > _MOST_SQUARED:
            raise EdslError(f"batch noise is designed for up to {_MOST_SQUARED} buffers, those of the delay included")
        return len(system.states), free, slope

    def matrices(self, values: Any) -> tuple[Any, Any]:
        """(A at h = 0, its slope) for (P, free) values; shapes (P, n, n), with past θ's behind the states."""
        inner, free, slope = self._entries
        columns = list(np.asarray(values, dtype=float).T)
        count, delay = len(values), self.gradients.delay
        found = []
        for part in (free, slope):
            filled = [np.broadcast_to(np.asarray(entry(*columns), dtype=float), count) for entry in part]
            found.append(np.stack(filled, axis=-1).reshape(count, inner, inner))
        if not delay:
            return found[0], found[1]
        A, S = (np.zeros((count, inner + delay, inner + delay)) for _ in range(2))
        A[:, :inner, :inner] = found[0]
        S[:, :inner, -1] = found[1][:, :, 0]  # the gradient is of θ, the first state, as it was
        for past in range(delay):
            A[:, inner + past, 0 if past == 0 else inner + past - 1] = 1
        return A, S

    def rates(self, values: Any, curvatures: Any) -> Any:
        """The rate for (P, free) values at each curvature; shape (P, curvatures)."""
        A, S = (part[:, None] for part in self.matrices(values))
        h = np.asarray(curvatures, dtype=float).reshape(1, -1, 1, 1)
        now = A + h * S
        with np.errstate(all="ignore"):
            if self.gradients.noise:
                size = now.shape[-1]
                squared = (*now.shape[:2], size**2, size**2)
                pair = np.einsum("phij,phkl->phikjl", now, now).reshape(squared)
                own = np.einsum("pqij,pqkl->pqikjl", S, S).reshape(len(S), 1, size**2, size**2)
                now = pair + (self.gradients.noise * h) ** 2 * own
            good = np.isfinite(now).all(axis=(-1, -2))
            found = np.abs(np.linalg.eigvals(np.where(good[..., None, None], now, 0.0))).max(axis=-1)
        found = np.where(good, found, _DIVERGES)
        return np.sqrt(found) if self.gradients.noise else found

    def worst(self, values: Any, points: int) -> Any:
        """The largest rate over a log grid of the spectrum; shape (P,)."""
        return self.rates(values, self.grid(points)).max(axis=-1)

    def grid(self, points: int) -> Any:
        return np.geomspace(*self.spectrum, points)
