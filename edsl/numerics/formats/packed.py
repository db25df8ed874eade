"""Symmetric and triangular matrices of which one triangle is kept: n(n + 1)/2 numbers in a rectangle.

The rectangle is LAPACK's rectangular full packed storage of a lower triangle. With k = ⌈n/2⌉ columns it holds those of

    A = [A₁₁  · ]      the first k columns, [A₁₁; A₂₁], as they stand, below a row of zeros where n is even,
        [A₂₁ A₂₂]      and above the diagonal of A₁₁, where nothing is needed, A₂₂ transposed

so that it is made and read by slices, without an index. Of a triangular buffer, which is upper, A is the transpose.

Source: Gustavson, Waśniewski, Dongarra and Langou 2010, Rectangular Full Packed Format for Cholesky's Algorithm,
ACM TOMS 37(2); LAPACK's ?TRTTF.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from edsl.numerics.formats.form import BufferForm
from edsl.numerics.stochastic_rounding import rounded
from edsl.numerics.structures import SYMMETRIC, TRIANGULAR


@dataclass(frozen=True)
class Packed(BufferForm):
    """One triangle of matrices, in a dtype.

    Attributes:
        kept_in: the dtype.
        structure: of the matrices that it opens to.
    """

    kept_in: torch.dtype
    structure: str = SYMMETRIC

    @property
    def dtype(self) -> torch.dtype:
        return self.kept_in

    def kept_for(self, structure: str) -> BufferForm | torch.dtype | None:
        of_triangles = structure in (SYMMETRIC, TRIANGULAR)
        return Packed(self.name, self.kept_in, structure) if of_triangles else self.kept_in

    def shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        *stack, n, columns = shape
        if columns != n:  # a diagonal
            return tuple(shape)
        return (*stack, n + 1 - n % 2, (n + 1) // 2)

    def opened(self, buffer: Tensor, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        values = buffer.to(dtype)
        if tuple(buffer.shape[-2:]) == tuple(shape[-2:]):
            return values
        return unpacked(values, self.structure)

    def closed(self, values: Tensor, buffer: Tensor, key: Tensor | None, place: int) -> Tensor:
        new = values if values.shape[-2:] == buffer.shape[-2:] else packed(values, self.structure)
        return rounded(new, key, place) if key is not None and self.kept_in is torch.bfloat16 else new


PACKED_BFLOAT16 = Packed("packed_bfloat16", torch.bfloat16)
PACKED_FLOAT32 = Packed("packed_float32", torch.float32)


def packed(x: Tensor, structure: str) -> Tensor:
    """Symmetric or upper triangular matrices (…, n, n) as rectangles."""
    n = x.shape[-1]
    if n == 1:
        return x
    k, even = (n + 1) // 2, 1 - n % 2
    lower = x.mT if structure == TRIANGULAR else x
    made = x.new_zeros(*x.shape[:-2], n + even, k)
    made[..., even:, :] = lower[..., :, :k]
    above, last = made[..., : n - k, 1 - even :], lower[..., k:, k:].mT
    above.copy_(above.tril(-1) + last.triu())
    return made


def unpacked(rectangle: Tensor, structure: str) -> Tensor:
    """The matrices (…, n, n) that rectangles were made of."""
    rows, k = rectangle.shape[-2:]
    even = 1 if rows > 2 * k - 1 else 0
    n = rows - even
    if n == 1:
        return rectangle
    first = rectangle[..., even : even + k, :].tril()
    below = rectangle[..., even + k :, :]
    last = rectangle[..., : n - k, 1 - even :].triu().mT
    made = rectangle.new_zeros(*rectangle.shape[:-2], n, n)
    made[..., k:, :k] = below
    made[..., :k, :k], made[..., k:, k:] = first, last
    if structure == TRIANGULAR:
        return made.mT.contiguous()
    made[..., :k, k:] = below.mT
    made[..., :k, :k] += first.tril(-1).mT
    made[..., k:, k:] += last.tril(-1).mT
    return made
