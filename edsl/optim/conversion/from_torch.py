"""A checkpoint of torch.optim → one of edsl, whose further steps are torch's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from edsl.errors import EdslError, either, malformed_checkpoint, nearest, shown
from edsl.language.pipeline import Pipeline
from edsl.language.registry.build import build
from edsl.language.spec import as_pipeline
from edsl.optim.checkpoint import counts
from edsl.optim.conversion.counterparts import COUNTERPARTS, EXTRAS, HOW, NAMES, TELLING, WITHOUT, Counterpart

Groups = Sequence[dict[str, Any]]
_IMPLIED = ("maximize", "differentiable", *HOW)  # in any group


def from_torch(checkpoint: dict[str, Any], name: str | None = None, steps: int = 0) -> dict[str, Any]:
    """The state_dict with which an edsl optimizer goes on; arguments and Raises are those of `edsl.convert`."""
    groups, states = checkpoint["param_groups"], checkpoint["state"]
    named = name is not None
    name = _checked_name(name) if name is not None else _recognised(groups, states)
    if name == "Adam" and all(_is_zero(group, "weight_decay") for group in groups):
        name = "AdamW" if any(group.get("amsgrad") for group in groups) else name  # without decay they are one
    one = _counterpart(name, groups)
    pipelines = [_pipeline(one, group, number) for number, group in enumerate(groups)]
    for pipeline in pipelines:
        if pipeline.structure != pipelines[0].structure:
            said = f"{pipelines[0].line} and {pipeline.line}"
            raise EdslError(f"its param groups can't share one pipeline: {said}; convert them one by one")
    found = [_group(one, group, pipeline, str(pipelines[0]), named) for group, pipeline in zip(groups, pipelines)]
    of_group = {number: place for place, group in enumerate(groups) for number in group["params"]}
    kept = {}
    for number in [number for group in groups for number in group["params"]]:
        state = states.get(number) or {}
        converted = _state(one, number, state, pipelines[of_group[number]], steps)
        if converted:
            kept[number] = converted
    return {"state": kept, "param_groups": found}


def _checked_name(name: str) -> str:
    if name not in NAMES:
        raise EdslError(f"torch.optim.{name} has no counterpart here; {nearest(name, NAMES, 'those that have one')}")
    return name


def _recognised(groups: Groups, states: Mapping[Any, Any]) -> str:
    """Which of torch's optimizers a checkpoint is of, by its groups' keys; raises EdslError where it isn't sure."""
    first = groups[0]
    for key, name in WITHOUT.items():
        if key in first:
            raise EdslError(f"torch.optim.{name} has no counterpart here; those that have one: {', '.join(NAMES)}")
    names = [
        name
        for name, (there, absent) in TELLING.items()
        if all(key in first for key in there) and not any(key in first for key in absent)
    ]
    if not names:
        raise EdslError(
            f"this checkpoint is of none of torch.optim's {either(NAMES)}: its groups hold {', '.join(map(str, first))}"
        )
    name = _adam_or_adamw(groups) if names[0] == "Adam" else names[0]
    alike = ("Adam", "AdamW") if name == "Adam" else (name,)
    own = {buffer for one in COUNTERPARTS if one.torch in alike for buffer in one.buffers}
    foreign = {key for state in states.values() if isinstance(state, dict) for key in state} - own - {"step"}
    if foreign:
        raise EdslError(
            f"this checkpoint is not torch.optim.{name}'s: its states hold {', '.join(sorted(map(str, foreign)))}"
        )
    return name


def _adam_or_adamw(groups: Groups) -> str:
    """Which of the two, whose groups differ by a flag that means something where there is weight decay."""
    decaying = [group for group in groups if not _is_zero(group, "weight_decay")]
    flags = {group.get("decoupled_weight_decay") for group in decaying or groups[:1]}
    if None in flags and decaying:
        raise EdslError(
            "an older torch wrote this checkpoint, which may be of Adam or of AdamW: say which, as in "
            'optimizer="AdamW" or --optimizer AdamW'
        )
    if len(flags) > 1:
        raise EdslError("its param groups can't share one pipeline: decoupled_weight_decay differs between them")
    return "AdamW" if flags == {True} else "Adam"


def _counterpart(name: str, groups: Groups) -> Counterpart:
    """The first counterpart under whose options all groups are; raises EdslError that names what stands against it."""
    against: dict[str, list[str]] = {}
    for one in (one for one in COUNTERPARTS if one.torch == name):
        found = list(dict.fromkeys(reason for group in groups for reason in _against(one, group)))
        if not found:
            return one
        against[one.update] = min(against.get(one.update, found), found, key=len)
    reasons = ", ".join(min(against.values(), key=len))
    raise EdslError(f"no update of edsl takes the steps of torch.optim.{name} with {reasons}")


