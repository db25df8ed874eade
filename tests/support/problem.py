"""Parameters and gradients for tests, and one loop over them."""

from __future__ import annotations

import torch

from edsl.lab.closure import closure_for

SHAPES = [(4, 3), (7,), (1,)]


def tensors(shapes=SHAPES, dtype=torch.float64, seed=1, scale=1.0):
    generator = torch.Generator().manual_seed(seed)
    return [(scale * torch.randn(shape, generator=generator, dtype=torch.float64)).to(dtype) for shape in shapes]


def parameters(shapes=SHAPES, dtype=torch.float64, seed=1):
    return [torch.nn.Parameter(tensor) for tensor in tensors(shapes, dtype, seed)]


def gradients(steps, shapes=SHAPES, dtype=torch.float64, seed=2):
    return [tensors(shapes, dtype, seed + step, scale=0.1) for step in range(steps)]


def walk(optimizer, params, steps):
    """Step through given gradients; the parameters after each step.

    An estimator that evaluates the loss itself gets one with these gradients and a little curvature.
    """
    history = []
    estimator = getattr(getattr(optimizer, "pipeline", None), "estimator", None)
    for row in steps:
        if estimator is not None and estimator.needs_closure:
            optimizer.step(closure_for(optimizer.pipeline, optimizer, lambda row=row: bowl(params, row)))
        else:
            for parameter, gradient in zip(params, row, strict=True):
                parameter.grad = gradient.clone()
            optimizer.step()
        history.append([parameter.detach().clone() for parameter in params])
    return history


def bowl(params, row):
    """A loss whose gradient is nearly the row: Σ ⟨g, θ⟩ + Σ cosh(θ)/100, with a diagonal Hessian."""
    return sum((p * g).sum() + p.cosh().sum() / 100 for p, g in zip(params, row, strict=True))


def worst(history, expected) -> float:
    """The largest absolute difference between two histories."""
    return max(
        abs(torch.as_tensor(a) - torch.as_tensor(b)).max().item()
        for row, other in zip(history, expected, strict=True)
        for a, b in zip(row, other, strict=True)
    )


def as_numpy(rows):
    return [[tensor.detach().numpy() for tensor in row] for row in rows]
