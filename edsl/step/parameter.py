"""One parameter in one step: what of it this process has, and its state."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from edsl.distributed.sharding import Copies, Shards, is_sharded
from edsl.numerics.dtypes import working_dtype
from edsl.numerics.formats.layout import width_of
from edsl.numerics.stochastic_rounding import key_of
from edsl.step.addresses import (
    PLAIN,
    Extent,
    Recognition,
    check_gradient,
    check_parameter_memory,
    check_state,
    extent,
    is_zero_tensor,
)
from edsl.step.layout import alias, is_dense
from edsl.step.oracle import ParameterSlot, generator_for
from edsl.step.parts.matrices import Matrices, name_of
from edsl.step.plan import GroupPlan
from edsl.step.segment import Segment


class ParameterStep:
    """θ, what flows through the stages, and the state: of a sharded parameter its local shard.

    Tensors are here as they lie in memory, all in the parameter's layout; `theta`, `x` and the others are
    aliases of them for stages.

    Attributes:
        parameter: as the user has it, a DTensor where it is sharded; an item at rest has no tensors.
        shards: how it is sharded, or None.
        device: the type of its device.
        dense: the stages work on the parameter's own memory.
        raw, flowing: the gradient, and what became of it.
        counts: this step is still to be counted.
        new_hessian, own_difference: a new estimate of the Hessian's diagonal, and of the gradient's change, or None.
        matrices: how it is taken as matrices, None where it isn't.
        parts: what steps instead of it, where it is several.
        coded: the buffers that are kept in codes, and their formats.
        decoded: by the place where a segment begins, its buffers with codes decoded, for its parts: see `decoded_in`.
        extents: the memory of θ and its state, none where it is sharded.
        kernels: by the number of a segment, the dtypes of what flows in and of the gradient, and the kernel for them.
        paths: by the place where a segment begins, what took it through that last.
    """

    parameter: Any
    state: Any
    _given: Any
    raw: Any
    flowing: Any
    new_hessian: Tensor | None
    own_difference: Tensor | None

    matrices: Matrices | None = None
    parts: tuple[Any, ...] = ()
    copied_from: Any = None  # the parameter, where this is a part of it that steps as a copy

    def __init__(self, slot: ParameterSlot, plan: GroupPlan, state: Any, matrices: Any) -> None:
        self.plan, self.matrices = plan, matrices
        self.shards = Shards(slot.parameter) if is_sharded(slot.parameter) else None
        self._hold(slot, state)
        which = f"parameter {self.name}"
        check_gradient(slot.gradient, slot.parameter, which)
        check_parameter_memory(self._local(self.parameter), which)
        self.coded, forms = plan.coded(self.parameter), plan.forms(self.parameter)
        check_state(state, plan.shapes(self.parameter, matrices), self.parameter, which, forms, plan.weights)
        in_order = plan.is_matrix or bool(self.coded)
        self.dense = is_dense(self.local) and (not in_order or self.local.is_contiguous())
        self.strides = self.local.stride()
        self.steps_in_place = self.dense and self.shards is None  # it may take another step
        self.count = self.local.numel()
        self.device = self.local.device.type
        self.kernels: dict[Any, Any] = {}
        self.paths: dict[int, str] = {}
        self.extents = _extents(self)
        self._lies = self.steps_in_place and _lies_plainly(slot.gradient, self.strides)
        self._in_memory: dict[int, list[Tensor]] = {}
        self.decoded: dict[int, list[Tensor]] = {}
        self._buffer_addresses: dict[int, list[int]] = {}
        self._recognition: Recognition | None = None
        self._take(slot)

    def begin(self, slot: ParameterSlot, plan: GroupPlan, state: dict[str, Any]) -> bool:
        """Take what the estimator found for a new step, if parameter, state and plan are as they were.

        Every step of every parameter comes through here.
        """
        known, gradient = self._recognition, slot.gradient
        if self.plan is not plan or known is None or gradient is None:
            return False
        staying: list[Any] = [slot.parameter, *map(state.get, self._names)]
        if not known.fits(staying, (gradient,)) or not known.fits_storage((gradient,)):
            return False
        self._hold(slot, state)
        self._take(slot)
        return True

    def _hold(self, slot: ParameterSlot, state: dict[str, Any]) -> None:
        """Have the tensors of a step, which `release_gradients` lets go of."""
        self.parameter, self.name, self.state, self._given = slot.parameter, slot.name, state, slot.gradient

    def _take(self, slot: ParameterSlot) -> None:
        gradient = self._given
        self.k, self.maximize, self.counts = slot.k, slot.maximize, True
        self.raw = self.flowing = gradient if self._lies and not slot.maximize else self._seen(gradient)
        self.new_hessian = self.own_difference = None
        if slot.hessian is not None:
            self.new_hessian = self._seen(slot.hessian)
        if slot.difference is not None:
            self.own_difference = self._seen(slot.difference)

    def release_gradients(self) -> None:
        """Let go of all tensors, and note as numbers and forms what the next step must find again."""
        if self._recognition is None and self.steps_in_place:
            staying = [self.parameter, *map(self.state.get, self._names)]
            self._recognition = Recognition(staying, (self._given,))
            self.extents = _extents(self)  # some buffers may have been laid out anew
        self.parameter = self.state = self._given = None
        self.raw = self.flowing = self.new_hessian = self.own_difference = None
        self._in_memory.clear()
        self.decoded.clear()
        own = self.__dict__
        own.pop("local", None)
        own.pop("theta", None)

    @cached_property
    def _names(self) -> tuple[str, ...]:
        return ("step", *self.plan.buffers)

    @cached_property
    def local(self) -> Tensor:
        """This process's part of the parameter, as torch's own class."""
        return _plain(self._local(self.parameter).detach())

    @property
    def steps_on_gradient(self) -> bool:
        """Whether it reads the gradient where that lies."""
        return self.raw is self._given

    @cached_property
    def step_address(self) -> int:
        """Where the number of steps taken lies, 0 where native code can't count it up."""
        step = self.state["step"]
        counts = step.dtype is torch.int64 and step.device.type == "cpu" and type(step) in PLAIN
        return step.data_ptr() if counts else 0

    def buffer_addresses(self, segment: Segment) -> list[int]:
        """Where the segment's buffers lie, in the parameter's layout."""
        found = self._buffer_addresses.get(segment.begin)
        if found is None:
            found = self._buffer_addresses[segment.begin] = [*map(Tensor.data_ptr, self.buffers_in_memory(segment))]
        return found

    @cached_property
    def address(self) -> int:
        """Where θ lies; an item takes another step only while it does not move."""
        return (self.local if self.steps_in_place else self.theta).data_ptr()

    @property
    def key(self) -> int:
        """Of this step's stochastic rounding; 0 where nothing is rounded."""
        return key_of(self.name, self.k) if self.plan.rounds_stochastically else 0

    @cached_property
    def theta(self) -> Tensor:
        return self._laid(self.local)

    @property
    def x(self) -> Tensor:
        return alias(self.flowing, self.plan.is_matrix)

    @x.setter
    def x(self, made: Tensor | None) -> None:
        self.flowing = made

    @property
    def gradient(self) -> Tensor:
        return alias(self.raw, self.plan.is_matrix)

    @property
    def hessian(self) -> Tensor | None:
        return None if self.new_hessian is None else alias(self.new_hessian, self.plan.is_matrix)

    @property
    def difference(self) -> Tensor | None:
        return None if self.own_difference is None else alias(self.own_difference, self.plan.is_matrix)

    @cached_property
    def is_sharded_here(self) -> bool:
        """Whether other processes have the rest of it."""
        return self.shards is not None and bool(self.shards.cuts)

    def memory(self, segment: Segment) -> list[Tensor]:
        """Aliases of the segment's buffers, in the order in which its function takes them."""
        lying = zip(segment.buffers, self.buffers_in_memory(segment))
        own, matrix = self.plan.factor_buffers | self.coded.keys(), self.plan.is_matrix
        return [buffer if name in own else alias(buffer, matrix) for name, buffer in lying]

    @cached_property
    def width(self) -> int:
        """The elements of a row of codes."""
        return width_of(tuple(self.local.shape)) if self.coded else 0

    def buffers_in_memory(self, segment: Segment) -> list[Tensor]:
        """The segment's buffers as they lie in memory, in the parameter's layout."""
        found = self._in_memory.get(segment.begin)
        if found is None:
            found = self._in_memory[segment.begin] = self._laid_out(segment)
        return found

    def _laid_out(self, segment: Segment) -> list[Tensor]:
        found = []
        for name in segment.buffers:
            buffer = self.state[name] if name in self.plan.scalars else self._local(self.state[name], name)
            factor = name in self.plan.factor_buffers or name in self.coded
            laid = buffer.resolve_neg().contiguous() if factor else self._like_parameter(buffer)
            if laid is not buffer:
                self.state[name] = laid if self.shards is None or name in self.plan.scalars else self.shards.wrap(laid)
            found.append(laid)
        return found

    def shards_of(self, name: str) -> Any:
        """How a buffer of a sharded parameter is sharded; a number of the layer travels as copies."""
        if name in self.plan.scalars:
            return Copies(self.shards, self.state[name].shape)
        own = name in self.plan.factor_buffers or name in self.coded
        return Shards(self.state[name]) if own else self.shards

    def normal(self, stage: Any, label: str, whole: bool = False) -> Tensor:
        """Noise that depends on seed, stage, parameter and step alone; the whole parameter's, or this shard's."""
        drawn = _noise(self, stage.seed, label)
        if whole:
            return alias(drawn, self.plan.is_matrix)
        return self._laid(self._local(drawn))  # drawn in logical order: the layout does not matter

    @property
    def is_cut(self) -> bool:
        """Whether it is several matrices."""
        return self.matrices is not None and not self.matrices.are_one

    def write_back(self) -> None:
        """Bring a θ that was stepped elsewhere, since it isn't dense, into the parameter's memory."""
        self.local.copy_(self.theta.view(self.local.shape))

    def _local(self, tensor: Any, name: str = "") -> Tensor:
        if self.shards is None:
            return tensor
        shards = self.shards_of(name) if name else self.shards
        return shards.local(tensor)

    def _seen(self, tensor: Tensor) -> Tensor:
        """What the estimator found, of −f where f is to be maximized."""
        local = _plain(self._local(tensor.detach())).resolve_neg()
        if is_zero_tensor(local):
            local = torch.zeros_like(self.local, dtype=local.dtype)
        return self._like_parameter(-local if self.maximize else local)

    def _laid(self, tensor: Tensor) -> Tensor:
        """An alias of a tensor, or of a copy in the parameter's layout."""
        return alias(self._like_parameter(tensor), self.plan.is_matrix)

    def _like_parameter(self, tensor: Tensor) -> Tensor:
        """The tensor itself where it has the parameter's layout, else a copy that has it."""
        same = tensor.stride() == self.strides if self.dense else tensor.is_contiguous()
        if same and not tensor.is_neg():
            return tensor
        if not self.dense:
            return tensor.resolve_neg().contiguous()
        return torch.empty_like(self.local, dtype=tensor.dtype, requires_grad=False).copy_(tensor)


