"""Norms and means of layers, right to their last digits at every size.

In single precision, one sum over 10⁷ elements is off by a hundredth of itself: what is added is smaller than
half of the sum's last digit. So sums are kept in double precision, or taken by rows whose sums are.
"""

from __future__ import annotations

import torch
from torch import Tensor

from edsl.numerics.dtypes import working_dtype

ROW = 1024  # elements that are added in the working dtype
PIECE = 1 << 18  # elements that are widened at a time
SAFE = (1e-12, 1e18)  # norms of which no square in float32 is infinite, or 0 where that would count


def norm(x: Tensor, dim: tuple[int, ...] | None = None) -> Tensor:
    """‖x‖₂ in x's dtype; over some dimensions, which then have size 1.

    Compiled, it is one loop in double precision. Uncompiled that would make a copy of x, so it is taken in rows.
    """
    if dim is None and (x.device.type == "mps" or not torch.compiler.is_compiling()):
        return norm_in_rows(x).to(x.dtype)
    if x.device.type == "mps":  # which has no float64
        return torch.linalg.vector_norm(x, dim=dim, keepdim=True)
    return torch.linalg.vector_norm(x, dim=dim, keepdim=dim is not None, dtype=torch.float64).to(x.dtype)


def mean(x: Tensor, dim: tuple[int, ...] | None = None) -> Tensor:
    """The mean in x's dtype; over some dimensions, which then have size 1."""
    return torch.mean(x, dim=dim, keepdim=dim is not None, dtype=_widest(x)).to(x.dtype)


def total(x: Tensor) -> Tensor:
    """The sum in x's dtype."""
    return x.sum(dtype=_widest(x)).to(x.dtype)


def total_in_rows(x: Tensor) -> Tensor:
    """The sum as a float64, of the same bits whatever the number of threads, and without a copy in double precision.

    Compiled, it is one loop in double precision.
    """
    if torch.compiler.is_compiling():
        return x.sum(dtype=_widest(x))
    found = x.reshape(-1)
    while found.numel() > ROW:  # a row is summed by one thread
        found = torch.cat([part for piece in found.split(PIECE) for part in _sums_of_rows(piece)])
    return found.sum(dtype=_widest(x))


def _sums_of_rows(x: Tensor) -> list[Tensor]:
    """The sums of rows that cover a vector, the last of them shorter."""
    wide, whole = x.to(_widest(x)), x.numel() // ROW * ROW
    parts = [wide[:whole].view(-1, ROW).sum(dim=1)] if whole else []
    return parts if whole == x.numel() else [*parts, wide[whole:].sum().view(1)]


def norm_in_rows(x: Tensor) -> Tensor:
    """‖x‖₂ as a float64, where nothing is compiled and a copy of x in double precision would be too large.

    Args:
        x: with one or two dimensions; contiguous, or it is copied.
    """
    work = working_dtype(x.dtype)
    if x.numel() <= ROW:
        return torch.linalg.vector_norm(x, dtype=_widest(x))
    flat = x.reshape(-1)
    found = _of_rows(flat, work)
    # On a CPU nothing waits for a look at it. Elsewhere it is infinite, or 0, where float32's squares are.
    known = found.device.type == "cpu" and type(found) is Tensor
    if known and work is torch.float32 and not SAFE[0] <= found.item() <= SAFE[1]:
        squares = [torch.dot(piece, piece) for piece in map(Tensor.double, flat.split(PIECE))]
        return torch.stack(squares).sum().sqrt()
    return found


def _of_rows(flat: Tensor, work: torch.dtype) -> Tensor:
    # On a CPU torch would widen all of it at once.
    pieces = flat.split(PIECE) if work is not flat.dtype and flat.device.type == "cpu" else [flat]
    parts = [part for piece in pieces for part in _norms_of_rows(piece, work)]
    return torch.linalg.vector_norm(torch.cat(parts), dtype=_widest(flat))


def _norms_of_rows(x: Tensor, work: torch.dtype) -> list[Tensor]:
    """The norms of rows that cover a vector, the last of them shorter."""
    whole = x.numel() // ROW * ROW
    parts = [torch.linalg.vector_norm(x[:whole].view(-1, ROW), dim=1, dtype=work)] if whole else []
    return parts if whole == x.numel() else [*parts, torch.linalg.vector_norm(x[whole:], dtype=work).view(1)]


def _widest(x: Tensor) -> torch.dtype:
    """float64, but on Apple's GPUs, which don't have it."""
    return torch.float32 if x.device.type == "mps" else torch.float64
