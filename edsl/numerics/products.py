"""Products of matrices, and of stacks of them, in chosen dtypes; symmetric ones at little more than half the cost."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Products:
    """How products are taken.

    Attributes:
        factors: the dtype of what is multiplied.
        results: the dtype of products; another than the factors' is what they are summed in.
    """

    factors: torch.dtype
    results: torch.dtype

    @classmethod
    def half_of(cls, x: Tensor) -> torch.dtype | None:
        """The half precision whose products are summed in x's dtype at more speed than x's own; None where none is."""
        has = x.is_cuda and torch.version.hip is None and x.dtype is torch.float32  # torch's CUDA builds alone
        return torch.float16 if has else None

    def factor(self, x: Tensor) -> Tensor:
        """What is multiplied for x; made once for several products."""
        return x.to(self.factors)

    def product(
        self, x: Tensor, y: Tensor, addend: Tensor | None = None, beta: float = 1.0, alpha: float = 1.0
    ) -> Tensor:
        """α x y, plus β times the addend if there is one."""
        x, y = self.factor(x), self.factor(y)
        options: dict[str, Any] = {} if self.factors is self.results else {"out_dtype": self.results}
        if options and not x.is_cuda:  # where torch has no such product
            x, y, options = x.to(self.results), y.to(self.results), {}
        if addend is None:
            made = (torch.mm if x.dim() == 2 else torch.bmm)(x, y, **options)
            return made if alpha == 1.0 else alpha * made
        add_product = torch.addmm if x.dim() == 2 else torch.baddbmm
        return add_product(addend.to(self.results), x, y, beta=beta, alpha=alpha, **options)

    def symmetric(
        self, x: Tensor, y: Tensor, addend: Tensor | None = None, beta: float = 1.0, alpha: float = 1.0
    ) -> Tensor:
        """The same where the result is symmetric: by panels of rows, right of the diagonal alone."""
        m = x.shape[-2]
        count = _panels(m)
        plain = self.factors is self.results
        if count == 1 or x.dim() > 2 or not plain or x.is_cuda or torch.compiler.is_compiling():
            return self.product(x, y, addend, beta, alpha)
        x, y = self.factor(x), self.factor(y)
        made = x.new_empty(m, m) if addend is None else addend.to(self.results, copy=True)
        bounds = [m * number // count for number in range(count + 1)]
        for begin, end in pairwise(bounds):
            panel = made[begin:end, begin:]
            torch.addmm(
                panel, x[begin:end], y[:, begin:], beta=beta if addend is not None else 0, alpha=alpha, out=panel
            )
            made[end:, begin:end] = made[begin:end, end:].mT
        return made


def _panels(m: int) -> int:
    """Into how many panels m rows are cut: thin ones are multiplied more slowly than they save."""
    return 1 if m < 256 else 2 if m < 384 else 4
