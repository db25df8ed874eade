"""Param groups of a pipeline with routes: what a user's group says, for each route that its parameters take.

A group names hyper-parameters as keywords do: in `route(matrix=muon, other=adamw)` lr is muon's and other_lr
AdamW's. It becomes a group for each route, in which each has the name of its own update: lr and lr. So a scheduler,
which multiplies the lr of every group, scales all rates and keeps their proportion. Where all its parameters take
one route, lr is the rate of that route, unless the group gives it under its own name as well.

ZeroRedundancyOptimizer wants as many groups as it gave. A group that it gives stays whole: its route is "", its
names are the whole pipeline's, and its parameters take their routes within it. There too a scheduler knows lr
alone, so that the other routes' rates follow it: each is what the group says times lr / nominal_lr, the lr at first.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from difflib import get_close_matches
from typing import Any, NamedTuple

from torch import Tensor

from edsl.errors import EdslError
from edsl.groups.routing import route_of
from edsl.language.arguments import SYNONYMS, read_arguments, stands_for
from edsl.language.caller import caller
from edsl.language.pipeline import Pipeline
from edsl.numerics.weights.form import WeightForm
from edsl.numerics.weights.forms import FORMS, NEAREST, read_weights

NOMINAL = "nominal_lr"
_KEEPS_COUNT = "torch.distributed.optim.zero_redundancy_optimizer"
_WITHIN = ("edsl.", "torch.optim.", "torch._dynamo.")


class Share(NamedTuple):
    """Some parameters of a group: which route they take, and whether they are spared decay."""

    route: str
    spared: bool


def split(pipeline: Pipeline, group: dict[str, Any], kinds: dict[str, tuple[str, ...]] | None) -> Iterator[Any]:
    """The group in parts, one for each route that its parameters take, under the names of that route.

    Raises:
        EdslError: for a parameter that no route takes, or a name that is none of the pipeline's.
    """
    routes, params = tuple(pipeline.branches), group.get("params")
    values, rest = _read(pipeline, group)
    if params is None or isinstance(params, set):  # torch will say so
        yield {**rest, "route": routes[0]}
        return
    listed: list[Any] = [params] if isinstance(params, Tensor) else list(params)
    if len({isinstance(entry, tuple) for entry in listed}) == 2:  # torch will say so
        yield {**rest, "params": listed, "route": routes[0]}
        return
    if must_stay_whole():
        _check_names(pipeline, rest)
        yield {**rest, **values, "params": listed, "route": ""}
        return
    parts: dict[str, list[Any]] = {route: [] for route in routes}
    for entry in listed:
        name, parameter = entry if isinstance(entry, tuple) and len(entry) == 2 else (None, entry)
        parts[route_of(parameter, name, routes, kinds)].append(entry)
    taken = {route: entries for route, entries in parts.items() if entries} or {routes[0]: []}
    if len(taken) > 1:
        _check_names(pipeline, rest)
    for route, entries in taken.items():
        own = {name: values[key] for key, name in pipeline.names_on[route].items() if key in values}
        if len(taken) == 1:  # its plain names can mean this route alone
            own = {key: value for key, value in values.items() if key in pipeline.branches[route].hyperparameters} | own
        yield {**rest, **own, "params": entries, "route": route}


def _read(pipeline: Pipeline, group: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a group says of hyper-parameters, by their names in the whole pipeline, and all else in it."""
    live = pipeline.live_names
    meant = {key: stands_for(key, pipeline.betas) for key in group}
    given = {key: group[key] for key, names in meant.items() if key in live or (names and {*names} <= {*live})}
    of_routes = {prefix + name for prefix in pipeline.betas if prefix for name in (*SYNONYMS, "beta1")}
    given |= {
        key: group[key] for key in group if key in of_routes.difference(pipeline.keys)
    }  # each is read, or refused
    values = read_arguments("param group", given, live, pipeline.betas).values
    rest = {key: value for key, value in group.items() if key not in given}
    check_unread(rest, pipeline, live)
    return values, rest


