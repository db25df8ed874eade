"""Newton–Schulz: the nearest orthogonal matrix by products of matrices alone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

JORDAN = (3.4445, -4.7750, 2.0315)  # Jordan et al. 2024, the quintic of Muon, the same at every step
SMALLEST = 1e-3  # singular value, relative to the Frobenius norm, from which the minimax polynomials converge
FLOOR = 1e-7  # of a norm, torch.optim.Muon's default eps
MARGIN = 1.01  # rounding lifts singular values past the interval's end, where the polynomials grow: shrink by this


def minimax_quintics(smallest: float, steps: int) -> tuple[tuple[float, float, float], ...]:
    """For each step the odd quintic a x + b x³ + c x⁵ that is nearest to 1 on what the last one left.

    Greedy is optimal: the composition is the best of its form on [smallest, 1] (Amsel et al. 2025,
    Theorem 3.1). Each is found by the Remez exchange on four points of equal error, and takes x/MARGIN.
    """
    low, high = smallest, 1.0
    quintics = []
    for _ in range(steps):
        a, b, c = _nearest_to_one(low, high)
        high = 2 - (a * low + b * low**3 + c * low**5)
        a, b, c = a / MARGIN, b / MARGIN**3, c / MARGIN**5
        low = a * low + b * low**3 + c * low**5
        quintics.append((a, b, c))
    return tuple(quintics)


def _nearest_to_one(low: float, high: float) -> tuple[float, float, float]:
    if high - low < 1e-5:
        return (15 / 8, -10 / 8, 3 / 8)  # the limit: value 1 and two zero derivatives at 1
    inner = [(3 * low + high) / 4, (low + 3 * high) / 4]
    before = np.inf
    while True:
        x = np.array([low, *inner, high])
        a, b, c, error = np.linalg.solve(np.stack([x, x**3, x**5, (-1.0) ** np.arange(4)], axis=1), np.ones(4))
        if abs(abs(error) - before) < 1e-12:
            return float(a), float(b), float(c)
        before = abs(error)
        inner = sorted(np.sqrt(np.roots([5 * c, 3 * b, a]).real))


MINIMAX = minimax_quintics(SMALLEST, steps=8)  # after which the last one stays


def newton_schulz(x: Tensor, steps: int, polynomials: str, precision: str) -> Tensor:
    """The matrix, or stack of matrices, with the singular vectors of x, and its singular values driven to 1.

        X = x / max(‖x‖, FLOOR);   X = a X + b (X Xᵀ) X + c (X Xᵀ)² X        for each (a, b, c)

    Source: Jordan et al. 2024 (Muon) for "jordan"; Amsel et al. 2025, Theorem 3.1 (Polar Express)
    for "minimax". x is scaled by a power of two first, so that its norm can't overflow, and nothing
    is rounded. What is smaller than FLOOR stays small: the momentum of a matrix that gets no gradients
    any more decays, and shall not be blown up to full steps for ever.

    Args:
        x: shape (m, n), or (k, m, n) for k matrices at once.
        steps: of the iteration.
        polynomials: "jordan", or "minimax" for those of `minimax_quintics`.
        precision: "working" is x's own dtype, "bfloat16" is faster on GPUs.
    """
    given = x.dtype
    if precision == "bfloat16":
        x = x.bfloat16()
    tall = x.shape[-2] > x.shape[-1]
    wide = x.mT if tall else x
    wide, exponent = _scaled(wide)
    norm = torch.linalg.vector_norm(torch.linalg.vector_norm(wide, dim=-1, keepdim=True), dim=-2, keepdim=True)
    least = torch.ldexp(torch.full_like(norm, FLOOR), -exponent)  # of what is scaled
    add_product = torch.addmm if x.dim() == 2 else torch.baddbmm
    wide = (wide / torch.where(norm < least, least, norm).to(x.dtype)).to(x.dtype)
    for step in range(steps):
        a, b, c = MINIMAX[min(step, len(MINIMAX) - 1)] if polynomials == "minimax" else JORDAN
        gram = wide @ wide.mT
        wide = add_product(wide, add_product(gram, gram, gram, beta=b, alpha=c), wide, beta=a)
    return (wide.mT if tall else wide).to(given)


def orthogonal_factor(how: tuple[int, str, str]) -> Callable[[Tensor], Tensor]:
    """`newton_schulz` with these steps, polynomials and precision."""

    def factor(x: Tensor) -> Tensor:
        return newton_schulz(x, *how)

    return factor


def _scaled(x: Tensor) -> tuple[Tensor, Tensor]:
    """Matrices over the powers of two that bring their largest elements into [1/2, 1), in float32 at the least.

    Returns:
        the matrices, and the exponents.
    """
    x = x.to(torch.promote_types(x.dtype, torch.float32))
    exponent = torch.frexp(x.abs().amax(dim=(-2, -1), keepdim=True)).exponent
    return torch.ldexp(x, -exponent), exponent
