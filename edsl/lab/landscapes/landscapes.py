"""Functions of one or two numbers whose valleys or minima can be counted and drawn."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import torch
from torch import Tensor

from edsl.errors import EdslError, nearest, shown

STEPS = 4000  # of a walk, in float64
_FAR = 1e100  # from where on squares of distances are not to be had


@dataclass(frozen=True)
class Valley:
    """A curve in the plane, sampled.

    Attributes:
        points: (M, 2), neighbours close together; of a closed curve the last is the first.
        arcs: (M,), the length along the curve at each of them.
    """

    points: np.ndarray
    arcs: np.ndarray
    closed: bool

    @property
    def length(self) -> float:
        return float(self.arcs[-1] - self.arcs[0])

    @cached_property
    def _tree(self):
        from scipy.spatial import KDTree

        return KDTree(self.points)

    def arc_of(self, points: np.ndarray) -> np.ndarray:
        """The arc coordinate of the valley's point nearest to each of (…, 2) points; NaN where that is too far."""
        flat = points.reshape(-1, 2)
        finite = (np.abs(flat) < _FAR).all(1)
        found = np.full(len(flat), np.nan)
        place = self._tree.query(flat[finite])[1]
        low, high = np.maximum(place - 1, 0), np.minimum(place + 1, len(self.points) - 1)
        chord = self.points[high] - self.points[low]
        along = ((flat[finite] - self.points[place]) * chord).sum(1) / np.linalg.norm(chord, axis=1)
        found[finite] = np.clip(self.arcs[place] + along, self.arcs[low], self.arcs[high])
        return found.reshape(points.shape[:-1])


def sampled(points: np.ndarray, closed: bool, start: float) -> Valley:
    """The valley through these points, whose arc coordinate is `start` at the first: lengths of chords, summed."""
    lengths = np.linalg.norm(np.diff(points, axis=0), axis=1)
    return Valley(points, start + np.concatenate([[0.0], np.cumsum(lengths)]), closed)


@dataclass(frozen=True)
class Landscape:
    """A function to walk on.

    Attributes:
        function: points (…, d) → values (…), differentiable.
        box: (low, high) of each dimension: where it is drawn, and for Rosenbrock where walks start.
        draw: (n, generator) → n starts (n, d) in float64.
        level: a point is on the valley, or at a minimum, when its loss is below this.
        valley: the curve along which the loss is least, or None in one dimension.
        arc: (…, d) → arc coordinate of a point on the valley (…), as figures are quoted.
        range: in one dimension, where minima are looked for; further out a walk has left.
        optimum: the least loss, where it is known.
    """

    name: str
    about: str
    formula: str
    function: Callable[[Tensor], Tensor]
    box: tuple[tuple[float, float], ...]
    draw: Callable[[int, torch.Generator], Tensor]
    level: float = math.inf
    valley: Callable[[], Valley] | None = None
    arc: Callable[[Tensor], Tensor] | None = None
    range: tuple[float, float] = (-math.inf, math.inf)
    optimum: float | None = None

    @property
    def dimension(self) -> int:
        return len(self.box)

    def starts(self, n: int, seed: int = 0) -> Tensor:
        """n seeded starts, (n, d) in float64; those of a smaller n are the first of a larger one's."""
        rows = [self.draw(1, torch.Generator().manual_seed(seed * 100_003 + row)) for row in range(n)]
        return torch.cat(rows)

    def sharpness(self, points: Tensor) -> Tensor:
        """The Hessian's largest eigenvalue at points (N, d), (N,)."""
        points = points.detach().double().requires_grad_()
        (gradient,) = torch.autograd.grad(self.function(points).sum(), points, create_graph=True)
        rows = [torch.autograd.grad(gradient[:, i].sum(), points, retain_graph=True)[0] for i in range(self.dimension)]
        hessian = torch.stack(rows, dim=1).nan_to_num(nan=math.inf, posinf=1e300, neginf=-1e300)
        if self.dimension == 1:
            return hessian[:, 0, 0]
        a, b, c = hessian[:, 0, 0], (hessian[:, 0, 1] + hessian[:, 1, 0]) / 2, hessian[:, 1, 1]
        return (a + c) / 2 + torch.hypot((a - c) / 2, b)

    @cached_property
    def minima(self) -> np.ndarray:
        """In one dimension the local minima in the range, in the order in which a walk from the start meets them."""
        found = self._turning_points(1)
        start = float(self.starts(1)[0, 0])
        return found if found[0] > start else found[::-1].copy()

    @cached_property
    def _barriers(self) -> np.ndarray:
        """In one dimension the local maxima in the range, which part the basins, from left to right."""
        return self._turning_points(-1)

    def basin(self, points: np.ndarray) -> np.ndarray:
        """The number in `minima` of each point's (…) basin; −1 out of range or above the level."""
        basins = np.searchsorted(self._barriers, points)
        order = np.searchsorted(self._barriers, self.minima)
        number = np.argsort(order)[np.clip(basins, 0, len(order) - 1)]
        values = self.function(torch.from_numpy(points)[..., None]).numpy()
        inside = (points > self.range[0]) & (points < self.range[1]) & (values < self.level)
        return np.where(inside, number, -1)

    def _turning_points(self, sign: int) -> np.ndarray:
        x = np.linspace(*self.range, 200_001)
        y = sign * self.function(torch.from_numpy(x)[:, None]).numpy()
        return x[1:-1][(y[1:-1] < y[:-2]) & (y[1:-1] < y[2:])]

    def flattest_point(self) -> tuple[tuple[float, ...], float]:
        """Where on the valley, or at which minimum, the top eigenvalue is least, and that eigenvalue."""
        if self.valley is None:
            points = torch.from_numpy(self.minima)[:, None]
        else:
            points = torch.from_numpy(self.valley().points)
            points = points[self.function(points) < self.level]
        values = self.sharpness(points)
        at = int(values.argmin())
        return tuple(points[at].tolist()), float(values[at])


