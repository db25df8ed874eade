"""Whether a checkpoint is whole and belongs to a pipeline, found out before anything is changed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache, partial
from typing import Any

import torch
from torch import Tensor

from edsl.distributed.sharding import is_sharded
from edsl.engine.engine import Engine
from edsl.errors import EdslError, malformed_checkpoint, shown
from edsl.groups.param_groups import Share, is_whole, names_in, route_in, weights_in
from edsl.language.caller import warn_user
from edsl.language.pipeline import Pipeline
from edsl.language.registry.provenance import KEY, compared, different_rules, marks
from edsl.language.rules.stage import RuleStage
from edsl.language.schedules.group import schedules_in
from edsl.language.spec import read
from edsl.numerics.dtypes import HALF
from edsl.numerics.formats.form import BufferForm
from edsl.numerics.formats.format import StateFormat
from edsl.step.parts.matrices import Matrices
from edsl.step.plan import GroupPlan
from edsl.step.state_dtype import StateDtype, chosen_for, from_text, kept_for, name_of_kept

_WITHIN = ("edsl.optim.", "torch.optim.", "torch._compile", "torch._dynamo.")


def check_checkpoint(
    checkpoint: Any,
    pipeline: Pipeline,
    keys: Iterable[str],
    groups: list[dict[str, Any]],
    kinds: Mapping[str, Sequence[str]] | None,
    state_dtype: StateDtype,
    reformat: bool,
) -> None:
    """Check a state_dict against the optimizer that would load it.

    Args:
        keys: what every param group must hold.
        groups: the optimizer's own param groups, in the checkpoint's order.
        kinds: of the modules that own its parameters, by name, where they are known.
        state_dtype: what its state is kept in.
        reformat: what is kept in another form is taken too.

    Raises:
        EdslError: one line that says what is wrong.
    """
    states, saved_groups = entries_of(checkpoint)
    edited = [line for saved in saved_groups for line in _compared(saved, pipeline)]
    for saved in saved_groups:
        _check_group(saved, pipeline, keys)
    if len({saved.get("calls", 0) for saved in saved_groups}) > 1:
        raise malformed_checkpoint("its groups are at different calls of an accumulation")
    check_numbers(states, saved_groups)
    for group, saved in zip(groups, saved_groups):
        theirs, own = saved.get("route", ""), group.get("route", "")
        if theirs != own:
            raise EdslError(f"this checkpoint has the route {theirs!r} where this optimizer has {own!r}")
        plan_on = lru_cache(partial(plan_of, pipeline, saved, state_dtype=saved_choice(saved)))
        names = names_in(group)
        for parameter, name, number in zip(group["params"], names, saved["params"]):
            if number in states:
                rest = rest_kept(saved, group, parameter)
                if not reformat:
                    _check_form(saved, group, states[number], parameter)
                    is_half = parameter.dtype in HALF
                else:
                    is_half = bool(rest) and rest in states[number]
                plan = plan_on(route_in(pipeline, group, parameter), is_half)
                matrices = plan.matrices(parameter.shape, name, kinds.get(name) if kinds else None)
                fixed = plan.weights.rest_dtypes(parameter.dtype)
                shapes = _shapes_kept(plan, states[number], parameter, matrices)
                _check_state(states[number], parameter, shapes, matrices, fixed)
                if not reformat:
                    own = {name: plan.structures[name] for name in shapes if name not in {*fixed, *plan.scalars}}
                    _check_kept(saved, own, state_dtype, parameter)
    warn_user(edited, _WITHIN)


def entries_of(checkpoint: Any) -> tuple[dict[Any, Any], list[Any]]:
    """The states and the param groups of an optimizer's state_dict; raises EdslError for what is none."""
    if not isinstance(checkpoint, dict) or not {"state", "param_groups"} <= checkpoint.keys():
        raise EdslError("not an optimizer's state_dict: expected the keys 'state' and 'param_groups'")
    states, groups = checkpoint["state"], checkpoint["param_groups"]
    if not isinstance(states, dict) or not isinstance(groups, list):
        raise malformed_checkpoint("its 'state' must be a dict and its 'param_groups' a list of groups")
    return states, groups


