"""What a param group holds: hyper-parameters, each in its domain, names, and parameters that can be stepped."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor

from edsl.errors import EdslError, parameter_called, shown
from edsl.groups.layers import Factors, Layers
from edsl.groups.names import Names
from edsl.groups.param_groups import (
    check_structure,
    check_unread,
    is_whole,
    names_in,
    route_in,
    split,
    weights_in,
    whole,
)
from edsl.groups.routing import kinds_in_module
from edsl.language.arguments import SYNONYMS, read_arguments
from edsl.language.pipeline import Pipeline
from edsl.language.registry.provenance import KEY, marks
from edsl.language.schedules.group import layered_group, scheduled_group
from edsl.language.schedules.layerwise import is_plain
from edsl.step.checks import check_flattened, check_steppable
from edsl.step.layout import check_parameter
from edsl.step.plan import matrices_in
from edsl.step.state_dtype import StateDtype, text_of

Kinds = dict[str, tuple[str, ...]] | None  # of a module's parameters, by name


def shared_hyperparameters(pipeline: Pipeline) -> dict[str, Any]:
    """What every param group holds: of a pipeline with routes, what all routes have."""
    first, *others = pipeline.branches.values()
    shared = [key for key in first.hyperparameters if all(key in other.hyperparameters for other in others)]
    return {key: first.hyperparameters[key] for key in shared}


def plain_numbers(values: dict[str, Any]) -> dict[str, Any]:
    """The values without their schedules and layers."""
    return {key: value if is_plain(value) else float(value) for key, value in values.items()}


def with_schedules(
    group: dict[str, Any], pipeline: Pipeline, total: int | None, factors: Mapping[str, float]
) -> dict[str, Any]:
    """A new group with the schedules of its hyper-parameters, and the values of the first step.

    Args:
        factors: those of its layers, by the keys of their values.

    Raises:
        EdslError: where T is missing, or a value times its factor is outside its domain.
    """
    if is_whole(pipeline, group):
        for key, value in {**pipeline.schedules, **pipeline.layerwise}.items():
            raise EdslError(f"ZeroRedundancyOptimizer mixes routes in one group, which can't have {key}={value}")
        return group
    branch = pipeline.branch(group.get("route", ""))
    live = branch.hyperparameters
    layered = layered_group(live, group, factors)
    branch.override(**{key: value for key, value in layered.items() if key in live})
    group = {**group, **layered}
    return plain_numbers({**group, **scheduled_group(live, group, total)})


def options_of(
    pipeline: Pipeline, exclude: Sequence[str] | None, maximize: bool, weights: str, state_dtype: StateDtype
) -> dict[str, Any]:
    """What every param group holds beside hyper-parameters, with its first value."""
    options: dict[str, Any] = {"pipeline": str(pipeline), "exclude": exclude, "maximize": maximize}
    if not pipeline.update.moves_weights:
        options["weights"] = weights
    if state_dtype is not None:
        options["state_dtype"] = text_of(state_dtype)
    if pipeline.estimator.calls > 1:
        options["calls"] = 0
    if pipeline.nonfinite_policy:
        options["nonfinite_steps"] = 0
    if "" not in pipeline.branches:
        options["route"] = ""
    if authored := marks(pipeline):
        options[KEY] = authored
    return options


def parts_of(
    group: Any,
    pipeline: Pipeline,
    names: Names,
    kinds: Kinds,
    others: Sequence[dict[str, Any]],
    layers: Layers | None,
) -> Iterator[tuple[Any, Factors]]:
    """A user's group, or what becomes of it where the pipeline has routes or layers differ; and the layers' factors.

    Args:
        kinds: as they were when the optimizer was built from a module, else None.
        others: the groups that are there.
        layers: where a number differs from layer to layer.
    """
    if not isinstance(group, dict):  # torch will say so
        yield group, {}
        return
    if layers is not None and names.module is not None and others:  # a module may have grown
        layers = Layers(names.module, ())
    for part in _on_routes(group, pipeline, names, kinds, others):
        if layers is None:
            yield part, {}
            continue
        route = part.get("route", "")
        branch = pipeline.branches.get(route if isinstance(route, str) else "", pipeline)
        yield from layers.parts(part, branch.layerwise)


def _on_routes(
    group: dict[str, Any], pipeline: Pipeline, names: Names, kinds: Kinds, others: Sequence[dict[str, Any]]
) -> Iterator[dict[str, Any]]:
    """A group, or its parts where the pipeline has routes."""
    if kinds is not None:
        group = _with_names(group, names, others)
    if "" in pipeline.branches or "route" in group:
        yield group
        return
    module = names.module
    yield from split(pipeline, group, kinds if module is None else kinds_in_module(module))


def _with_names(group: dict[str, Any], names: Names, others: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """A group of tensors without names, with those that the module or a number gives them.

    torch mixes no named and unnamed groups; here the names of the others are edsl's own doing.
    """
    params = group.get("params")
    if params is None or isinstance(params, set):
        return group
    listed = [params] if isinstance(params, Tensor) else list(params)
    if "param_names" in group or not all(isinstance(entry, Tensor) for entry in listed):
        return {**group, "params": listed}
    taken = [name for other in others for name in other.get("param_names", ())]
    new = names.of_new(listed, len(others), taken)
    return {"exclude": names.excluded(new), **group, "params": list(zip(new, listed))}


def checked(
    group: dict[str, Any], pipeline: Pipeline, defaults: Mapping[str, Any], tensors: Mapping[str, Tensor]
) -> dict[str, Any]:
    """The group with its hyper-parameters under their canonical names, each in its domain.

    Args:
        defaults: what the optimizer gives to every group.
        tensors: hyper-parameters that it was built with as tensors, by their names in the whole pipeline.

    Raises:
        EdslError: for another pipeline, an unknown or fixed name, or a value outside its domain.
    """
    if group.get("pipeline", defaults["pipeline"]) != defaults["pipeline"]:
        raise EdslError("param group: all groups share one pipeline; build a second optimizer for another")
    if not isinstance(group.get("maximize", False), bool):
        raise EdslError(f"param group: maximize must be True or False, got {shown(group['maximize'])}")
    if is_whole(pipeline, group):
        return whole(pipeline, group, tensors)
    branch = pipeline.branch(group.get("route", ""))
    live = branch.hyperparameters
    has_routes = "" not in pipeline.branches
    if has_routes:
        group = _on_route(group, pipeline, live, defaults)
    synonyms = {*SYNONYMS, "beta1"}.difference(branch.keys, defaults)  # without E, beta1 is an error that says more
    given = {key: value for key, value in group.items() if key in live or key in synonyms}
    check_unread([key for key in group if key not in given and key not in defaults], branch, live)
    values = read_arguments("param group", given, live, {"": branch.update.betas}).values
    check_structure(branch, values)
    own = {**live, **_tensors_on(group["route"], pipeline, tensors)} if has_routes else {}
    return {**own, **{key: value for key, value in group.items() if key not in given}, **values}


def _on_route(
    group: dict[str, Any], pipeline: Pipeline, live: Collection[str], defaults: Mapping[str, Any]
) -> dict[str, Any]:
    """A group that names its route, with what it says under names of the whole pipeline under the route's own."""
    names = pipeline.names_on[group["route"]]
    found: dict[str, Any] = {}
    for key, value in group.items():
        elsewhere = key not in live and key in pipeline.keys
        if elsewhere and key not in names and key not in defaults:
            raise EdslError(
                f"param group: {key} belongs to another route; a group of route {group['route']} has {', '.join(live)}"
            )
        found[names[key] if elsewhere and key in names else key] = value
    return found


