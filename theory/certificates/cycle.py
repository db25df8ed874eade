"""Functions on which a pipeline never converges: regular polygons that it walks round for ever.

On f = (m/2)‖x‖² + ((L−m)/2)·dist²(x, P), P a regular K-gon around 0, the gradient at x is m x + (L−m)(x − p),
p the point of P nearest to x. A pipeline θ = −G ∇f(θ) stays on θ_k = e^{iωk}, ω = 2πp/K, if its gradients
there are c θ_k with c = −1/G(e^{iω}), that is, if the nearest point to θ_k is the vertex θ_k (L−c)/(L−m), or

    |arg[(c−m)* (L−c)]| ≤ π/K   ⇔   L²/κ − L [(1+1/κ) Re c − (1−1/κ) |Im c| cot(π/K)] + |c|² ≤ 0.

So each K and p has an interval of L. Inside it, ∇f is affine around the cycle with the Hessian L as far as
points keep their vertices: up to |c−m| sin(π/K − |arg|)/(L−m) from the cycle. So the cycle attracts if the
pipeline is stable at the curvature L, and starts 1 % beside it that never leave that distance end on it.

Source: Goujaud, Taylor and Dieuleveut 2023 (arXiv 2307.11291), Theorem 3.5.
"""

from __future__ import annotations

import cmath
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np

from edsl.theory.systems.loop import Loop
from edsl.theory.systems.state_space import StateSpace

PUSH = 0.01  # of θ and the memory, for whether a cycle attracts
_LONG, _GONE = 20_000, 1e-3
LONGEST = 60  # K up to which cycles are looked for


@dataclass(frozen=True)
class Cycle:
    """One walk round a polygon, and the function on which it lasts.

    Attributes:
        period: K. turns: p, the rounds around 0 in one period.
        curvature: L; condition: κ = L/m.
        gradient: c, what θ is multiplied by to give ∇f(θ) on the cycle.
        attracts: whether it is shown that θ and the memory, pushed by 1 %, come back to it.
    """

    period: int
    turns: int
    curvature: float
    condition: float
    gradient: complex
    attracts: bool

    @property
    def step(self) -> complex:
        """e^{iω}, from one point of the cycle to the next."""
        return cmath.exp(2j * math.pi * self.turns / self.period)

    @property
    def points(self) -> Any:
        """θ₀ … θ_{K−1} as complex numbers."""
        return np.array(
            [cmath.exp(2j * math.pi * (self.turns * k % self.period) / self.period) for k in range(self.period)]
        )

    @property
    def vertex(self) -> complex:
        """The vertex of the polygon that is nearest to θ = 1."""
        L = self.curvature
        return (L - self.gradient) / (L - L / self.condition)

    @property
    def reach(self) -> float:
        """How far from the cycle points keep the vertices that the cycle's have."""
        m, L = self.curvature / self.condition, self.curvature
        angle = abs(cmath.phase((self.gradient - m).conjugate() * (L - self.gradient)))
        return abs(self.gradient - m) / (L - m) * math.sin(max(0.0, math.pi / self.period - angle))

    def gradient_at(self, x: complex) -> complex:
        """∇f, of a point of the plane as a complex number."""
        m = self.curvature / self.condition
        return m * x + (self.curvature - m) * (x - self._nearest(x))

    def value_at(self, x: complex) -> float:
        """f."""
        m = self.curvature / self.condition
        return (m * abs(x) ** 2 + (self.curvature - m) * abs(x - self._nearest(x)) ** 2) / 2

    def _nearest(self, x: complex) -> complex:
        """The point of the polygon, with its inside, nearest to x."""
        turn = cmath.exp(2j * math.pi / self.period)
        sector = round(cmath.phase(x / self.vertex) / (2 * math.pi / self.period)) if x else 0
        corner = self.vertex * turn**sector
        found = x
        for end in (corner * turn, corner / turn):  # the sides that meet in the nearest corner
            side = end - corner
            outward = -1j * side if (-1j * side * corner.conjugate()).real > 0 else 1j * side
            if ((x - corner) * outward.conjugate()).real > 0:
                share = ((x - corner) * side.conjugate()).real / abs(side) ** 2
                found = corner + min(1.0, max(0.0, share)) * side
                if share > 0:
                    return found
        return found

    def memory(self, system: StateSpace) -> dict[str, complex]:
        """The state with which the pipeline is on the cycle, θ = 1 first: (e^{iω}I − A)⁻¹ B c."""
        A, B = np.array(system.A, dtype=float), np.array(system.B, dtype=float)
        state = np.linalg.solve(self.step * np.eye(len(A)) - A, B * self.gradient)
        return dict(zip(system.names, state))


def first_cycle(loop: Loop, condition: float) -> Cycle | None:
    """The cycle at the smallest L, of all with K up to 60; None where there is none."""
    found = [(low, period, turns, c) for period, turns, c, low, _ in _intervals(loop, condition)]
    if not found:
        return None
    low, period, turns, c = min(found, key=lambda one: one[:3])
    return Cycle(period, turns, low, condition, c, attracts=False)  # its points are at the edge of their vertices


def cycle_at(loop: Loop, system: StateSpace, condition: float, L: float) -> Cycle | None:
    """The cycle at one L whose points lie deepest in the cones of their vertices; None where there is none."""
    here = [(period, turns, c) for period, turns, c, low, high in _intervals(loop, condition) if low <= L <= high]
    if not here:
        return None
    cycles = [Cycle(period, turns, L, condition, c, attracts=False) for period, turns, c in here]
    deepest = max(cycles, key=lambda cycle: cycle.reach)
    return replace(deepest, attracts=loop.is_stable(Fraction(L)) and _comes_back(deepest, system))


def _comes_back(cycle: Cycle, system: StateSpace) -> bool:
    """Whether a push by 1 % decays without leaving the cones of the vertices, within which all is linear."""
    A, B = np.array(system.A, dtype=float), np.array(system.B, dtype=float)
    A[:, 0] += cycle.curvature * B
    off = PUSH * np.array([cycle.memory(system)[name] for name in system.names])
    for _ in range(_LONG):
        if abs(off[0]) >= cycle.reach:
            return False
        if np.abs(off).max() < _GONE * cycle.reach:
            return True
        off = A @ off
    return False


def _intervals(loop: Loop, condition: float) -> Iterator[tuple[int, int, complex, float, float]]:
    """(K, p, c, the least and the greatest L) of every cycle."""
    free, gain = ([float(x) for x in reversed(part)] for part in (loop.minimal.free, loop.minimal.gain))
    r = 1 / condition
    for period in range(2, LONGEST + 1):
        cotangent = 0.0 if period == 2 else 1 / math.tan(math.pi / period)
        for turns in range(1, period // 2 + 1):
            if math.gcd(turns, period) > 1:
                continue
            z = cmath.exp(2j * math.pi * turns / period) if period > 2 else -1.0 + 0j
            reached = np.polyval(gain, z)
            if reached == 0:
                continue
            c = complex(-np.polyval(free, z) / reached)
            half = ((1 + r) * c.real - (1 - r) * abs(c.imag) * cotangent) / 2
            square = half**2 - r * abs(c) ** 2
            if half > 0 and square >= 0:
                high = (half + math.sqrt(square)) / r
                yield period, turns, c, abs(c) ** 2 / (r * high), high
