"""A checkpoint of edsl → one of torch.optim, whose further steps are edsl's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from edsl.errors import EdslError, malformed_checkpoint, shown
from edsl.language.domain import plain
from edsl.language.pipeline import Pipeline
from edsl.language.registry.provenance import KEY
from edsl.language.schedules.group import SCALES, TEXTS, TOTAL
from edsl.language.spec import read
from edsl.language.stage import BaseUpdate
from edsl.optim.conversion.counterparts import COUNTERPARTS, Counterpart

_OWN = ("pipeline", "exclude", "maximize", "route", "calls", "nonfinite_steps", "nominal_lr", KEY, TEXTS, TOTAL, SCALES)
_FLOATS_COUNT_TO = 2**24  # by ones, in float32


def to_torch(checkpoint: dict[str, Any], uncut: bool | None = None) -> tuple[str, dict[str, Any]]:
    """The name of torch's optimizer, and the state_dict with which it goes on; see `edsl.convert`.

    Args:
        uncut: whether each parameter is taken as one matrix, None where that isn't known.
    """
    groups, states = checkpoint["param_groups"], checkpoint["state"]
    pipeline = read(groups[0]["pipeline"])
    _check_stages(pipeline)
    one = _counterpart(pipeline.update, uncut)
    found = [part for group in groups for part in _groups(one, group, pipeline)]
    of_group = {number: group for group in groups for number in group["params"]}
    kept = {number: _state(one, number, states.get(number), of_group[number], pipeline) for number in of_group}
    return one.torch, {
        "state": {number: state for number, state in kept.items() if state},
        "param_groups": found,
    }


def _check_stages(pipeline: Pipeline) -> None:
    """Raises EdslError for what no optimizer of torch has beside its update."""
    if "" not in pipeline.branches:
        raise EdslError(f"torch.optim has no routes: {pipeline.line} can't be converted")
    if pipeline.update.moves_weights:
        raise EdslError(f"{pipeline.line} is another package's optimizer already: it has a checkpoint of its own")
    estimator = pipeline.estimator
    others = [stage.name for stage in pipeline.stages if stage is not pipeline.update and stage is not estimator]
    if estimator.name != "grad" or estimator.calls > 1:
        others.insert(0, str(estimator))
    if others:
        raise EdslError(f"torch.optim has no {', '.join(others)}: {pipeline.line} can't be converted")


def _counterpart(update: BaseUpdate, uncut: bool | None) -> Counterpart:
    """The counterpart whose arguments an update has; raises EdslError that names the one in the way."""
    ones = [one for one in COUNTERPARTS if one.update == update.name]
    if not ones:
        names = ", ".join(dict.fromkeys(one.update for one in COUNTERPARTS))
        raise EdslError(f"{update.name} has no counterpart in torch.optim; those that have one: {names}")
    reasons = []
    for one in ones:
        against = list(_against(one, update, uncut))
        if not against:
            return one
        reasons.append(against[0])
    raise EdslError(reasons[0])


def _against(one: Counterpart, update: BaseUpdate, uncut: bool | None) -> Iterator[str]:
    """Why an update is not its counterpart in torch."""
    for field, wanted in one.arguments.items():
        value = getattr(update, field)
        if value == wanted or field in update.live_fields() or (field == "split" and uncut):
            continue
        if field == "split" and uncut is False:
            yield f"{update.name} cuts some of these parameters into several matrices, as torch.optim.{one.torch} can't"
            continue
        theirs = f"torch.optim.{one.torch}, which is {field}={plain(wanted)}"
        said = f"{update.name} with {field}={plain(value)} is not {theirs}"
        yield f"{said}; give the optimizer itself, whose parameters tell" if field == "split" else said
    for key, (field, meanings) in one.options.items():
        value = getattr(update, field)
        if meanings and value not in meanings.values():
            yield f"{update.name} with {field}={plain(value)} has no {key} of torch.optim.{one.torch}"


def _groups(one: Counterpart, group: Mapping[str, Any], pipeline: Pipeline) -> Iterator[dict[str, Any]]:
    """A param group as torch writes it; two, where some of its parameters are excluded from weight decay."""
    if group.get(TEXTS):
        key, text = next(iter(group[TEXTS].items()))
        raise EdslError(
            f"{key} follows {text} by itself, which torch leaves to a scheduler: del group[{TEXTS!r}][{key!r}]"
        )
    for field, wanted in one.arguments.items():
        if field in pipeline.update.live_fields() and float(group[field]) != wanted:
            raise EdslError(
                f"{one.update} with {field}={plain(float(group[field]))} is not torch.optim.{one.torch}, "
                f"which is {field}={plain(wanted)}"
            )
    spared = pipeline.update.spared_values()
    excluded = [name in group.get("exclude", ()) for name in group.get("param_names", ())]
    if not any(excluded) or all(excluded) or all(float(group[key]) == value for key, value in spared.items()):
        yield _group(one, group, pipeline, spared if excluded and all(excluded) else {})
        return
    for share, values in ((False, {}), (True, spared)):
        chosen = [place for place, is_out in enumerate(excluded) if is_out is share]
        cut = {key: [group[key][place] for place in chosen] for key in ("params", "param_names")}
        yield _group(one, {**group, **cut}, pipeline, values)


def _group(one: Counterpart, group: Mapping[str, Any], pipeline: Pipeline, spared: Mapping[str, Any]) -> dict[str, Any]:
    own = {**group, **spared}
    found = torch_defaults(one.torch)
    if group.get("maximize"):
        if "maximize" not in found:
            raise EdslError(f"torch.optim.{one.torch} can't maximize")
        found["maximize"] = True
    found.update(one.required)
    found.update({key: own[ours] for key, ours in one.numbers.items()})
    if one.betas is not None:
        found["betas"] = tuple(own[ours] for ours in one.betas)
    for key, (field, meanings) in one.options.items():
        value = getattr(pipeline.update, field)
        found[key] = (
            next(theirs for theirs, ours in reversed([*meanings.items()]) if ours == value) if meanings else value
        )
    found.update({key: found[other] for key, other in one.tied.items()})
    known = {*pipeline.hyperparameters, *_OWN, "params"}
    extras = {key: value for key, value in group.items() if key not in known}
    return {**found, **extras, "params": list(group["params"])}


def torch_defaults(name: str) -> dict[str, Any]:
    """What this torch's param groups of an optimizer hold."""
    return dict(getattr(torch.optim, name)([torch.zeros(1, 1)]).defaults)


