"""Preconditioners QₗᵀQₗ X QᵣᵀQᵣ of a matrix: two factors, and how they are fitted so that what comes out is white.

A factor is upper triangular, (n, n), or, of one column, (n, 1), a diagonal. All functions take stacks as well, with
dimensions before these two.

Source: Li 2018, Preconditioned Stochastic Gradient Descent, and Preconditioner on Matrix Lie Group for SGD, with the
coordinates dQ = E Q of Li and Pooladzandi 2024.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def identity(factor: Tensor) -> Tensor:
    """The identity as a factor of this one's shape."""
    if factor.shape[-1] == 1:
        return torch.ones_like(factor)
    return torch.eye(factor.shape[-1], dtype=factor.dtype, device=factor.device).expand_as(factor)


def factored(left: Tensor, x: Tensor, right: Tensor) -> Tensor:
    """Qₗ X Qᵣᵀ."""
    made = left * x if left.shape[-1] == 1 else left @ x
    return made * right.mT if right.shape[-1] == 1 else made @ right.mT


def preconditioned(left: Tensor, x: Tensor, right: Tensor) -> Tensor:
    """Qₗᵀ Qₗ X Qᵣᵀ Qᵣ."""
    made = factored(left, x, right)
    made = left * made if left.shape[-1] == 1 else left.mT @ made
    return made * right.mT if right.shape[-1] == 1 else made @ right


def solved(left: Tensor, x: Tensor, right: Tensor) -> Tensor:
    """Qₗ⁻ᵀ X Qᵣ⁻¹."""
    made = x / left if left.shape[-1] == 1 else torch.linalg.solve_triangular(left.mT, x, upper=False)
    if right.shape[-1] == 1:
        return made / right.mT
    return torch.linalg.solve_triangular(right, made, upper=True, left=False)


def fitted(factor: Tensor, a: Tensor, b: Tensor, rate: Any, side: str) -> Tensor:
    """Q − μ triu(A Aᵀ − B Bᵀ) Q / ‖A Aᵀ + B Bᵀ‖ of the left factor, with AᵀA and BᵀB of the right one.

    The norm is a lower bound of the spectral one. A and B are divided by their largest element, which changes nothing
    else and keeps their squares finite. The factor of a side of one element stays, where the other side has more.
    """
    a, b = (a.mT, b.mT) if side == "right" else (a, b)
    if a.shape[-2] == 1 and (a.shape[-1] > 1 or side == "right"):
        return factor
    largest = torch.maximum(a.abs().amax((-2, -1), keepdim=True), b.abs().amax((-2, -1), keepdim=True))
    a, b = a / largest, b / largest
    if factor.shape[-1] == 1:
        first, second = a.square().sum(-1, keepdim=True), b.square().sum(-1, keepdim=True)
        size = (first + second).amax((-2, -1), keepdim=True)
        return factor - rate * ((first - second) / size) * factor
    first, second = a @ a.mT, b @ b.mT
    step = ((first - second) / norm_bound(first + second)).triu()
    return factor - rate * (step @ factor)


def norm_bound(x: Tensor) -> Tensor:
    """A lower bound of the spectral norm of symmetric matrices, shape (…, n, n) → (…, 1, 1).

    One power iteration from the row of the largest norm: ‖X X xⱼ‖ / ‖X xⱼ‖.
    """
    largest = x.abs().amax((-2, -1), keepdim=True)
    x = x / torch.where(largest > 0, largest, 1)
    place = x.square().sum(-1, keepdim=True).argmax(-2, keepdim=True)
    row = x.gather(-2, place.expand(*x.shape[:-2], 1, x.shape[-1])).mT
    ahead = x @ row
    length = torch.linalg.vector_norm(ahead, dim=(-2, -1), keepdim=True)
    bound = torch.linalg.vector_norm(x @ (ahead / torch.where(length > 0, length, 1)), dim=(-2, -1), keepdim=True)
    return largest * bound


def balanced(factor: Tensor, other: Tensor) -> Tensor:
    """A factor times a power of two, which makes its largest element about that of the other.

    Of both at once: no product of the two changes, and both keep in range.
    """
    if factor.shape[-2] == 1 or other.shape[-2] == 1:
        return factor
    own, its = (one.abs().amax((-2, -1), keepdim=True) for one in (factor, other))
    return factor * torch.exp2(torch.round(torch.log2(its / own) / 2))
