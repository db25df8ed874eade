"""Newton–Schulz: the nearest orthogonal matrix by products of matrices alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from edsl.numerics.orthogonal import rounds_first
from edsl.numerics.products import Products

Quintic = tuple[float, float, float]

JORDAN = (3.4445, -4.7750, 2.0315)  # Jordan et al. 2024, the quintic of Muon, the same at every step
SMALLEST = 1e-3  # singular value, relative to the Frobenius norm, from which the minimax polynomials converge
FAR = 1e12  # norms between it and its inverse have squares that neither overflow nor vanish
FLOOR = 1e-7  # of a norm, torch.optim.Muon's default eps
WIDE = 1.2  # columns a row from which composed steps save operations
WIDEST = 2.5  # the same where the first of them can't be rounded, and steps one by one can
SMALL, LARGE = 256, 384  # rows from which two steps, and three, can be composed
MARGIN = 1.01  # rounding lifts singular values past the interval's end, where the polynomials grow: shrink by this


def minimax_quintics(smallest: float, steps: int) -> tuple[Quintic, ...]:
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


def _nearest_to_one(low: float, high: float) -> Quintic:
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


def newton_schulz(
    x: Tensor, steps: int, polynomials: str, precision: str, products: type[Products] = Products
) -> Tensor:
    """The matrix, or stack of matrices, with the singular vectors of x, and its singular values driven to 1.

        X = x / max(‖x‖, FLOOR);   X = (a I + b X Xᵀ + c (X Xᵀ)²) X        for each (a, b, c)

    Source: Jordan et al. 2024 (Muon) for "jordan"; Amsel et al. 2025, Theorem 3.1 (Polar Express)
    for "minimax". x is scaled by a power of two first, so that its norm can't overflow, and nothing
    is rounded. What is smaller than FLOOR stays small: the momentum of a matrix that gets no gradients
    any more decays, and shall not be blown up to full steps for ever.

    Args:
        x: shape (m, n), or (k, m, n) for k matrices at once.
        steps: of the iteration.
        polynomials: "jordan", or "minimax" for those of `minimax_quintics`.
        precision: "working" is x's own dtype, "bfloat16" multiplies in half precision, see `_rounds`; with "jordan" it
            rounds all that it computes to bfloat16, as torch.optim.Muon does, to the bit.
        products: how matrices are multiplied here.
    """
    original = rounds_first(polynomials, precision)
    tall, given = x.shape[-2] > x.shape[-1], x.dtype
    x = x.bfloat16() if original else x.to(torch.promote_types(x.dtype, torch.float32))
    wide = _normalised(x.mT if tall else x)
    if original:
        made = _rounded(wide, steps)
    elif x.dim() == 3 and _is_looped(wide):
        made = torch.stack([_iterated(matrix, steps, polynomials, precision, products) for matrix in wide])
    else:
        made = _iterated(wide, steps, polynomials, precision, products)
    return (made.mT if tall else made).to(given)


def _rounded(x: Tensor, steps: int) -> Tensor:
    """All steps with Jordan's quintic, each product rounded to bfloat16."""
    half = Products(torch.bfloat16, torch.bfloat16)
    a, b, c = JORDAN
    for _ in range(steps):
        gram = half.product(x, x.mT)
        x = half.product(half.product(gram, gram, gram, b, c), x, x, a)
    return x


def _iterated(x: Tensor, steps: int, polynomials: str, precision: str, products: type[Products]) -> Tensor:
    """All steps on wide matrices of norm 1."""
    quintics = [MINIMAX[min(step, len(MINIMAX) - 1)] if polynomials == "minimax" else JORDAN for step in range(steps)]
    for composed in _rounds(x, precision, products):
        x = _composed(x, quintics[: composed.steps], composed)
        quintics = quintics[composed.steps :]
        if not quintics:
            break
    return x


@dataclass(frozen=True)
class Round:
    """Steps that are composed, and how their products are taken.

    Attributes:
        gram: of X Xᵀ.
        powers: of Gram matrices.
        result: of X with what the steps make of its Gram matrix.
        centred: factors are rounded as P − P(1) I, which is small once singular values are near 1, else as P − a I,
            which is small while they are near 0.
    """

    steps: int
    gram: Products
    powers: Products
    result: Products
    centred: bool = False