def _state(one: Counterpart, number: Any, state: Any, group: Mapping[str, Any], pipeline: Pipeline) -> dict[str, Any]:
    """A parameter's state as torch keeps it, {} for one that has not stepped."""
    own = pipeline.override(**{key: group[key] for key in pipeline.hyperparameters}).update
    needed = own.init(0.0)._fields
    if not state or (one.counts and int(state["step"]) == 0):
        if one.tied and needed:
            raise EdslError(f"parameter {number} has not stepped yet, and torch's first step with dampening is another")
        return {}
    found: dict[str, Any] = {}
    if one.counts:
        count = int(state["step"])
        found["step"] = torch.tensor(float(count), dtype=torch.float32 if count < _FLOATS_COUNT_TO else torch.float64)
    for key, ours in one.buffers.items():
        if ours not in needed:
            continue
        buffer = state.get(f"{one.update}.{ours}")
        if not isinstance(buffer, Tensor):
            raise malformed_checkpoint(f"the state of parameter {number} has no {one.update}.{ours}")
        found[key] = buffer.reshape(()) if ours in own.scalars() else buffer
    return found


def check_text(group: Any) -> None:
    """Raises EdslError for a param group of edsl whose pipeline is no text."""
    if not isinstance(group.get("pipeline"), str):
        raise malformed_checkpoint(f"a group's pipeline must be a text, got {shown(group.get('pipeline'))}")
