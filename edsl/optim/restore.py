"""What happens to a state_dict on its way into an optimizer: completed, put in order, and copied in its dtypes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache, partial
from typing import Any

import torch

from edsl.distributed.sharding import placed, shards_of
from edsl.groups.param_groups import names_in, route_in
from edsl.language.pipeline import Pipeline
from edsl.numerics.dtypes import HALF
from edsl.numerics.formats.format import StateFormat
from edsl.numerics.weights.forms import RESTS
from edsl.numerics.weights.split import Split
from edsl.optim.checkpoint import counts, plan_of, rest_kept, saved_choice
from edsl.step.buffers import factor_values, kept_factor
from edsl.step.parts.matrices import Matrices
from edsl.step.plan import GroupPlan
from edsl.step.state_dtype import StateDtype, chosen_for, in_codes, opened


@contextmanager
def around_loading(
    optimizer: torch.optim.Optimizer, accept: Callable[[dict[str, Any]], dict[str, Any]], take: Callable[[Any], None]
) -> Iterator[None]:
    """Inside, what torch loads is first what `accept` makes of it; then `take` has that, and may mend what torch did.

    `accept` comes after the user's hooks, which may rewrite a checkpoint, and `take` before them, as they may read.
    """
    accepted: list[dict[str, Any]] = []

    def before(_: torch.optim.Optimizer, checkpoint: dict[str, Any]) -> dict[str, Any]:
        accepted.append(accept(checkpoint))
        return accepted[0]

    def after(_: torch.optim.Optimizer) -> None:
        take(accepted[0])

    last = optimizer.register_load_state_dict_pre_hook(before)
    first = optimizer.register_load_state_dict_post_hook(after, prepend=True)
    try:
        yield
    finally:
        last.remove()
        first.remove()


def sent(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """A state_dict whose sharded rests of int16 are the same bits as bfloat16: neither gloo nor NCCL gathers int16."""
    states = {number: _each_rest(state, torch.int16, torch.bfloat16) for number, state in checkpoint["state"].items()}
    return {**checkpoint, "state": states}


def received(checkpoint: Any) -> Any:
    """The same checkpoint with these bits as int16 again, sharded or not."""
    states = checkpoint.get("state") if isinstance(checkpoint, dict) else None
    if not isinstance(states, dict):
        return checkpoint
    found = {number: _each_rest(state, torch.bfloat16, torch.int16) for number, state in states.items()}
    return {**checkpoint, "state": found}


def _each_rest(state: Any, dtype: torch.dtype, other: torch.dtype) -> Any:
    """State whose rests of whole numbers, where they are of one dtype, are views of another."""
    rest = state.get(Split.buffer) if isinstance(state, dict) else None
    shards = shards_of(rest)
    if not isinstance(rest, torch.Tensor) or rest.dtype is not dtype or (shards is None and dtype is torch.int16):
        return state
    local = rest if shards is None else shards.local(rest)
    viewed = local.view(other)
    return {**state, Split.buffer: viewed if shards is None else shards.wrap(viewed)}


def in_own_form(
    checkpoint: dict[str, Any],
    pipeline: Pipeline,
    state_dtype: StateDtype,
    groups: Sequence[dict[str, Any]],
    kinds: Mapping[str, Sequence[str]] | None,
) -> dict[str, Any]:
    """A checkpoint that was accepted, as if this optimizer had kept its weights and state.

    State loses the rests of other forms; what it lacks is made, as zeros, at the next step. What was kept in another
    form of state is opened, and kept as it is here.
    """
    if len(groups) != len(checkpoint["param_groups"]):  # torch will say so
        return checkpoint
    saved_groups, states = [], dict(checkpoint["state"])
    for group, saved in zip(groups, checkpoint["param_groups"]):
        own = {key: group[key] for key in ("weights", "state_dtype") if key in group}
        saved_groups.append({**{key: value for key, value in saved.items() if key != "state_dtype"}, **own})
        choices = saved_choice(saved), state_dtype
        theirs, ours = (lru_cache(partial(plan_of, pipeline, saved, state_dtype=chosen)) for chosen in choices)
        names = names_in(group)
        for parameter, name, number in zip(group["params"], names, saved["params"]):
            kept = {rest_kept(saved, group, parameter)}
            if number in states:
                state = {key: v for key, v in states[number].items() if key not in RESTS or key in kept}
                on = route_in(pipeline, group, parameter), parameter.dtype in HALF
                there, here = theirs(*on), ours(*on)
                matrices = here.matrices(parameter.shape, name, kinds.get(name) if kinds else None)
                states[number] = _in_own_forms(state, there, here, parameter, matrices)
    return {**checkpoint, "param_groups": saved_groups, "state": states}


def _in_own_forms(
    state: dict[str, Any], there: GroupPlan, here: GroupPlan, parameter: Any, matrices: Matrices | None
) -> dict[str, Any]:
    """A parameter's state as a plan keeps it, of one that was kept by another."""
    found = dict(state)
    for name in here.buffers:
        buffer, to = state.get(name), here.form_of(name, parameter)
        if not isinstance(buffer, torch.Tensor):
            continue
        if name in here.factor_buffers:
            if there.form_of(name, parameter) != to:
                values = factor_values(there, name, buffer, parameter, matrices)
                found[name] = kept_factor(here, name, values, parameter, matrices)
            continue
        was = chosen_for(there.state_dtype, name) if buffer.dtype is torch.uint8 else None
        if was != to:
            values = opened(buffer, was, parameter) if isinstance(was, StateFormat) else buffer
            fits = isinstance(to, StateFormat)
            found[name] = in_codes(placed(values, parameter), to, parameter) if fits else values
    return found


