"""One parameter in one step: what of it this process has, and its state."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from edsl.layout import alias, is_dense, working_dtype
from edsl.oracle import Slot, generator_for
from edsl.plan import Plan
from edsl.segment import Segment
from edsl.shards import Shards, is_sharded


class Item:
    """Aliases of θ, of what flows through the stages, and of the state: of a sharded parameter its local shard.

    Attributes:
        parameter: as the user has it, a DTensor where it is sharded.
        shards: how it is sharded, or None.
        theta, gradient, hessian, difference, x: aliases; x is what flows.
    """

    def __init__(self, slot: Slot, plan: Plan, state: dict[str, Any], maximize: bool) -> None:
        assert slot.gradient is not None  # the engine passes over parameters without one
        self.parameter, self.plan, self.state, self.name = slot.parameter, plan, state, slot.name
        self.shards = Shards(slot.parameter) if is_sharded(slot.parameter) else None
        self.k = int(state["step"]) + 1
        self.local = self._local(slot.parameter).detach()
        self.dense = is_dense(self.local) and (not plan.is_matrix or self.local.is_contiguous())
        self.theta = self._laid(self.local)
        self.maximize = maximize
        self.gradient = self._seen(slot.gradient)
        self.hessian = None if slot.hessian is None else self._seen(slot.hessian)
        self.difference = None if slot.difference is None else self._seen(slot.difference)
        self.x = self.gradient

    @cached_property
    def is_cut(self) -> bool:
        """Whether other processes have the rest of it."""
        return self.shards is not None and bool(self.shards.cuts)

    def memory(self, segment: Segment) -> list[Tensor]:
        """The segment's buffers, in the order in which its function takes them."""
        views = []
        for name in segment.buffers:
            buffer = self._local(self.state[name], name)
            if name in self.plan.reshaped:
                views.append(buffer)
                continue
            laid = self._like_parameter(buffer)
            if laid is not buffer:
                self.state[name] = laid if self.shards is None else self.shards.wrap(laid)
            views.append(alias(laid, self.plan.is_matrix))
        return views

    def shards_of(self, name: str) -> Shards:
        """How a buffer of a sharded parameter is sharded."""
        assert self.shards is not None  # asked of those only
        return Shards(self.state[name]) if name in self.plan.reshaped else self.shards

    def normal(self, stage: Any, label: str, whole: bool = False) -> Tensor:
        """Noise that depends on seed, stage, parameter and step alone; the whole parameter's, or this shard's."""
        generator = generator_for(self.theta.device, stage.seed, label, self.name, self.k)
        dtype = working_dtype(self.theta.dtype)
        drawn = torch.randn(tuple(self.parameter.shape), generator=generator, dtype=dtype, device=self.theta.device)
        if whole:
            return alias(drawn, self.plan.is_matrix)
        return self._laid(self._local(drawn))  # drawn in logical order: the layout does not matter

    def u(self) -> Any:
        """What flows out of the last segment, in the gradient's dtype and the parameter's layout."""
        if self.dense:
            u = torch.empty_like(self.local, dtype=self.gradient.dtype, requires_grad=False)
            alias(u).copy_(self.x.reshape(-1))
        else:
            u = self.x.to(self.gradient.dtype, copy=True).view(self.local.shape)
        return u if self.shards is None else self.shards.wrap(u)

    def write_back(self) -> None:
        if self.dense:
            torch.autograd.graph.increment_version(self.parameter)
        else:
            self.local.copy_(self.theta.view(self.local.shape))

    def _local(self, tensor: Any, name: str = "") -> Tensor:
        if self.shards is None:
            return tensor
        shards = self.shards_of(name) if name else self.shards
        return shards.local(tensor)

    def _seen(self, tensor: Tensor) -> Tensor:
        """What the estimator found, of −f where f is to be maximized."""
        local = self._local(tensor.detach()).resolve_neg()
        return self._laid(-local if self.maximize else local)

    def _laid(self, tensor: Tensor) -> Tensor:
        """An alias of a tensor, or of a copy in the parameter's layout."""
        return alias(self._like_parameter(tensor), self.plan.is_matrix)

    def _like_parameter(self, tensor: Tensor) -> Tensor:
        """The tensor itself where it has the parameter's layout, else a copy that has it."""
        same = tensor.stride() == self.local.stride() if self.dense else tensor.is_contiguous() and not tensor.is_neg()
        if same:
            return tensor
        if not self.dense:
            return tensor.resolve_neg().contiguous()
        return torch.empty_like(self.local, dtype=tensor.dtype, requires_grad=False).copy_(tensor)