def _against(one: Counterpart, group: Mapping[str, Any]) -> Iterator[str]:
    """What in a group of torch's makes it take other steps than a counterpart."""
    for key, wanted in one.required.items():
        unused = key == "decoupled_weight_decay" and _is_zero(group, "weight_decay")
        value = group.get(key, wanted)
        value = tuple(value) if isinstance(value, list) else value
        if value != wanted and not unused:
            yield f"{key}={shown(value)}"
    for key, other in one.tied.items():
        if group.get(key) != group.get(other):
            yield f"{key}={shown(group.get(key))}"
    for key, (_, values) in one.options.items():
        if values and group.get(key, None) not in values:
            yield f"{key}={shown(group.get(key))}"
    if group.get("differentiable", False):
        yield "differentiable=True"


def _pipeline(one: Counterpart, group: Mapping[str, Any], place: int) -> Pipeline:
    """The pipeline of a group, with its numbers."""
    values = dict(one.arguments)
    for key, ours in one.numbers.items():
        values[ours] = _needed(group, key, place)
    if one.betas is not None:
        betas = _needed(group, "betas", place)
        if not isinstance(betas, (tuple, list)) or len(betas) != 2:
            raise malformed_checkpoint(f"betas of param group {place} must be two numbers, got {shown(betas)}")
        values.update(zip(one.betas, betas))
    for key, (ours, meanings) in one.options.items():
        value = _needed(group, key, place)
        values[ours] = meanings[value] if meanings else value
    return as_pipeline(build(one.update, values))


def _needed(group: Mapping[str, Any], key: str, place: int) -> Any:
    if key not in group:
        raise malformed_checkpoint(f"param group {place} has no {key}")
    return group[key]


def _group(one: Counterpart, group: Mapping[str, Any], pipeline: Pipeline, text: str, named: bool) -> dict[str, Any]:
    """A param group as edsl writes it."""
    tensors = {ours: group[key] for key, ours in one.numbers.items() if isinstance(group[key], Tensor)}
    maximize = group.get("maximize", False)
    if not isinstance(maximize, bool):
        raise malformed_checkpoint(f"maximize must be True or False, got {shown(maximize)}")
    known = {
        *one.numbers,
        *one.options,
        *one.required,
        *one.tied,
        *_IMPLIED,
        "betas",
        "decoupled_weight_decay",
        "params",
    }
    others = {key: value for key, value in group.items() if key not in known}
    unknown = [key for key in others if key not in EXTRAS]
    if unknown and not named:
        raise EdslError(
            f"its param groups hold {', '.join(map(str, unknown))}, which torch.optim.{one.torch} has not: if it is "
            f'one all the same, say so, as in optimizer="{one.torch}" or --optimizer {one.torch}'
        )
    own = {**pipeline.hyperparameters, **tensors}
    written = {"pipeline": text, "exclude": (), "maximize": maximize}
    return {**own, **written, **others, "params": list(group["params"])}


def _state(one: Counterpart, number: Any, state: Mapping[str, Any], pipeline: Pipeline, steps: int) -> dict[str, Any]:
    """A parameter's state as edsl keeps it, {} for one that has not stepped."""
    update = pipeline.update
    needed = update.init(0.0)._fields
    theirs = {key: ours for key, ours in one.buffers.items() if ours in needed}
    held = {ours: state.get(key) for key, ours in theirs.items()}
    if all(value is None for value in held.values()):
        if held and one.tied:
            raise EdslError(
                f"parameter {number} lacks {next(iter(theirs))} yet, and torch's first step with dampening differs: "
                "leave it out, or take one step with it first"
            )
        return {"step": _count(steps)} if not held and steps else {}
    found: dict[str, Tensor] = {}
    for key, ours in theirs.items():
        value = held[ours]
        if not isinstance(value, Tensor):
            raise _lacks(number, key)
        found[f"{update.name}.{ours}"] = value.reshape(1) if ours in update.scalars() else value
    if one.counts and "step" not in state:
        raise _lacks(number, "step")
    return {"step": _count(state["step"] if one.counts else steps), **found}


def _lacks(number: Any, key: str) -> EdslError:
    return malformed_checkpoint(f"the state of parameter {number} has no {key}")


def _count(step: Any) -> Tensor:
    """A number of steps as edsl keeps it; raises EdslError for what is none."""
    try:
        number = float(step)
    except (TypeError, ValueError, RuntimeError):  # the last of a tensor with several numbers
        raise malformed_checkpoint(f"a step must be a whole number ≥ 0, got {shown(step)}") from None
    if not counts(number):
        raise malformed_checkpoint(f"a step must be a whole number ≥ 0, got {number:g}")
    return torch.tensor(int(number), dtype=torch.int64)


def _is_zero(group: Mapping[str, Any], key: str) -> bool:
    return bool(group.get(key, 0) == 0)