def cardioid(points: Tensor) -> Tensor:
    """[(x²+y²−x)² − (x²+y²)]², which is 0 on the cardioid r = 1 + cos t."""
    x, y = points.unbind(-1)
    square = x * x + y * y
    return ((square - x) ** 2 - square) ** 2


def rosenbrock(points: Tensor) -> Tensor:
    """(1−x)² + 100 (y−x²)²."""
    x, y = points.unbind(-1)
    return (1 - x) ** 2 + 100 * (y - x * x) ** 2


def f1(points: Tensor) -> Tensor:
    """1/(x sin²(2x)/20 + ln(x+1)), minima flatter and lower to the right."""
    x = points.squeeze(-1)
    return 1 / (0.05 * x * torch.sin(2 * x) ** 2 + torch.log(x + 1))


def f2(points: Tensor) -> Tensor:
    """1 − e^(−900(x−.6)²) − e^(−900(x+.6)²) − e^(−25x²): two narrow minima and a wide one between."""
    x = points.squeeze(-1)
    narrow = torch.exp(-900 * (x - 0.6) ** 2) + torch.exp(-900 * (x + 0.6) ** 2)
    return 1 - narrow - torch.exp(-25 * x * x)


@lru_cache(maxsize=1)
def cardioid_valley() -> Valley:
    """r = 1 + cos t, closed, of length 8; s = 4 sin(t/2) from the cusp at −4 to the cusp at 4."""
    t = np.linspace(-math.pi, math.pi, 16_001)
    radius = 1 + np.cos(t)
    points = np.stack([radius * np.cos(t), radius * np.sin(t)], axis=1)
    return Valley(points, 4 * np.sin(t / 2), closed=True)


@lru_cache(maxsize=1)
def rosenbrock_valley() -> Valley:
    """y = x² for |x| ≤ 2.5, with s = 0 at its vertex, summed from chords."""
    x = np.linspace(-2.5, 2.5, 20_001)
    half = sampled(np.stack([x, x * x], axis=1), closed=False, start=0.0)
    return Valley(half.points, half.arcs - half.length / 2, closed=False)


def _cardioid_arc(points: Tensor) -> Tensor:
    x, y = points.unbind(-1)
    return 4 * torch.sin(torch.atan2(y, x) / 2)


def _rosenbrock_arc(points: Tensor) -> Tensor:
    return torch.from_numpy(rosenbrock_valley().arc_of(points.detach().numpy()))


def _uniform(n: int, generator: torch.Generator, low: float, high: float) -> Tensor:
    return low + (high - low) * torch.rand(n, generator=generator, dtype=torch.float64)


def _around_the_cardioid(n: int, generator: torch.Generator) -> Tensor:
    """|t| < 2.6, off the valley by ± .15 to .75 along the radius."""
    t = _uniform(n, generator, -2.6, 2.6)
    side = 2 * torch.randint(0, 2, (n,), generator=generator) - 1
    radius = 1 + torch.cos(t) + side * _uniform(n, generator, 0.15, 0.75)
    return torch.stack([radius * torch.cos(t), radius * torch.sin(t)], dim=-1)


def _left_of_the_minimum(n: int, generator: torch.Generator) -> Tensor:
    return torch.stack([_uniform(n, generator, -2, 1), _uniform(n, generator, -1, 2)], dim=-1)


def _at(x: float) -> Callable[[int, torch.Generator], Tensor]:
    return lambda n, generator: torch.full((n, 1), x, dtype=torch.float64)


LANDSCAPES = {
    one.name: one
    for one in (
        Landscape(
            name="cardioid",
            about="a closed valley of length 8 at loss 0, flattest at its cusp (0, 0)",
            formula="[(x²+y²−x)² − (x²+y²)]²",
            function=cardioid,
            box=((-1.2, 2.8), (-2.0, 2.0)),
            draw=_around_the_cardioid,
            level=1e-3,
            valley=cardioid_valley,
            arc=_cardioid_arc,
            optimum=0.0,
        ),
        Landscape(
            name="rosenbrock",
            about="the valley y = x², which falls to its one minimum at (1, 1)",
            formula="(1−x)² + 100 (y−x²)²",
            function=rosenbrock,
            box=((-2.0, 2.0), (-1.0, 3.0)),
            draw=_left_of_the_minimum,
            level=1e-2,
            valley=rosenbrock_valley,
            arc=_rosenbrock_arc,
            optimum=0.0,
        ),
        Landscape(
            name="f1",
            about="minima that are lower and flatter to the right; from x = 2.3 the first is at 4.09",
            formula="1/(x sin²(2x)/20 + ln(x+1))",
            function=f1,
            box=((2.0, 20.0),),
            draw=_at(2.3),
            range=(2.0, 100.0),
        ),
        Landscape(
            name="f2",
            about="a wide minimum at 0 between narrow ones at ±0.6; from x = 0.95 the first is at 0.6",
            formula="1 − exp(−900(x−.6)²) − exp(−900(x+.6)²) − exp(−25x²)",
            function=f2,
            box=((-1.2, 1.2),),
            draw=_at(0.95),
            level=0.5,
            range=(-1.2, 1.2),
        ),
    )
}


def landscape(name: str) -> Landscape:
    """The landscape of this name; raises EdslError for an unknown one."""
    if name not in LANDSCAPES:
        raise EdslError(f"unknown landscape {shown(name)}; {nearest(name, LANDSCAPES, 'landscapes')}")
    return LANDSCAPES[name]
