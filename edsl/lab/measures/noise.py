"""The gradient noise scale: the batch at which the gradient's noise is as large as itself."""

from __future__ import annotations

import torch
from torch import Tensor

from edsl.lab.measures.measure import Measure

PARTS = 16  # of the examples; each part's mean gradient is one sample


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