def _extents(item: ParameterStep) -> tuple[Extent, ...]:
    """Where θ and its state lie, where this process has the whole."""
    if item.shards is not None:
        return ()
    return extent(item.local, ""), *(extent(item.state[name], name) for name in ("step", *item.plan.buffers))


def flowing_out(item: ParameterStep) -> Any:
    """What flows out of an item's last segment, in the gradient's dtype and the parameter's layout."""
    if item.dense:
        u = torch.empty_like(item.local, dtype=item.raw.dtype, requires_grad=False)
        alias(u).copy_(item.x.reshape(-1))
    else:
        u = item.x.to(item.raw.dtype, copy=True).view(item.local.shape)
    return u if item.shards is None else item.shards.wrap(u)


def _noise(item: ParameterStep, seed: int, label: str) -> Tensor:
    """Normal noise for a whole parameter, or for each of its matrices under the matrix's own name."""
    device, dtype = item.theta.device, working_dtype(item.theta.dtype)

    def drawn(name: str, shape: tuple[int, ...]) -> Tensor:
        generator = generator_for(device, seed, label, name, item.k)
        return torch.randn(shape, generator=generator, dtype=dtype, device=device)

    shape = tuple(item.parameter.shape)
    if not item.is_cut or item.matrices is None:
        return drawn(item.name, shape)
    noise = torch.empty(shape, dtype=dtype, device=device)
    for part in item.matrices.parts:
        item.matrices.put(noise, part, drawn(name_of(item.name, part.name), part.shape))
    return noise


def _lies_plainly(gradient: Any, strides: tuple[int, ...]) -> bool:
    """Whether a gradient has θ's memory layout, and says what it holds."""
    alike = type(gradient) in PLAIN and gradient.stride() == strides
    return alike and not gradient.is_neg() and not is_zero_tensor(gradient)


def _plain(tensor: Tensor) -> Tensor:
    """Of a subclass that only adds methods, the tensor itself."""
    return tensor if type(tensor) in PLAIN else tensor.as_subclass(Tensor)
