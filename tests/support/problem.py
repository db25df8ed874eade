"""Parameters and gradients for tests, and one loop over them."""

from __future__ import annotations

import torch

SHAPES = [(4, 3), (7,), (1,)]


def tensors(shapes=SHAPES, dtype=torch.float64, seed=1, scale=1.0):
    generator = torch.Generator().manual_seed(seed)
    return [(scale * torch.randn(shape, generator=generator, dtype=torch.float64)).to(dtype) for shape in shapes]


def parameters(shapes=SHAPES, dtype=torch.float64, seed=1):
    return [torch.nn.Parameter(tensor) for tensor in tensors(shapes, dtype, seed)]


def gradients(steps, shapes=SHAPES, dtype=torch.float64, seed=2):
    return [tensors(shapes, dtype, seed + step, scale=0.1) for step in range(steps)]


def walk(optimizer, params, steps):
    """Step through given gradients; the parameters after each step."""
    history = []
    for row in steps:
        for parameter, gradient in zip(params, row, strict=True):
            parameter.grad = gradient.clone()
        optimizer.step()
        history.append([parameter.detach().clone() for parameter in params])
    return history


def worst(history, expected) -> float:
    """The largest absolute difference between two histories."""
    return max(
        abs(torch.as_tensor(a) - torch.as_tensor(b)).max().item()
        for row, other in zip(history, expected, strict=True)
        for a, b in zip(row, other, strict=True)
    )


def as_numpy(rows):
    return [[tensor.detach().numpy() for tensor in row] for row in rows]
