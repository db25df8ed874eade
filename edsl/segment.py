"""Stages that run as one function on tensors, and the `at` that they see there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from edsl.layout import working_dtype
from edsl.stage import At, Stage


class TensorAt(At):
    """Where a step happens, in torch."""

    def __init__(self, theta: Tensor, gradient: Tensor, k: Tensor, powers: list[tuple[Tensor, Tensor]]) -> None:
        self.theta = theta
        self.gradient = gradient
        self.k = k
        self.powers = powers  # (β, βᵏ) for every decay

    def sqrt(self, x: Tensor) -> Tensor:
        return x.sqrt()

    def norm(self, x: Tensor) -> Tensor:
        return torch.linalg.vector_norm(x)

    def debias(self, x: Tensor, beta: Any) -> Tensor:
        for known, power in self.powers:
            if known is beta:
                return x / (1 - power)
        return x / (1 - beta**self.k)

    def first(self, x: Tensor, otherwise: Tensor) -> Tensor:
        return torch.where(self.k == 1, x, otherwise)

    def clamp(self, x: Tensor, bound: Any) -> Tensor:
        return torch.minimum(torch.maximum(x, (-bound).to(x.dtype)), bound.to(x.dtype))

    def minimum(self, x: Any, y: Any) -> Tensor:
        return torch.where(y < x, y, x)

    def ratio(self, x: Any, y: Any) -> Tensor:
        zero = (x == 0) | (y == 0)
        return torch.where(zero, 1.0, x / torch.where(zero, 1.0, y))


class WatchingAt(TensorAt):
    """Where a step happens while somebody watches: roots and norms are kept as they are taken."""

    def __init__(self, theta: Tensor, gradient: Tensor, k: Tensor, powers: list[tuple[Tensor, Tensor]]) -> None:
        super().__init__(theta, gradient, k, powers)
        self.roots: list[Tensor] = []
        self.norms: list[Tensor] = []

    def sqrt(self, x: Tensor) -> Tensor:
        self.roots.append(super().sqrt(x))
        return self.roots[-1]

    def norm(self, x: Tensor) -> Tensor:
        self.norms.append(super().norm(x))
        return self.norms[-1]


@dataclass(frozen=True)
class Segment:
    """Stages that run as one function; a stage that needs the total norm begins a new one.

    `places[i]` maps the live fields of stage i to their entries in the live vector, `powers` lists
    (entry of β, entry of βᵏ), `k` is the entry of the step number.
    """

    stages: tuple[Stage, ...]
    labels: tuple[str, ...]
    memory: tuple[Any, ...]
    places: tuple[tuple[tuple[str, int], ...], ...]
    powers: tuple[tuple[int, int], ...]
    k: int
    updates: bool  # the last stage is the base update, so θ moves

    @property
    def needs_total_norm(self) -> bool:
        return self.stages[0].needs_total_norm

    @cached_property
    def key(self) -> tuple[Any, ...]:
        """What a compiled function depends on besides its tensors."""
        stages = tuple((type(stage), stage.structure(), stage.live_fields()) for stage in self.stages)
        return stages, self.memory, self.places, self.powers, self.k, self.updates

    @cached_property
    def buffers(self) -> tuple[str, ...]:
        """The names of this segment's state, in the order in which the function takes it."""
        return tuple(f"{label}.{name}" for label, memory in zip(self.labels, self.memory) for name in memory._fields)

    @cached_property
    def noisy(self) -> tuple[tuple[Any, str], ...]:
        """The stages that read noise, with their labels."""
        return tuple((stage, label) for stage, label in zip(self.stages, self.labels) if stage.needs_noise)

    def evaluate(
        self,
        at_type: type[TensorAt],
        theta: Tensor,
        x: Tensor,
        gradient: Tensor | None,
        live: Tensor,
        total_norm: Tensor | None,
        normals: list[Tensor],
        *buffers: Tensor,
    ) -> tuple[Tensor, list[Tensor], TensorAt]:
        """What flows out, the next memory, and where it happened; nothing is written."""
        work = working_dtype(theta.dtype)
        numbers = [live[i] for i in range(self.k + 1)]
        u = x.to(work)
        raw = u if gradient is None else gradient.to(work)
        at = at_type(theta.to(work), raw, numbers[self.k], [(numbers[b], numbers[p]) for b, p in self.powers])
        at.total_norm = total_norm
        taken, drawn = 0, 0
        after: list[Tensor] = []
        for stage, places, memory_type in zip(self.stages, self.places, self.memory):
            count = len(memory_type._fields)
            if stage.needs_noise:
                at.normal = normals[drawn]
                drawn += 1
            bound = stage.bind({name: numbers[i] for name, i in places})
            u, memory = bound.step(u, memory_type(*buffers[taken : taken + count]), at)
            after.extend(memory)
            taken += count
        return u, after, at

    def function(self) -> Callable[..., Any]:
        """(θ, x, gradient, live, total_norm, normals, *memory) → u, or None when θ was updated."""

        def run(theta: Tensor, x: Tensor, *rest: Any) -> Tensor | None:
            u, after, at = self.evaluate(TensorAt, theta, x, *rest)
            buffers = rest[4:]
            # A new buffer may be an old one, or θ itself: copy those before anything is written.
            old = [*buffers, theta]
            after = [new.clone() if any(new is o for o in old) else new for new in after]
            for buffer, new in zip(buffers, after):
                buffer.copy_(new)
            if not self.updates:
                return u
            theta.copy_(at.theta + u)
            return None

        return run