def check_numbers(states: dict[Any, Any], groups: Sequence[dict[str, Any]]) -> None:
    """Raises EdslError for a parameter that is in groups twice, and for a state of one that is in none."""
    numbers = [number for group in groups for number in group["params"]]
    if len(set(numbers)) != len(numbers) or not set(states) <= set(numbers):
        raise malformed_checkpoint("its states don't belong to the parameters of its groups")


def plan_of(
    pipeline: Pipeline, saved_group: dict[str, Any], route: str, is_half: bool, state_dtype: StateDtype = None
) -> GroupPlan:
    """What parameters of a route share under a saved group's values, the shapes of their buffers among it."""
    return Engine(pipeline, "eager", state_dtype).plan(0, saved_group, Share(route, spared=False), is_half)


def saved_choice(saved: dict[str, Any]) -> StateDtype:
    """What a saved group's state was kept in, as far as it was chosen."""
    return from_text(saved.get("state_dtype"))


def _shapes_kept(
    plan: GroupPlan, state: Any, parameter: Tensor, matrices: Matrices | None
) -> dict[str, tuple[int, ...]]:
    """The shapes that a saved state's buffers must have, under a plan with the state_dtype of their group."""
    found = plan.shapes(parameter, matrices)
    for name in found:
        if isinstance(state, dict) and getattr(state.get(name), "dtype", None) is torch.uint8:
            form = chosen_for(plan.state_dtype, name)
            if not isinstance(form, StateFormat):
                raise malformed_checkpoint(f"{name} is in codes, and its group's state_dtype doesn't say in which")
            if name not in plan.factor_buffers:
                found[name] = form.shape(tuple(parameter.shape))
        elif name not in plan.factor_buffers:  # it may have been cut otherwise, so that codes didn't serve
            found[name] = tuple(parameter.shape)
    return found


def _check_kept(saved: dict[str, Any], structures: Mapping[str, str], own: StateDtype, parameter: Tensor) -> None:
    """Raises EdslError for state that was kept in another dtype or form than the optimizer's."""
    chosen = saved_choice(saved)
    for name, structure in structures.items():
        before, after = chosen_for(chosen, name), chosen_for(own, name)
        if before is None and "state_dtype" not in saved and not isinstance(after, BufferForm):
            continue  # it was chosen before that was noted
        there, here = (name_of_kept(kept_for(one, name, structure, parameter.dtype)) for one in (chosen, own))
        if there != here:
            raise EdslError(
                f"this checkpoint keeps {name} in {there}, this optimizer in {here}: build it with that state_dtype, "
                "or with reformat=True, which rounds to the nearest in the new one"
            )


def rest_kept(saved: dict[str, Any], group: dict[str, Any], parameter: Tensor) -> str:
    """The name of the rest that a parameter has in a saved group and in its own, "" where there is none in both."""
    own = weights_in(group)
    return own.buffer if parameter.dtype in HALF and weights_in(saved) is own else ""


def _check_form(saved: dict[str, Any], group: dict[str, Any], state: Any, parameter: Tensor) -> None:
    """Raises EdslError where a parameter in half precision was kept in another form than it is here."""
    if parameter.dtype not in HALF:
        return
    own, theirs = weights_in(group), weights_in(saved)
    if own is not theirs:
        raise EdslError(
            f"this checkpoint keeps weights as {theirs.name!r}, this optimizer as {own.name!r}; with reformat=True "
            "it is loaded, and what this form keeps beside weights begins at 0"
        )
    if own.buffer and isinstance(state, dict) and own.buffer not in state:
        raise malformed_checkpoint(f"a parameter's state has no {own.buffer}; with reformat=True it begins at 0")


def counts(step: float) -> bool:
    """Whether a number of steps is one."""
    return math.isfinite(step) and step >= 0 and step == int(step)


def _parse(text: str, pipeline: Pipeline) -> Pipeline:
    """A saved pipeline, which may hold stages that only this optimizer knows."""
    own = [type(stage) for stage in pipeline.all_stages if not stage.moves_weights and not isinstance(stage, RuleStage)]
    return read(text, own)  # a text defines its rules by itself


def _compared(saved: Any, pipeline: Pipeline) -> list[str]:
    """A line for each stage of a group that was edited since; raises EdslError for another one."""
    return compared(saved.get(KEY, ""), marks(pipeline)) if isinstance(saved, dict) else []


