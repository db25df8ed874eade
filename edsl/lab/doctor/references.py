"""What steps are compared with: torch's own optimizers, and loops in float64 as the papers print them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

Weights = Sequence[Tensor]
Reference = Callable[[Weights, Sequence[Weights]], Iterator[Weights]]  # start, gradients → weights after each step


def torchs(name: str, clip: float | None = None, **options: Any) -> Reference:
    """An optimizer of torch.optim, behind torch's clip_grad_norm_ where `clip` is given."""

    def steps(start: Weights, gradients: Sequence[Weights]) -> Iterator[Weights]:
        parameters = [torch.nn.Parameter(tensor.clone()) for tensor in start]
        optimizer = getattr(torch.optim, name)(parameters, **options)
        for row in gradients:
            for parameter, gradient in zip(parameters, row):
                parameter.grad = gradient.clone()
            if clip is not None:
                torch.nn.utils.clip_grad_norm_(parameters, clip)
            optimizer.step()
            yield [parameter.detach() for parameter in parameters]

    return steps


def alto(start: Weights, gradients: Sequence[Weights]) -> Iterator[Weights]:
    """Zhao et al. 2025, Algorithm 2 with (α, β₁) = (−5, 0.99), (β₂, β₃) = (0.9, 0.99), η = 0.01, λ = 1e-4."""
    alpha, beta1, beta2, beta3, lr, decay = -5.0, 0.99, 0.9, 0.99, 0.01, 1e-4
    theta = [tensor.double() for tensor in start]
    zeros = [torch.zeros_like(tensor) for tensor in theta]
    before, a, m, v = ([*zeros] for _ in range(4))
    for k, row in enumerate(gradients, start=1):
        for i, tensor in enumerate(row):
            g = tensor.double()
            a[i] = beta1 * a[i] + (1 - beta1) * (g - before[i])
            before[i] = g
            u = g + alpha * a[i]
            m[i] = beta2 * m[i] + (1 - beta2) * u
            v[i] = beta3 * v[i] + (1 - beta3) * u * u
            m_hat, v_hat = m[i] / (1 - beta2**k), v[i] / (1 - beta3**k)
            r = m_hat / (v_hat.sqrt() + 1e-6) + decay * theta[i]
            phi = theta[i].norm() + 1e-10
            theta[i] = theta[i] - lr * phi / (r.norm() + 1e-6 * phi) * r
        yield [*theta]


def averaged_sgd(start: Weights, gradients: Sequence[Weights]) -> Iterator[Weights]:
    """The average θ̄₁ = θ₁, θ̄ₖ = 0.9 θ̄ₖ₋₁ + 0.1 θₖ of gradient descent by 0.1 (Polyak and Juditsky 1992, as an EMA)."""
    theta = [tensor.double() for tensor in start]
    mean: list[Tensor] = []
    for row in gradients:
        theta = [tensor - 0.1 * g.double() for tensor, g in zip(theta, row)]
        mean = [0.9 * average + 0.1 * tensor for average, tensor in zip(mean or theta, theta)]
        yield [*mean]


def sharpness_aware(start: Weights, targets: Sequence[Weights]) -> Iterator[Weights]:
    """Gradient descent by 0.1 on Σ (θ − t)²/2, whose gradient is taken 0.05 further uphill (Foret et al. 2021)."""
    theta = [tensor.double() for tensor in start]
    for row in targets:
        g = [tensor - target.double() for tensor, target in zip(theta, row)]
        norm = torch.stack([one.square().sum() for one in g]).sum().sqrt()
        theta = [tensor - 0.1 * (one + 0.05 * one / norm) for tensor, one in zip(theta, g)]
        yield [*theta]
