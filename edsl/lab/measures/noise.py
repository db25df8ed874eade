"""Noise scales: the batch at which the noise of a gradient, or of a curvature, is as large as itself."""

from __future__ import annotations

import torch
from torch import Tensor

from edsl.lab.measures.curvature import curvatures_along, top_eigenpair
from edsl.lab.measures.measure import Measure

PARTS = 16  # of the examples; each part's mean gradient is one sample
CURVED_PARTS, CURVED_SIZE = 128, 8  # parts whose curvature is one sample, and the fewest examples of each


class NoiseScale(Measure):
    """B = tr Σ/‖G‖², Σ the covariance of one example's gradient, G the mean gradient.

    Source: McCandlish et al. 2018, eq. 2.9 and its unbiased estimates in Appendix A, from the mean
    gradients of 16 equal parts of 1,024 training examples. Absent where ‖G‖² can't be told from 0.
    """

    def read(self) -> dict[str, float]:
        inputs, targets = self.run.rows()
        size = len(inputs) // PARTS
        if not size:
            return {}
        with self.run.looking():
            parts = torch.stack(
                [self._gradient(inputs[i : i + size], targets[i : i + size]) for i in range(0, size * PARTS, size)]
            )
        mean = parts.mean(0)
        trace = size * (parts - mean).square().sum().item() / (PARTS - 1)
        squared = mean.square().sum().item() - trace / (size * PARTS)
        values = {"gradient_norm": mean.norm().item(), "gradient_noise": trace}
        return {**values, "noise_scale": trace / squared} if squared > 0 else values

    def _gradient(self, inputs: Tensor, targets: Tensor) -> Tensor:
        loss = self.run.task.loss(self.run.model(inputs), targets)
        gradients = torch.autograd.grad(loss, self.run.parameters, allow_unused=True)
        flat = [torch.zeros_like(p) if g is None else g for g, p in zip(gradients, self.run.parameters)]
        return torch.cat([gradient.detach().double().flatten() for gradient in flat])


class CurvatureNoise(Measure):
    """B_h = (σ₁/h)², σ₁ the deviation of one example's curvature along the Hessian's top eigenvector, h their mean.

    A batch of B that is drawn anew has σ_h/h = √(B_h/B), so that B_h is what `edsl check-stability --batch B
    --noise-scale` takes. From the curvatures of 128 parts of 8 of 1,024 training examples: known to some 12 %, less
    well where there are fewer examples. Absent where h is not above 0.
    """

    def read(self) -> dict[str, float]:
        inputs, targets = self.run.rows()
        size = max(CURVED_SIZE, len(inputs) // CURVED_PARTS)
        sharpness, direction = top_eigenpair(self.run, inputs, targets)
        if not sharpness > 0:
            return {}
        found = curvatures_along(self.run, direction, inputs, targets, size)
        if len(found) < 2:
            return {}
        return {"curvature_noise_scale": size * found.var().item() / found.mean().item() ** 2}
