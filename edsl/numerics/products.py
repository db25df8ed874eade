"""Products of matrices, and of stacks of them, in chosen dtypes; symmetric ones at little more than half the cost."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

PANEL = 64  # rows of a panel at the least: thinner ones are multiplied slower than they save
PANELS = 4  # at the most: 10/16 of the operations; 8 would save another 1/16


@dataclass(frozen=True)
class Products:
    """How products are taken.

    Attributes:
        factors: the dtype of what is multiplied.
        results: the dtype of products; another than the factors' is what they are summed in.
    """

    factors: torch.dtype
    results: torch.dtype

    def product(
        self, x: Tensor, y: Tensor, addend: Tensor | None = None, beta: float = 1.0, alpha: float = 1.0
    ) -> Tensor:
        """α x y, plus β times the addend if there is one."""
        x, y = x.to(self.factors), y.to(self.factors)
        options = {} if self.factors is self.results else {"out_dtype": self.results}
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
        count = min(PANELS, m // PANEL)
        if count < 2 or x.dim() > 2 or torch.compiler.is_compiling():
            return self.product(x, y, addend, beta, alpha)
        x, y = x.to(self.factors), y.to(self.factors)
        made = torch.empty(m, m, dtype=self.results, device=x.device)
        bounds = [m * number // count for number in range(count + 1)]
        for begin, end in pairwise(bounds):
            above = None if addend is None else addend[begin:end, begin:]
            made[begin:end, begin:] = self.product(x[begin:end], y[:, begin:], above, beta, alpha)
            made[end:, begin:end] = made[begin:end, end:].mT
        return made