def completed(checkpoint: Any, options: dict[str, Any]) -> Any:
    """The checkpoint with the defaults of options that its groups don't know, and with steps as tensors."""
    if not isinstance(checkpoint, dict):
        return checkpoint
    groups, states = checkpoint.get("param_groups"), checkpoint.get("state")
    if not isinstance(groups, list) or not isinstance(states, dict):
        return checkpoint
    return {
        **checkpoint,
        "param_groups": [
            {**group, **_lacking(options, group)} if isinstance(group, dict) else group for group in groups
        ],
        "state": {number: _with_tensor(state) for number, state in states.items()},
    }


def _lacking(options: dict[str, Any], group: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in options.items() if key not in group}


def _with_tensor(state: Any) -> Any:
    step = state.get("step") if isinstance(state, dict) else None
    if isinstance(step, bool) or not isinstance(step, (int, float)):
        return state
    dtype = torch.int64 if counts(step) else torch.float64
    return {**state, "step": torch.tensor(step, dtype=dtype, device="cpu")}


def in_order_of_names(checkpoint: Any, groups: list[dict[str, Any]]) -> Any:
    """The checkpoint with each group's parameters in the optimizer's order, where both know the same names.

    torch.distributed.checkpoint has brought them into that order already, and calls them by their names in
    the model; of a group it keeps the saved names, and loses what is empty.
    """
    saved_groups = checkpoint.get("param_groups") if isinstance(checkpoint, dict) else None
    if not isinstance(saved_groups, list) or len(saved_groups) != len(groups):
        return checkpoint
    return {**checkpoint, "param_groups": [_reordered(saved, group) for saved, group in zip(saved_groups, groups)]}


def _reordered(saved: Any, group: dict[str, Any]) -> Any:
    names = group.get("param_names")
    had = saved.get("param_names") if isinstance(saved, dict) else None
    numbers = saved.get("params") if isinstance(saved, dict) else None
    if isinstance(numbers, list) and numbers and all(isinstance(number, str) for number in numbers):
        own = {"param_names": list(names)} if names else {}
        return {"exclude": (), **saved, **own}
    if not names or not isinstance(had, (list, tuple)) or not isinstance(numbers, (list, tuple)):
        return saved
    if list(had) == list(names) or len(had) != len(numbers) or sorted(map(str, had)) != sorted(names):
        return saved
    places = dict(zip(had, numbers))
    return {**saved, "params": [places[name] for name in names], "param_names": list(names)}


def restore_state(
    pipeline: Pipeline,
    state_dtype: StateDtype,
    groups: Sequence[dict[str, Any]],
    states: Any,
    checkpoint: dict[str, Any],
) -> None:
    """Copy a checkpoint's state in dtypes of its own, where torch has cast it to the parameter's.

    Args:
        groups, states: the optimizer's, after torch has loaded the checkpoint.
    """
    for group, saved_group in zip(groups, checkpoint["param_groups"]):
        plan_on = lru_cache(partial(plan_of, pipeline, saved_group, state_dtype=state_dtype))
        for parameter, number in zip(group["params"], saved_group["params"]):
            saved = checkpoint["state"].get(number)
            if saved is None:
                continue
            state = states[parameter]
            state["step"] = saved["step"].to(torch.int64, copy=True)  # once a float32, which stops at 2²⁴
            plan = plan_on(route_in(pipeline, group, parameter), parameter.dtype in HALF)
            own = plan.weights.rest_dtypes(parameter.dtype)
            for name in plan.buffers:
                if name in own and name not in saved:
                    continue  # it begins at 0
                is_coded = saved[name].dtype is torch.uint8
                dtype = None if is_coded else plan.dtype_of(name, parameter.dtype)
                loaded = saved[name].to(device=parameter.device, dtype=dtype, copy=True)
                state[name] = loaded if name in plan.scalars else placed(loaded, parameter)
