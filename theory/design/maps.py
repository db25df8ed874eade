"""What is stable, certified or fast over a plane of two hyper-parameters, for all points at once and in floats.

The eigenvalues at curvature h are the roots of free(z) + h · gain(z); both polynomials are made for every point,
and the conditions of `stability.batches` and `certificates.many` are evaluated on them together.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from edsl.language.pipeline import Pipeline
from edsl.theory.certificates.many import angles, are_certified, lie_inside
from edsl.theory.design.objective import Objective
from edsl.theory.stability.conditions import PLAIN, Gradients, check_condition, check_spectrum
from edsl.theory.systems.polynomial import power_gain

_LEAST, _MOST, _SCAN, _HALVINGS = 1e-6, 1e6, 150, 30  # of lr times curvature
_COARSE, _FEW, _ANGLES = 45, 12, 160  # the scan, the halvings and the angles of certificates, which take longer


@dataclass(frozen=True)
class Plane:
    """A pipeline over two of its hyper-parameters.

    Attributes:
        names: of the two. x, y: their values; what is returned has the shape (len(y), len(x)).
    """

    pipeline: Pipeline
    names: tuple[str, str]
    x: Any
    y: Any
    gradients: Gradients = PLAIN

    @cached_property
    def _points(self) -> Any:
        return np.stack([part.ravel() for part in np.meshgrid(self.x, self.y)], axis=-1)

    @cached_property
    def _lr(self) -> Any:
        """lr at every point, 1 for pipelines without."""
        columns = dict(zip(self.names, self._points.T))
        return columns.get("lr", np.full(len(self._points), float(self.pipeline.hyperparameters.get("lr", 1.0))))

    @cached_property
    def _polynomials(self) -> tuple[Any, Any]:
        """free and gain of every point, in units of lr · h, the constant first, (points, degree + 1)."""
        objective = Objective(self.pipeline, self.names, (1.0, 1.0), self.gradients)
        return objective.polynomials(self._points, 1 / np.where(self._lr > 0, self._lr, 1.0))

    def sharpness(self) -> Any:
        """The largest s = lr · h up to which it is stable, in mean square where there is noise; 0 for none."""
        return self._largest(self._is_stable)

    def certified(self, condition: float) -> Any:
        """The largest s = lr · L up to which a grid of angles certifies functions of a condition; 0 for none."""
        check_condition(condition)
        free, gain = self._polynomials
        omega = angles(_ANGLES)

        def holds(s: Any, rows: Any) -> Any:
            if not len(rows):
                return np.zeros(0, dtype=bool)
            good = self._is_stable(s, rows)
            rows, left = rows[good], s[good]
            parts = np.array_split(np.arange(len(rows)), max(1, len(rows) // 400))
            found = [
                are_certified(free[rows[i]], left[i, None] * gain[rows[i]], condition, np.ones(len(i)), omega)
                for i in parts
            ]
            good[good] = np.concatenate(found)
            return good

        return self._largest(holds, _COARSE, _FEW)

    def rate(self, spectrum: tuple[float, float], points: int = 48) -> Any:
        """The worst rate over a spectrum."""
        check_spectrum(spectrum)
        objective = Objective(self.pipeline, self.names, spectrum, self.gradients)
        return objective.worst(self._points, points).reshape(len(self.y), len(self.x))

    def _is_stable(self, s: Any, rows: Any) -> Any:
        free, gain = self._polynomials
        free, gain = free[rows], gain[rows]
        closed = free + s[:, None] * gain
        good = lie_inside(closed)
        if self.gradients.noise:
            with np.errstate(all="ignore"):
                noise = (self.gradients.noise * s) ** 2 * np.asarray(power_gain(list(gain.T), list(closed.T)))
            good &= noise < 1
        return good

    def _largest(self, holds: Callable[[Any, Any], Any], scan: int = _SCAN, halvings: int = _HALVINGS) -> Any:
        """The s of the first failure of a condition on a log grid, sharpened by bisection."""
        count = len(self._points)
        low, high = np.zeros(count), np.full(count, np.inf)
        going = np.arange(count)
        for s in np.geomspace(_LEAST, _MOST, scan):
            good = holds(np.full(len(going), s), going)
            high[going[~good]] = s
            going = going[good]
            low[going] = s
            if not len(going):
                break
        bounded = np.nonzero(np.isfinite(high) & (low > 0))[0]
        for _ in range(halvings):
            middle = np.sqrt(low[bounded] * high[bounded])
            good = holds(middle, bounded)
            low[bounded[good]], high[bounded[~good]] = middle[good], middle[~good]
        return np.where(np.isinf(high), np.inf, low).reshape(len(self.y), len(self.x))