def check_unread(keys: Iterable[str], pipeline: Pipeline, live: Collection[str]) -> None:
    """Raises EdslError for a key that no step reads, where a hyper-parameter was meant: a fixed or a misspelt one."""
    for key in keys:
        if key in pipeline.keys:
            raise EdslError(f"param group: {key} is fixed once the optimizer is built; write it in the spec")
        near = get_close_matches(key, live, n=1, cutoff=0.85)
        if near:
            raise EdslError(f"param group: unknown hyper-parameter {key!r}; did you mean {near[0]!r}?")


def check_structure(pipeline: Pipeline, values: Mapping[str, Any]) -> None:
    """Raises EdslError for a group's values that would change what a step does: None, or not, unlike the others'."""
    if pipeline.override(**values).structure != pipeline.structure:
        raise EdslError("param group: a value that is None in one group must be None in all, and in the spec")


def _check_names(pipeline: Pipeline, rest: Iterable[str]) -> None:
    """Raises EdslError for a route's own name of a hyper-parameter in a group that several routes share."""
    for key in rest:
        for route, names in pipeline.names_on.items():
            meant = {key, *stands_for(key, {"": pipeline.branches[route].update.betas})}
            written = [name for name, own in names.items() if own in meant]
            if written:
                raise EdslError(f"param group: {key} is a name on the route {route}; write {' and '.join(written)}")


def is_whole(pipeline: Pipeline, group: dict[str, Any]) -> bool:
    """Whether a group holds parameters of several routes."""
    return group.get("route") == "" and "" not in pipeline.branches


def whole(pipeline: Pipeline, group: dict[str, Any], tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """A whole group with all that it must hold, checked.

    Args:
        tensors: hyper-parameters that were given as tensors, by their names in the whole pipeline.

    Raises:
        EdslError: for a value outside its domain, or one that is None in some groups alone.
    """
    live = pipeline.live_names
    check_structure(pipeline, {key: value for key, value in group.items() if key in live})
    first = {key: default_of(pipeline, key) for key in live} | dict(tensors)
    found = {**first, **group}
    return {**found, NOMINAL: float(found["lr"])} if "lr" in live and NOMINAL not in found else found


def default_of(pipeline: Pipeline, key: str) -> Any:
    """The value in the spec of what has this name in the whole pipeline."""
    route, name = next((route, names[key]) for route, names in pipeline.names_on.items() if key in names)
    return pipeline.branches[route].hyperparameters[name]


def names_in(group: dict[str, Any]) -> list[str]:
    """The name of each of a group's parameters, "" where they have none."""
    return group.get("param_names", [""] * len(group["params"]))


def weights_in(group: dict[str, Any]) -> WeightForm:
    """How a group keeps weights in half precision: to the nearest, as torch does, where it does not say."""
    return FORMS[read_weights(group.get("weights", NEAREST.name))]


def values_on(pipeline: Pipeline, route: str, group: dict[str, Any]) -> dict[str, Any]:
    """What a whole group says, as a group of one of its routes would."""
    names = pipeline.names_on[route]
    own = {name: group[key] for key, name in names.items() if key in group}
    rest = {key: value for key, value in group.items() if key not in pipeline.keys}
    follows = "lr" in own and names.get("lr") != "lr" and group.get(NOMINAL) and "lr" in group
    if follows and group["lr"] != group[NOMINAL]:
        own["lr"] = float(own["lr"]) * (float(group["lr"]) / group[NOMINAL])
    return {**rest, **own, "route": route}


def route_in(pipeline: Pipeline, group: dict[str, Any], parameter: Tensor) -> str:
    """The route that a parameter of a group takes."""
    if is_whole(pipeline, group):
        return route_of(parameter, None, tuple(pipeline.branches), None)
    return group.get("route", "")


def routes_in(pipeline: Pipeline, group: dict[str, Any]) -> list[str]:
    """The route of each of a whole group's parameters."""
    routes = tuple(pipeline.branches)
    return [route_of(parameter, None, routes, None) for parameter in group["params"]]


def must_stay_whole() -> bool:
    """Whether the group comes from ZeroRedundancyOptimizer, which can't take more groups than it gave."""
    frame = caller(_WITHIN)
    return frame is not None and frame.f_globals.get("__name__") == _KEEPS_COUNT
