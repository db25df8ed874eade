"""A pipeline's cycle run: its compiled optimizer on the function on which it walks round a polygon for ever."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

import edsl
from edsl.errors import EdslError
from edsl.language.pipeline import Pipeline
from edsl.theory.certificates.cycle import PUSH, Cycle
from edsl.theory.systems.state_space import StateSpace

LATE = 1_000_000  # the step at which the run begins: what differs in the first steps is long over
ROUNDS = 1000


@dataclass(frozen=True)
class CycleRun:
    """What a compiled optimizer does on its cycle's function, with θ in the plane and the cycle of radius 1.

    Attributes:
        off_after_one: the largest distance from the cycle in one round, begun on it.
        off_after_push: the distance from the cycle, shifted along itself or not, after 1,000 rounds, begun 1 % off.
        path: (steps + 1, 2), θ begun at (2, 0) with empty memory.
        losses: f there.
    """

    off_after_one: float
    off_after_push: float
    path: Any
    losses: Any


def run_cycle(
    pipeline: Pipeline,
    system: StateSpace,
    cycle: Cycle,
    steps: int = 2000,
    rounds: int = ROUNDS,
    mode: str = "compiled",
) -> CycleRun:
    """Step a pipeline on its cycle's function, in float64: on the cycle, 1 % beside it, and from afar.

    Raises:
        EdslError: for a pipeline whose cycle is of a model that its optimizer is not: with a frozen root or noise.
    """
    if system.notes:
        raise EdslError(f"the cycle is of a model of this pipeline, which can't be run: {system.notes[0]}")
    memory = cycle.memory(system)
    walker = _Walker(pipeline, cycle, mode)
    on_it = walker.walk(cycle.period, memory)
    beside = walker.walk(rounds * cycle.period, {name: z * (1 + PUSH) for name, z in memory.items()})
    away = walker.walk(steps, None)
    return CycleRun(
        float(np.abs(on_it[1:] - np.roll(cycle.points, -1)).max()),
        _distance(cycle, beside[-1]),
        np.stack([away.real, away.imag], axis=1),
        np.array([cycle.value_at(z) for z in away]),
    )


@dataclass(frozen=True)
class _Walker:
    pipeline: Pipeline
    cycle: Cycle
    mode: str

    def walk(self, steps: int, memory: dict[str, complex] | None) -> Any:
        """θ before and after each step, as complex numbers; from (2, 0) without a memory."""
        start = 2.0 + 0j if memory is None else memory["theta"]
        theta = torch.nn.Parameter(_pair(start))
        optimizer: Any = edsl.compile(self.pipeline, [theta], mode=self.mode)
        if memory is not None:
            _begin(optimizer, theta, memory)
            with torch.no_grad():
                theta.copy_(_pair(start))
        found = [start]
        for _ in range(steps):
            theta.grad = _pair(self.cycle.gradient_at(found[-1]))
            optimizer.step()
            found.append(complex(*theta.detach().tolist()))
        return np.array(found)


def _begin(optimizer: Any, theta: torch.nn.Parameter, memory: dict[str, complex]) -> None:
    """Give an optimizer the state that it has on the cycle, late in training."""
    theta.grad = torch.zeros_like(theta)
    optimizer.step()  # which makes its buffers
    held = optimizer.state_dict()
    for name, value in held["state"][0].items():
        if name in memory:
            held["state"][0][name] = _pair(memory[name])
        elif name == "step":
            held["state"][0][name] = torch.full_like(value, LATE)
    optimizer.load_state_dict(held)


def _distance(cycle: Cycle, z: complex) -> float:
    """From the nearest point of the cycle."""
    return float(np.abs(cycle.points - z).min())


def _pair(z: complex) -> torch.Tensor:
    return torch.tensor([z.real, z.imag], dtype=torch.float64)
