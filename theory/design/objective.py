"""The worst rate of a linear pipeline over a spectrum, for many hyper-parameters at once."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import Any

import numpy as np
import sympy

from edsl.errors import EdslError
from edsl.language.pipeline import Pipeline
from edsl.theory.stability.conditions import PLAIN, Gradients
from edsl.theory.systems.linearise import CURVATURE, LinearSystem, NotLinear, linearise
from edsl.theory.systems.state_space import LONGEST_PERIOD

_MOST_SQUARED = 8  # states of which second moments are taken
_DIVERGES = 1e6
_SURE = 2000  # curvatures on the grid of what is reported


@dataclass(frozen=True)
class Phase:
    """Some equal steps of a period, one after another.

    Attributes:
        system: their recurrence. steps: how many.
    """

    system: LinearSystem
    steps: int


@dataclass(frozen=True)
class Objective:
    """max over h in [low, high] of the rate of a step: |eigenvalue|, or √ of the growth of E‖x‖² with noise.

    Of a pipeline that acts every n steps the eigenvalues are those of all n together, and a step's rate their nth root.

    Attributes:
        free: hyper-parameters that vary, by their keys; all others keep the pipeline's values.
        spectrum: (low, high), 0 < low ≤ high.
    """

    pipeline: Pipeline
    free: tuple[str, ...]
    spectrum: tuple[float, float]
    gradients: Gradients = PLAIN

    @cached_property
    def phases(self) -> tuple[Phase, ...]:
        return phases(self.pipeline)

    @cached_property
    def period(self) -> int:
        return sum(phase.steps for phase in self.phases)

    @cached_property
    def _entries(self) -> list[tuple[list[Any], list[Any]]]:
        """A at h = 0 and its slope in h of every phase, entry by entry, as functions of the free values."""
        size = len(self.phases[0].system.states) + self.gradients.delay
        if self.gradients.noise and size > _MOST_SQUARED:
            raise EdslError(f"batch noise is designed for up to {_MOST_SQUARED} buffers, those of the delay included")
        symbols = [sympy.Symbol(name) for name in self.free]
        found = []
        for phase in self.phases:
            values = phase.system.values.items()
            A = phase.system.A.subs({symbol: value for symbol, value in values if str(symbol) not in self.free})
            parts = (A.subs(CURVATURE, 0), A.diff(CURVATURE))
            free, slope = ([sympy.lambdify(symbols, entry, "numpy") for entry in part] for part in parts)
            found.append((free, slope))
        return found

    def matrices(self, values: Any) -> Iterator[tuple[Any, Any]]:
        """(A at h = 0, its slope) of each phase for (P, free) values; shapes (P, n, n), past θ's behind the states."""
        columns = list(np.asarray(values, dtype=float).T)
        count, delay, inner = len(values), self.gradients.delay, len(self.phases[0].system.states)
        for entries in self._entries:
            found = []
            for part in entries:
                filled = [np.broadcast_to(np.asarray(entry(*columns), dtype=float), count) for entry in part]
                found.append(np.stack(filled, axis=-1).reshape(count, inner, inner))
            if not delay:
                yield found[0], found[1]
                continue
            A, S = (np.zeros((count, inner + delay, inner + delay)) for _ in range(2))
            A[:, :inner, :inner] = found[0]
            S[:, :inner, -1] = found[1][:, :, 0]  # the gradient is of θ, the first state, as it was
            for past in range(delay):
                A[:, inner + past, 0 if past == 0 else inner + past - 1] = 1
            yield A, S

    def polynomials(self, values: Any, unit: Any) -> tuple[Any, Any]:
        """free and gain of det(zI − A(h)) = free + (h/unit) · gain for (P, free) values, the constant first.

        Raises:
            NotLinear: for a stage that acts every few steps, by name.
        """
        linearise(self.pipeline)  # refuses what acts every few steps
        ((A, S),) = self.matrices(values)
        free = _characteristic(A)
        return free, _characteristic(A + np.asarray(unit).reshape(-1, 1, 1) * S) - free

    def rates(self, values: Any, curvatures: Any) -> Any:
        """The rate for (P, free) values at each curvature; shape (P, curvatures)."""
        h = np.asarray(curvatures, dtype=float).reshape(1, -1, 1, 1)
        total: Any = None
        with np.errstate(all="ignore"):
            for phase, parts in zip(self.phases, self.matrices(values)):
                A, S = (part[:, None] for part in parts)
                now = A + h * S
                if self.gradients.noise:
                    now = _squared(now) + (self.gradients.noise * h) ** 2 * _squared(S)
                now = np.linalg.matrix_power(now, phase.steps) if phase.steps > 1 else now
                total = now if total is None else now @ total
            good = np.isfinite(total).all(axis=(-1, -2))
            found = np.abs(np.linalg.eigvals(np.where(good[..., None, None], total, 0.0))).max(axis=-1)
        found = np.where(good, found, _DIVERGES)
        roots = self.period * (2 if self.gradients.noise else 1)
        return found ** (1 / roots) if roots > 1 else found

    def worst(self, values: Any, points: int) -> Any:
        """The largest rate over a log grid of the spectrum; shape (P,)."""
        return self.rates(values, self.grid(points)).max(axis=-1)

    def grid(self, points: int) -> Any:
        return np.geomspace(*self.spectrum, points)

    def settled(self, values: dict[str, float]) -> tuple[float, float | None]:
        """(the worst rate of one choice of values, the curvature where it is) on 2,000 curvatures."""
        grid = self.grid(_SURE)
        rates = self.rates(np.array([[values[name] for name in self.free]]), grid)[0]
        return float(rates.max()), float(grid[rates.argmax()])


def phases(pipeline: Pipeline) -> tuple[Phase, ...]:
    """The steps of one period of a pipeline, equal neighbours together.

    Raises:
        NotLinear: for a stage that has no linear model, by name, and for a period that is too long.
    """
    last = linearise(pipeline, 0)
    period = math.lcm(*last.periods)
    if period > LONGEST_PERIOD:
        raise NotLinear(f"a period of {period} steps is not analysed: at most {LONGEST_PERIOD}")
    acting = [frozenset(n for n in last.periods if k % n == 0) for k in range(1, period + 1)]
    steps = dict(zip(acting, range(1, period + 1)))  # one step of each kind
    return tuple(Phase(linearise(pipeline, steps[kind]), len([*same])) for kind, same in groupby(acting))


def _squared(matrices: Any) -> Any:
    """A ⊗ A of each."""
    size = matrices.shape[-1]
    pair = np.einsum("phij,phkl->phikjl", matrices, matrices)
    return pair.reshape(*matrices.shape[:2], size**2, size**2)


def _characteristic(matrices: Any) -> Any:
    """det(zI − A) of many matrices, the constant first, by Faddeev and LeVerrier."""
    size = matrices.shape[-1]
    one = np.broadcast_to(np.eye(size), matrices.shape)
    coefficients = [np.ones(len(matrices))]
    M = one
    for k in range(1, size + 1):
        AM = matrices @ M
        coefficients.append(-np.trace(AM, axis1=-2, axis2=-1) / k)
        M = AM + coefficients[-1][:, None, None] * one
    return np.stack(coefficients[::-1], axis=-1)