def _composed(x: Tensor, quintics: Sequence[Quintic], how: Round) -> Tensor:
    """Some steps, with one product of m × n matrices at their end: all that comes between is in G = X Xᵀ.

        P = a I + b G + c G²;   Q = P Q;   G = P G P        for each (a, b, c);   X = Q X at the end

    P is kept as p I + B and Q as q I + R: products with B and R alone leave the digits of p G and q X as they are.
    """
    powers = how.powers
    factor = how.gram.factor(x)
    gram = how.gram.symmetric(factor, factor.mT)
    q, rest = 1.0, None
    for number, (a, b, c) in enumerate(quintics):
        factor = powers.factor(gram)
        bent, p = powers.symmetric(factor, factor, gram, b, c), a
        if how.centred:
            p = a + b + c
            bent.diagonal(dim1=-2, dim2=-1).sub_(b + c)
        bending = powers.factor(bent)
        rest = bent if rest is None else powers.symmetric(bending, rest, torch.add(q * bent, rest, alpha=p))
        q *= p
        if number < len(quintics) - 1:
            half = powers.symmetric(bending, factor, gram, p)
            gram = powers.symmetric(half, bending, half, p)
    assert rest is not None  # there is a step at least
    return how.result.product(rest, x, x, q)


def _rounds(x: Tensor, precision: str, products: type[Products]) -> Iterator[Round]:
    """For ever.

    Composed steps save the products of m × n matrices between them, and lose digits: eigenvalues of the Gram matrix are
    squares, and small ones grow by a² a step. The counts keep the error near that of steps one by one.
    Nearly square matrices gain nothing, and small ones are bound by calls.

    In half precision the first steps blow up most what is rounded away, 870 times by five of "minimax". With float32
    sums, float16 factors on an NVIDIA GPU bear that, and bfloat16 ones do where steps are taken one by one. Where
    products are rounded to bfloat16 as well, three steps leave X in float32.
    """
    m, n = x.shape[-2:]
    working, half = products(x.dtype, x.dtype), products(torch.bfloat16, torch.bfloat16)
    summed = None if precision == "working" else products.half_of(x)
    composes = m >= SMALL and n > WIDE * m
    if precision == "working":
        for count in ((3,) if m >= LARGE else (2, 1)) if composes else ():
            yield Round(count, working, working, working)
        late = Round(2 if composes else 1, working, working, working)
    elif summed is None:
        early = working if composes or m < SMALL else half
        for count in (3,) if composes else (1, 1, 1):
            yield Round(count, early, early, working)
        late = Round(2 if composes else 1, half, half, half)
    elif summed is torch.bfloat16:
        wide_sums = products(summed, x.dtype)
        composes = composes and n > WIDEST * m
        if composes:
            yield Round(3, wide_sums, working, working)
        for _ in range(0 if composes else 2):
            yield Round(1, wide_sums, wide_sums, wide_sums)
        late = Round(2 if composes else 1, wide_sums, wide_sums, wide_sums, centred=True)
    else:
        wide_sums = products(summed, x.dtype)
        for count in (1, 2) if composes else ():
            yield Round(count, wide_sums, wide_sums, wide_sums)
        late = Round(2 if composes else 1, wide_sums, wide_sums, wide_sums)
    while True:
        yield late


def _is_looped(x: Tensor) -> bool:
    """Whether a stack is taken one by one: a CPU is busy with one matrix, and its Gram matrix stays in the cache."""
    return x.device.type == "cpu" and x.shape[-2] >= SMALL and not torch.compiler.is_compiling()


def _normalised(x: Tensor) -> Tensor:
    """Matrices over max(‖x‖, FLOOR)."""
    norm = _norms(x)
    if x.is_cpu and not torch.compiler.is_compiling() and bool(((norm > 1 / FAR) & (norm < FAR)).all()):
        return x / norm.clamp(min=FLOOR).to(x.dtype)  # as below, but for two passes: powers of two change no digit
    largest = torch.linalg.vector_norm(x, ord=float("inf"), dim=(-2, -1), keepdim=True)
    most = 1000 if x.dtype is torch.float64 else 120  # whose powers of two are finite, both ways
    exponent = torch.frexp(largest.to(norm.dtype)).exponent.clamp(-most, most)
    x = x * torch.ldexp(torch.ones_like(largest), -exponent).to(x.dtype)
    norm = _norms(x)
    least = torch.ldexp(torch.full_like(norm, FLOOR), -exponent)  # of what is scaled
    return x / torch.where(norm < least, least, norm).to(x.dtype)


def _norms(x: Tensor) -> Tensor:
    dtype = torch.promote_types(x.dtype, torch.float32)
    rows = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=dtype)
    return torch.linalg.vector_norm(rows, dim=-2, keepdim=True)
