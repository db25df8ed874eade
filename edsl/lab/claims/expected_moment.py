"""The growth of E‖θ − θ*‖² near a shared minimum, without sampling: all second moments, step by step.

With examples i of gradients jᵢᵀ(θ−θ*) jᵢ, a batch of B drawn without replacement has the Hessian H_B = mean of
jᵢ jᵢᵀ. One step maps the second moments M of (θ, memory) over all directions to

    F M Fᵀ + f/B (mean wᵢ jᵢ jᵢᵀ − H M_θθ H) ⊗ b bᵀ,    wᵢ = jᵢᵀ M_θθ jᵢ,  f = (N−B)/(N−1),

F the mean step and b the column by which a gradient enters: what the scalar condition has for one direction alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import torch
from torch import Tensor

from edsl.lab.claims.near_minimum import Minimum
from edsl.language.pipeline import Pipeline
from edsl.theory.systems.state_space import of_pipeline

_DIRECTIONS = 96  # of the Hessian, from the sharpest on


@dataclass(frozen=True)
class Expected:
    """What a training near a minimum comes to on average; see `second_moment.Trial`, which samples it."""

    minimum: Minimum
    pipeline: Pipeline
    batch: int
    steps: int

    def growth(self, lr: float, settling: float) -> float:
        """log of the factor by which E‖θ − θ*‖² changes a step, after a share of the steps."""
        system = of_pipeline(self.pipeline, lr=Fraction(lr))
        A, b = (torch.tensor([[*map(float, row)] for row in part]) for part in (system.A, (system.B,)))
        A, b = A.double(), b[0].double()
        rows = self._rows()
        count = len(rows)
        h = rows.square().mean(0)
        mean = A.repeat(len(h), 1, 1)
        mean[:, :, 0] += h[:, None] * b
        share = (count - self.batch) / (count - 1) / self.batch
        moments = torch.zeros(len(h), len(h), *A.shape, dtype=torch.float64)
        moments[0, 0, 0, 0] = 1
        logarithms = []
        for _ in range(self.steps):
            between = moments[:, :, 0, 0]
            weights = ((rows @ between) * rows).sum(1)
            noise = share * ((rows * weights[:, None]).T @ rows / count - h[:, None] * between * h)
            moments = torch.einsum("ast,abtu,bvu->absv", mean, moments, mean)
            moments += noise[:, :, None, None] * torch.outer(b, b)
            size = moments[:, :, 0, 0].trace().item()
            logarithms.append(math.log(size))
            moments /= size
        kept = logarithms[int(settling * self.steps) :]
        return sum(kept) / len(kept)

    def _rows(self) -> Tensor:
        """The examples' gradients in the Hessian's own directions, the sharpest first."""
        _, _, directions = torch.linalg.svd(self.minimum.jacobian, full_matrices=False)
        return self.minimum.jacobian @ directions[:_DIRECTIONS].T
