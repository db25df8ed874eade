"""One matrix of a parameter that is several, in one step."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from math import prod
from typing import Any

import torch
from torch import Tensor

from edsl.numerics.dtypes import working_dtype
from edsl.step.oracle import generator_for
from edsl.step.parameter import ParameterStep
from edsl.step.parts.decoded import decoded_in
from edsl.step.parts.matrices import Matrices, Matrix, name_of, unpacked
from edsl.step.plan import GroupPlan, kept_shapes
from edsl.step.segment import Segment

Finders = dict[str, Callable[[Tensor], Tensor]]


class PartStep(ParameterStep):
    """A range of a parameter's rows or columns, which takes a step as a parameter of its own would.

    It has no tensors but in a step, and no state but its share of the parameter's: what lies in rows it sees where that
    lies, of columns it has copies, which `write_back` brings home.

    Args:
        whole: the parameter that it is a part of.
        part: which of its matrices.
        factors: what finds its share of each factor buffer.
    """

    def __init__(self, whole: ParameterStep, part: Matrix, factors: Finders) -> None:
        assert whole.matrices is not None  # only what is cut has parts
        self.whole, self._cut, self._part, self._factors = whole, whole.matrices, part, factors
        self.plan, self.shards, self.device = whole.plan, whole.shards, whole.device
        self.coded = {}  # it sees them decoded
        self.copied_from = None if self._cut.lie_in_rows and not whole.coded else whole
        self.name = name_of(whole.name, part.name)
        self.count = prod(part.shape)
        self.dense, self.steps_in_place, self.counts = True, False, False
        self.kernels, self.paths = {}, {}
        self._in_memory = {}

    def take(self) -> None:
        """Take its share of what the parameter has for a new step."""
        self.release_gradients()
        whole = self.whole
        self.parameter, self.state, self.extents = whole.parameter, whole.state, whole.extents
        self.k, self.maximize = whole.k, whole.maximize
        self.raw = self.flowing = self._of(whole.raw)
        self.new_hessian = None if whole.new_hessian is None else self._of(whole.new_hessian)
        self.own_difference = None if whole.own_difference is None else self._of(whole.own_difference)

    def release_gradients(self) -> None:
        """Let go of all tensors."""
        self.parameter = self.state = self._given = None
        self.raw = self.flowing = self.new_hessian = self.own_difference = None
        self._forget_places()

    def _forget_places(self) -> None:
        self._in_memory.clear()
        for name in ("local", "address"):
            self.__dict__.pop(name, None)

    @cached_property
    def local(self) -> Tensor:
        return self._of(self.whole.theta)

    @property
    def theta(self) -> Tensor:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.local

    @property
    def step_address(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        return 0  # the parameter counts its steps, once for all parts

    def buffer_addresses(self, segment: Segment) -> list[int]:
        return [*map(Tensor.data_ptr, self.buffers_in_memory(segment))]

    def normal(self, stage: Any, label: str, whole: bool = False) -> Tensor:
        generator = generator_for(self.theta.device, stage.seed, label, self.name, self.k)
        dtype = working_dtype(self.theta.dtype)
        return torch.randn(self._part.shape, generator=generator, dtype=dtype, device=self.theta.device)

    def write_back(self) -> None:
        """Bring copies home, and let go of them; what flows stays."""
        if self._cut.lie_in_rows:  # what it has lies where the parameter's does
            self._forget_places()
            return
        if "local" in self.__dict__:
            self._cut.put(self.whole.theta, self._part, self.local)
        for segment in self.plan.segments:
            for name, copy, there in zip(
                segment.buffers, self._in_memory.get(segment.begin, ()), decoded_in(segment, self.whole)
            ):
                if name not in self.plan.factor_buffers:
                    self._cut.put(there, self._part, copy)
        self._forget_places()

    def _laid_out(self, segment: Segment) -> list[Tensor]:
        found = zip(segment.buffers, decoded_in(segment, self.whole))
        return [self._factors[name](buffer) if name in self._factors else self._of(buffer) for name, buffer in found]

    def _of(self, tensor: Any) -> Tensor:
        return self._cut.take(tensor, self._part)


def parts_of(whole: ParameterStep) -> tuple[PartStep, ...]:
    """The parts of a parameter that is several matrices and whole on this process; of others none."""
    if not whole.is_cut or whole.is_sharded_here or whole.matrices is None:
        return ()
    found = zip(whole.matrices.parts, finders(whole.plan, whole.matrices))
    return tuple(PartStep(whole, part, factors) for part, factors in found)


def finders(plan: GroupPlan, matrices: Matrices) -> list[Finders]:
    """For each matrix of a parameter, what finds its share of each factor buffer."""
    found = {name: unpacked(shapes) for name, shapes in kept_shapes(plan, matrices).items()}
    return [{name: own[place] for name, own in found.items()} for place in range(len(matrices.parts))]
