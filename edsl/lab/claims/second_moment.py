"""How fast E‖θ − θ*‖² grows in training near a shared minimum, measured on many copies of a network.

The mean of squares is carried by ever fewer lucky runs, so that the plain mean over copies tells of the typical run
instead. As in the population methods of statistical physics, copies are drawn again every few steps in proportion to
the squares that they have come to, and brought back to the distance they began at: near the minimum all is linear,
and their scale is free. The product of the mean factors is then the growth of E‖θ − θ*‖².

Source: Grassberger 2002 (go with the winners); Vanneste 2010 for Lyapunov exponents of moments.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from edsl.lab.claims.expected_moment import Expected
from edsl.lab.claims.near_minimum import Minimum, half_squared_error
from edsl.language.pipeline import Pipeline
from edsl.optim.compile import compile as compile_spec

_DISTANCE = 1e-6  # from the minimum, at which copies begin and to which they are brought back
_EVERY = 5  # steps between that
_SETTLING = 0.4  # share of the steps before growth is counted
_GROWS = 0.003  # a step: less may be a slow mode that hardly decays


@dataclass(frozen=True)
class Trial:
    """A training near a minimum.

    Attributes:
        batch: examples of a step, drawn anew and without replacement by each copy.
        copies, steps: how many are trained, and how far.
    """

    minimum: Minimum
    pipeline: Pipeline
    batch: int
    copies: int
    steps: int
    seed: int = 0

    def growth(self, lr: float) -> float:
        """log of the factor by which E‖θ − θ*‖² changes a step in the long run."""
        copies = _Copies(self, lr)
        logarithms = []
        for _ in range(self.steps // _EVERY):
            for _ in range(_EVERY):
                copies.step()
            logarithms.append(copies.renew())
        kept = logarithms[int(_SETTLING * len(logarithms)) :]
        return sum(kept) / (len(kept) * _EVERY)

    def largest_stable_lr(self, near: float, halvings: int) -> float:
        """The lr up to which E‖θ − θ*‖² does not grow."""
        return largest_stable(self.growth, near, halvings)

    def expected_lr(self, near: float) -> float:
        """The same by all second moments, without sampling."""
        expected = Expected(self.minimum, self.pipeline, self.batch, self.steps)
        return largest_stable(lambda lr: expected.growth(lr, _SETTLING), near, 6)


def largest_stable(growth: Callable[[float], float], near: float, halvings: int) -> float:
    """The lr up to which a growth stays below 0.003 a step: bisection from 0.8 and 1.1 times `near`, which widen."""

    def decays(lr: float) -> bool:
        return growth(lr) < _GROWS

    low, high = 0.8 * near, 1.1 * near
    if decays(low):
        while decays(high):
            low, high = high, 1.4 * high
    else:
        high, low = low, low / 1.4
        while not decays(low):
            high, low = low, low / 1.4
    for _ in range(halvings):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if decays(middle) else (low, middle)
    return math.sqrt(low * high)


class _Copies:
    """Copies of a network near its minimum, stepped together by one optimizer that sees each as rows of a tensor."""

    def __init__(self, trial: Trial, lr: float) -> None:
        self.trial = trial
        self.generator = torch.Generator().manual_seed(trial.seed)
        network, count = trial.minimum.network, trial.copies
        own = {name: parameter.detach() for name, parameter in network.named_parameters()}
        pushes = trial.minimum.direction.split([parameter.numel() for parameter in own.values()])
        self.rest = list(own.values())
        self.tensors = {
            name: nn.Parameter((rest + _DISTANCE * push.view_as(rest)).repeat(count, *[1] * rest.ndim))
            for (name, rest), push in zip(own.items(), pushes)
        }
        self.optimizer = compile_spec(trial.pipeline, [*self.tensors.values()])
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.before = self._squares()

        def loss(parameters: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
            return half_squared_error(functional_call(network, parameters, (x,)), y)

        self.gradients = vmap(grad(loss))

    def step(self) -> None:
        """One step of every copy, on a batch of its own."""
        minimum = self.trial.minimum
        self.before = self._squares()
        order = torch.rand(self.trial.copies, len(minimum.inputs), generator=self.generator)
        rows = order.topk(self.trial.batch, dim=1).indices
        with torch.no_grad():
            found = self.gradients(dict(self.tensors), minimum.inputs[rows], minimum.targets[rows])
        for name, tensor in self.tensors.items():
            tensor.grad = found[name]
        self.optimizer.step()

    def renew(self) -> float:
        """Draw copies by their squares, and bring them back; log of the mean factor since the last time.

        Two steps' squares are taken together: of an iterate that alternates one alone may be near 0.
        """
        squares = (self._squares() + self.before) / 2 / _DISTANCE**2
        mean = squares.mean()
        edges = (squares / mean).cumsum(0)
        places = torch.arange(len(squares)) + torch.rand((), generator=self.generator)
        chosen = torch.searchsorted(edges, places.to(edges.dtype)).clamp(max=len(squares) - 1)
        back = squares[chosen].rsqrt()
        with torch.no_grad():
            for tensor, rest in zip(self.tensors.values(), self.rest):
                tensor.copy_(rest + _scaled(tensor[chosen] - rest, back))
                for buffer in self.optimizer.state[tensor].values():
                    if isinstance(buffer, Tensor) and buffer.shape == tensor.shape:
                        buffer.copy_(_scaled(buffer[chosen], back))
        return math.log(mean.item())

    def _squares(self) -> Tensor:
        """‖θ − θ*‖² of every copy."""
        parts = [(tensor.detach() - rest).square() for tensor, rest in zip(self.tensors.values(), self.rest)]
        return torch.stack([part.flatten(1).sum(1) for part in parts]).sum(0)


def _scaled(rows: Tensor, factors: Tensor) -> Tensor:
    return rows * factors.view(-1, *[1] * (rows.ndim - 1))
