"""Pipelines that do something every few steps, on f = hθ²/2: the monodromy matrix of one period.

Over n steps θ and the buffers are mapped by M = A_n(h) … A₁(h), each Aₖ(h) = Aₖ + h Bₖ e_θᵀ. The pipeline
converges if M's eigenvalues lie inside the unit circle; a step's rate is |λ|^{1/n}. With curvature drawn
anew at each step, E[x xᵀ] is mapped by the product of Aₖ(h)⊗Aₖ(h) + (c h)² (Bₖ e_θᵀ)⊗(Bₖ e_θᵀ).

In floats: a scan of 600 curvatures on a log grid, then bisection.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from edsl.errors import EdslError
from edsl.theory.stability.intervals import Interval
from edsl.theory.systems.state_space import StateSpace

_LEAST, _MOST, _SCAN, _HALVINGS = 1e-6, 1e9, 600, 50
_MOST_SQUARED = 20  # states of which second moments are taken
_AT_ZERO = 1e-9  # how far from 1 an eigenvalue may be that stands for θ itself at h = 0


@dataclass(frozen=True)
class Periodic:
    """The steps of one period, with gradients that are some steps old.

    Attributes:
        phases: the recurrence of each step, in order.
        delay: how many steps ago the θ was that gradients are of.
        c: the curvature's relative deviation; 0 for none.
    """

    phases: tuple[StateSpace, ...]
    delay: int = 0
    c: float = 0.0

    def __post_init__(self) -> None:
        if self.c and len(self.phases[0].A) + self.delay > _MOST_SQUARED:
            raise EdslError(
                f"batch noise with a period is analysed up to {_MOST_SQUARED} buffers, those of the delay included"
            )

    @cached_property
    def _matrices(self) -> tuple[Any, Any]:
        """(A, B e_θᵀ) of every phase, with past θ's behind the states."""
        size = len(self.phases[0].A) + self.delay
        free, slope = (np.zeros((len(self.phases), size, size)) for _ in range(2))
        for number, phase in enumerate(self.phases):
            inner = size - self.delay
            free[number, :inner, :inner] = np.array(phase.A, dtype=float)
            slope[number, :inner, size - 1 if self.delay else 0] = np.array(phase.B, dtype=float)
            for past in range(self.delay):
                free[number, inner + past, 0 if past == 0 else inner + past - 1] = 1
        return free, slope

    def monodromy(self, h: Any) -> Any:
        """M for each curvature, of second moments where c is above 0."""
        h = np.asarray(h, dtype=float).reshape(-1, 1, 1)
        free, slope = self._matrices
        total: Any = None
        for A, S in zip(free, slope):
            now = A + h * S
            if self.c:
                size = len(A)
                pair = np.einsum("nij,nkl->nikjl", now, now).reshape(len(h), size**2, size**2)
                now = pair + (self.c * h) ** 2 * np.kron(S, S)
            total = now if total is None else now @ total
        return total

    def eigenvalues(self, h: Any) -> Any:
        return np.linalg.eigvals(self.monodromy(h))

    def radius(self, h: float) -> float:
        """The rate of one step: of ‖x‖, or of √E‖x‖² where c is above 0."""
        largest = float(np.abs(self.eigenvalues(h)).max())
        return largest ** (1 / ((2 if self.c else 1) * len(self.phases)))

    def intervals(self, unit: float) -> list[Interval]:
        """The curvatures on which it converges, in order, scanned from 10⁻⁶ to 10⁹ times a unit on both sides of 0."""
        grid = unit * np.geomspace(_LEAST, _MOST, _SCAN)
        places = np.concatenate([-grid[::-1], grid])
        with np.errstate(all="ignore"):
            good = np.abs(self.eigenvalues(places)).max(axis=-1) < 1
        found, ends = list[Interval](), list[tuple[float, str]]()
        for i in range(len(places) - 1):
            if good[i] != good[i + 1]:
                ends.append(self._edge(places[i], places[i + 1]))
        if good[0]:
            ends.insert(0, (-math.inf, "none"))
        if good[-1]:
            ends.append((math.inf, "none"))
        for (low, _), (high, kind) in zip(ends[::2], ends[1::2]):
            found.append(Interval(low, high, kind))
        return found

    def _edge(self, first: float, second: float) -> tuple[float, str]:
        if first < 0 < second:
            return 0.0, "fold"
        good, bad = map(float, (first, second) if self._holds(first) else (second, first))
        for _ in range(_HALVINGS):
            middle = (good + bad) / 2
            good, bad = (middle, bad) if self._holds(middle) else (good, middle)
        return good, self._kind(bad)

    def _holds(self, h: float) -> bool:
        return bool(np.abs(self.eigenvalues(h)).max() < 1)

    def _kind(self, h: float) -> str:
        if self.c:
            means = Periodic(self.phases, self.delay)
            return "noise" if means._holds(h) else means._kind(h)
        values = self.eigenvalues(h)[0]
        leaving = values[np.abs(values).argmax()]
        if abs(leaving.imag) > _AT_ZERO * abs(leaving):
            return "hopf"
        return "fold" if leaving.real > 0 else "flip"
