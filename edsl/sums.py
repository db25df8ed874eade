"""Norms and means of layers, right to their last digits at every size.

In single precision, one sum over 10⁷ elements is off by a hundredth of itself: what is added is smaller than
half of the sum's last digit. So sums are kept in double precision, or taken by rows whose sums are.
"""

from __future__ import annotations

import torch
from torch import Tensor

from edsl.layout import working_dtype

ROW = 1024  # elements that are added in the working dtype
PIECE = 1 << 18  # elements of half precision that are widened at a time


def norm(x: Tensor, dim: tuple[int, ...] | None = None) -> Tensor:
    """‖x‖₂ in x's dtype; over some dimensions, which then have size 1."""
    return torch.linalg.vector_norm(x, dim=dim, keepdim=dim is not None, dtype=torch.float64).to(x.dtype)


def mean(x: Tensor, dim: tuple[int, ...] | None = None) -> Tensor:
    """The mean in x's dtype; over some dimensions, which then have size 1."""
    return torch.mean(x, dim=dim, keepdim=dim is not None, dtype=torch.float64).to(x.dtype)


def total(x: Tensor) -> Tensor:
    """The sum in x's dtype."""
    return x.sum(dtype=torch.float64).to(x.dtype)


def norm_in_rows(x: Tensor) -> Tensor:
    """‖x‖₂ as a float64, where nothing is compiled and a copy of x in double precision would be too large.

    Args:
        x: with one or two dimensions; contiguous, or it is copied.
    """
    flat, work = x.reshape(-1), working_dtype(x.dtype)
    pieces = [flat] if work is x.dtype else flat.split(PIECE)
    parts = [part for piece in pieces for part in _norms_of_rows(piece.to(work))]
    return torch.linalg.vector_norm(torch.cat(parts), dtype=torch.float64)


def _norms_of_rows(x: Tensor) -> list[Tensor]:
    """The norms of rows that cover a vector, the last of them shorter."""
    whole = x.numel() // ROW * ROW
    return [torch.linalg.vector_norm(x[:whole].view(-1, ROW), dim=1), torch.linalg.vector_norm(x[whole:]).view(1)]
