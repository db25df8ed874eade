"""A small network, a loop that trains it, and whether two of them are the same."""

import torch
from torch import nn


def network(width=8, depth=3, dtype=torch.float32):
    torch.manual_seed(0)
    layers = [layer for _ in range(depth) for layer in (nn.Linear(width, width), nn.Tanh())]
    return nn.Sequential(*layers).to(dtype)


def batches(steps, width=8, dtype=torch.float32):
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(4, width, generator=generator, dtype=dtype) for _ in range(steps)]


def train(optimizer, model, inputs, ends=True, scheduler=None):
    """A usual loop; without `ends` one that leaves step() and zero_grad() out."""
    for x in inputs:
        if ends:
            optimizer.zero_grad()
        model(x).square().mean().backward()
        if ends:
            optimizer.step()
        if scheduler is not None:
            scheduler.step()
    return [p.detach().clone() for p in model.parameters()]


def equal(first, second):
    return len(first) == len(second) and all(map(torch.equal, first, second))


def same_state(first, second):
    """Whether two state_dicts hold the same, bit for bit."""
    ours, theirs = first["state"], second["state"]
    return first["param_groups"] == second["param_groups"] and all(
        equal([*ours[number].values()], [*theirs[number].values()]) for number in {**ours, **theirs}
    )