def _check_group(saved: Any, pipeline: Pipeline, keys: Iterable[str]) -> None:
    if not isinstance(saved, dict):
        raise malformed_checkpoint(f"a param group must be a dict, got {shown(saved)}")
    if not isinstance(saved.get("pipeline"), str):
        raise EdslError(
            f"this checkpoint is not from an edsl optimizer; expected one of: {pipeline.line} "
            "(edsl.convert takes those of torch.optim)"
        )
    there = _parse(saved["pipeline"], pipeline)
    if there.structure != pipeline.structure:
        said = [f"this checkpoint is of: {there.line}", f"this optimizer is: {pipeline.line}"]
        raise EdslError("\n".join([*said, *different_rules(there, pipeline)]))
    missing = [key for key in ("params", *keys) if key not in saved]
    if missing:
        raise malformed_checkpoint(f"its param group has no {', '.join(missing)}")
    if not isinstance(saved["params"], list) or not all(isinstance(n, (int, str)) for n in saved["params"]):
        raise malformed_checkpoint("the 'params' of its groups must be lists of numbers, or of names")
    for key in ("exclude", "param_names"):
        names = saved.get(key, ())
        if not isinstance(names, (tuple, list)) or not all(isinstance(name, str) for name in names):
            raise malformed_checkpoint(f"{key} must be a list of names, got {shown(names)}")
    if "param_names" in saved and len(saved["param_names"]) != len(saved["params"]):
        raise malformed_checkpoint("it has more or fewer param_names than params")
    if not isinstance(saved.get("maximize", False), bool):
        raise malformed_checkpoint(f"maximize must be True or False, got {shown(saved['maximize'])}")
    for count in ("calls", "nonfinite_steps"):
        if type(saved.get(count, 0)) is not int or saved.get(count, 0) < 0:
            raise malformed_checkpoint(f"{count} must be a whole number ≥ 0, got {shown(saved[count])}")
    if saved.get("calls", 0) >= pipeline.estimator.calls:
        raise malformed_checkpoint(f"calls must be below {pipeline.estimator.calls}, got {saved['calls']}")
    several = is_whole(pipeline, saved)
    own = pipeline if several else pipeline.branch(saved.get("route", ""))
    live = pipeline.live_names if several else own.hyperparameters
    lost = [key for key in live if key not in saved]
    if lost:
        raise malformed_checkpoint(f"its param group has no {', '.join(lost)}")
    followed = schedules_in(saved, own.hyperparameters)
    values = {key: followed[key].value if key in followed else saved[key] for key in live}
    (own if several else own.unscheduled()).override(**values)


def _check_state(
    state: Any,
    parameter: Tensor,
    shapes: dict[str, tuple[int, ...]],
    matrices: Matrices | None,
    fixed: Mapping[str, torch.dtype],
) -> None:
    if not isinstance(state, dict):
        raise malformed_checkpoint(f"a parameter's state must be a dict, got {shown(state)}")
    for name in [*shapes, "step"]:
        if not isinstance(state.get(name), Tensor):
            raise malformed_checkpoint(f"a parameter's state has no {name}")
    step = state["step"]
    if step.numel() != 1 or step.is_complex() or step.device.type == "meta" or not counts(float(step)):
        raise malformed_checkpoint("a step must be a whole number ≥ 0")
    for name, shape in shapes.items():
        buffer = state[name]
        if tuple(buffer.shape) != shape:
            taken = "" if matrices is None else f", taken as {matrices}; split= says how to take it"
            raise EdslError(
                f"this checkpoint does not fit: {name} has shape {tuple(buffer.shape)}, expected {shape} "
                f"for its parameter of shape {tuple(parameter.shape)}{taken}"
            )
        if is_sharded(buffer) and not is_sharded(parameter):
            raise EdslError(
                f"this checkpoint is sharded ({name} is a DTensor), this optimizer is not: load it with "
                "torch.distributed.checkpoint, which reassembles the shards"
            )
        in_codes = buffer.dtype is torch.uint8 and name not in fixed  # its shape was that of codes
        is_number = in_codes or (buffer.dtype is fixed[name] if name in fixed else buffer.is_floating_point())
        if not is_number or buffer.layout != parameter.layout or buffer.device.type == "meta":
            kind = f"{fixed[name]}" if name in fixed else "floating-point"
            raise malformed_checkpoint(f"{name} must be a dense {kind} tensor, got {buffer.layout}, {buffer.dtype}")
