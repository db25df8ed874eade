"""Matrices in torch, and stacks of them: blocks, inverse powers, eigenbases."""

from __future__ import annotations

import torch
from torch import Tensor

from edsl.numerics.blocks import cut
from edsl.numerics.products import Products


def blocks(x: Tensor, size: int) -> Tensor:
    """Matrices as equal blocks of at most size × size, zero-padded: (…, m, n) → (…, rows, columns, p, q)."""
    *stack, m, n = x.shape
    (rows, p), (columns, q) = cut(m, size), cut(n, size)
    if rows == columns == 1:
        return x[..., None, None, :, :]
    padded = torch.nn.functional.pad(x, (0, columns * q - n, 0, rows * p - m))
    return padded.view(*stack, rows, p, columns, q).transpose(-3, -2).contiguous()


def unblock(x: Tensor, rows: int, columns: int) -> Tensor:
    """The rows × columns matrices that `blocks` cut."""
    *stack, r, c, p, q = x.shape
    if r == c == 1:
        return x[..., 0, 0, :, :]
    return x.transpose(-3, -2).reshape(*stack, r * p, c * q)[..., :rows, :columns]


def gram(x: Tensor, products: type[Products] = Products) -> Tensor:
    """x xᵀ of matrices, shape (…, m, n) → (…, m, m)."""
    one = alone(x)
    return products(x.dtype, x.dtype).symmetric(one, one.mT).view(*x.shape[:-1], x.shape[-2])


def alone(stack: Tensor) -> Tensor:
    """A stack with one dimension of matrices, of one matrix that matrix itself: BLAS takes it as it is."""
    if stack.dim() == 2:
        return stack
    return stack.view(stack.shape[-2:]) if stack.shape[:-2].numel() == 1 else stack.flatten(0, -3)


def is_transpose(x: Tensor, y: Tensor) -> bool:
    """Whether x is y.mT: the same elements in memory."""
    if torch.compiler.is_compiling() or x.dim() < 2 or x.shape != y.mT.shape or x.stride() != y.mT.stride():
        return False
    return x.untyped_storage() is y.untyped_storage() and x.storage_offset() == y.storage_offset()


def inverse_power(x: Tensor, exponent: float, eps: float) -> Tensor:
    """(x + ε λ I)^(−exponent) of symmetric positive semi-definite matrices, shape (…, p, p).

    λ is each one's largest eigenvalue. Where ε and an eigenvalue are zero, the power is 0 there; of a zero
    matrix, which says nothing yet, it is the identity.
    """
    values, vectors = _eigh(x)
    values = values.clamp(min=0)
    damped = values + eps * values[..., -1:]
    roots = torch.where(damped > 0, damped, 1.0) ** (-exponent / 2) * (damped > 0)
    roots = torch.where(values[..., -1:] == 0, 1.0, roots)
    return gram(vectors * roots[..., None, :])


def eigenbasis(x: Tensor) -> Tensor:
    """Eigenvectors of symmetric matrices as columns, the largest eigenvalue's first."""
    return _eigh(x)[1].flip(-1)


def refined(basis: Tensor, x: Tensor) -> Tensor:
    """One power iteration and QR from a basis of x's eigenvectors that is nearly right.

    Source: Vyas et al. 2024, Algorithm 4 (SOAP): Q, R = qr(x Q).
    """
    turned = x @ basis
    if turned.device.type != "cpu":
        return torch.linalg.qr(turned)[0]
    return torch.linalg.householder_product(*torch.geqrf(turned))  # the same, without R


def _eigh(x: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues in ascending order and eigenvectors; NaN for what has none, as after a diverged gradient."""
    for dtype in (x.dtype, torch.float64):  # close eigenvalues can stop it in single precision
        try:
            values, vectors = torch.linalg.eigh(x.to(dtype))
        except RuntimeError:
            continue
        return values.to(x.dtype), vectors.to(x.dtype)
    return torch.full_like(x[..., 0], torch.nan), torch.full_like(x, torch.nan)
