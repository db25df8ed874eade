"""A parameter's buffers: the first ones, their values, and how values come into another form."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from edsl.distributed.sharding import is_sharded, placed, shards_of
from edsl.numerics.dtypes import working_dtype
from edsl.step.parts.matrices import Matrices, factor_shapes, packed_shape, unpacked
from edsl.step.plan import GroupPlan, kept_shapes


def fresh_state(plan: GroupPlan, parameter: Tensor, matrices: Matrices | None) -> dict[str, Any]:
    """The state before the first step, buffers of its shape in the parameter's layout."""
    state: dict[str, Any] = {"step": torch.tensor(0, dtype=torch.int64, device="cpu")}
    shards, coded = shards_of(parameter), plan.coded(parameter)
    for name, shape in plan.shapes(parameter, matrices).items():
        dtype = dtype_kept(plan, name, parameter)
        if name in coded:
            state[name] = _zero_codes(shape, parameter)
        elif name in plan.factor_buffers - plan.scalars and shards is not None:
            state[name] = shards.zeros(shape, dtype)
        elif name in plan.factor_buffers:
            state[name] = torch.zeros(shape, dtype=dtype, device=parameter.device)
        else:
            state[name] = torch.zeros_like(parameter, dtype=dtype, requires_grad=False)
    return state


def dtype_kept(plan: GroupPlan, name: str, parameter: Any) -> torch.dtype:
    """The dtype of what a parameter's buffer is kept in."""
    form = plan.form_of(name, parameter)
    return plan.dtype_of(name, parameter.dtype) if form is None else form.dtype


def factor_values(plan: GroupPlan, name: str, buffer: Any, parameter: Any, matrices: Matrices | None) -> Any:
    """The values of a factor buffer that is kept as the plan says, in the shape that they have in float32.

    Of a sharded parameter every process must ask, and gets its shard of them.
    """
    form = plan.form_of(name, parameter)
    if form is None:
        return buffer
    kept = _parts(_whole(buffer), kept_shapes(plan, matrices)[name])
    shapes = factor_shapes(plan.pipeline, matrices)[name]
    work = working_dtype(parameter.dtype)
    return placed(_joined([form.opened(one, shape, work) for one, shape in zip(kept, shapes)]), parameter)


def kept_factor(plan: GroupPlan, name: str, values: Any, parameter: Any, matrices: Matrices | None) -> Any:
    """A factor buffer that holds these values, kept as the plan says: to the nearest, or as the next codes."""
    form = plan.form_of(name, parameter)
    if form is None:
        return values
    found = _parts(_whole(values), factor_shapes(plan.pipeline, matrices)[name])
    shapes = kept_shapes(plan, matrices)[name]
    work = working_dtype(parameter.dtype)
    empty = (torch.empty(shape, dtype=form.dtype, device=parameter.device) for shape in shapes)
    made = [form.closed(one.to(work), buffer, None, 0).to(form.dtype) for one, buffer in zip(found, empty)]
    return placed(_joined(made), parameter)


def _whole(buffer: Any) -> Tensor:
    """All of a buffer, on every process."""
    return (buffer.full_tensor() if is_sharded(buffer) else buffer).contiguous()


def _parts(buffer: Tensor, shapes: Sequence[tuple[int, ...]]) -> list[Tensor]:
    """The share of each matrix of a parameter."""
    return [find(buffer) for find in unpacked(shapes)]


def _joined(parts: Sequence[Tensor]) -> Tensor:
    """One buffer for all of them."""
    return torch.cat([part.reshape(-1) for part in parts]).view(packed_shape([tuple(part.shape) for part in parts]))


def _zero_codes(shape: tuple[int, ...], parameter: Any) -> Any:
    """Codes of zeros, cut in rows where the parameter is."""
    shards = shards_of(parameter)
    if shards is None:
        return torch.zeros(shape, dtype=torch.uint8, device=parameter.device)
    return shards.beside(
        torch.zeros((shards.local(parameter).shape[0], shape[1]), dtype=torch.uint8, device=parameter.device), shape
    )