def _tensors_on(route: str, pipeline: Pipeline, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors among an optimizer's hyper-parameters, by their names on a route."""
    named = {pipeline.name_in(route, key): tensor for key, tensor in tensors.items()}
    return {name: tensor for name, tensor in named.items() if name}


def check_members(group: dict[str, Any], pipeline: Pipeline, kinds: Kinds) -> None:
    """Raises EdslError for a parameter of a group that is to be trained and can't be."""
    names, form = names_in(group), weights_in(group)
    for name, parameter in zip(names, group["params"]):
        if parameter.requires_grad:  # a frozen one may be what it likes
            form.check(parameter.dtype, parameter_called(name))
            check_steppable(pipeline.branch(route_in(pipeline, group, parameter)), parameter, name, kinds)
            check_flattened(pipeline, parameter, name)


def matrices_in_groups(groups: Sequence[dict[str, Any]], pipeline: Pipeline, kinds: Kinds) -> dict[str, str]:
    """By name or place, how each parameter that is trained by a matrix update is taken as matrices."""
    found: dict[str, str] = {}
    for index, group in enumerate(groups):
        numbers = [f"{index}.{place}" for place in range(len(group["params"]))]
        for name, parameter in zip(group.get("param_names", numbers), group["params"]):
            branch = pipeline.branch(route_in(pipeline, group, parameter))
            if parameter.requires_grad and any(stage.is_matrix for stage in branch.stages):
                found[name] = str(matrices_in(branch, parameter.shape, name, kinds.get(name) if kinds else None))
    return found


def check_trainable(groups: Sequence[dict[str, Any]]) -> None:
    """Raises EdslError where no parameter can ever be stepped, as none of whole numbers can."""
    refused: EdslError | None = None
    for parameter in (parameter for group in groups for parameter in group["params"]):
        try:
            check_parameter(parameter)
        except EdslError as reason:
            refused = refused or reason
        else:
            return
    if refused is not None:
        raise refused
