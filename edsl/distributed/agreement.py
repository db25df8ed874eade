"""Whether the processes that train the same parameters step them alike; they are asked once, before the first step.

Processes train the same parameters where these are sharded (DTensor) or in a module that DistributedDataParallel
wraps, and where the estimator averages losses over all of them. They compare settings through torch.distributed's
store, which is no collective: one that never comes keeps the others for `PATIENCE` at most. What only one process
has, such as a model of its own or a stage of a pipeline, is nobody else's business and waits for nobody. A part of
a wrapped module's parameters may be one process's share of them, as in ZeroRedundancyOptimizer; that isn't asked.
"""

from __future__ import annotations

import gc
import json
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from torch import Tensor

from edsl.distributed.sharding import is_sharded
from edsl.errors import EdslError
from edsl.language.pipeline import Pipeline

PATIENCE = timedelta(seconds=60)
_asked: Counter[tuple[int, ...]] = Counter()  # by processes, how often: the order of optimizers is the same on all


def check_agreement(pipeline: Pipeline, groups: Sequence[dict[str, Any]], state_dtype: Any) -> None:
    """Raises EdslError, on every process, where those that train the same parameters differ in what they do."""
    import torch.distributed as dist

    if not dist.is_available() or not dist.is_initialized() or dist.get_world_size() == 1:
        return
    if dist.get_backend() in ("fake", "mpi"):  # where nobody else is there, or no store
        return
    parameters = [parameter for group in groups for parameter in group["params"]]
    own = _settings(pipeline, groups, state_dtype)
    for ranks in _sharing(pipeline, parameters):
        there = [parameter for parameter in parameters if is_sharded(parameter) and _ranks_of(parameter) == ranks]
        _compare(ranks, {**own, "parameters": [list(parameter.shape) for parameter in there]})


def _settings(pipeline: Pipeline, groups: Sequence[dict[str, Any]], state_dtype: Any) -> dict[str, Any]:
    """The settings that must agree, by name."""
    settings: dict[str, Any] = {
        "spec": str(pipeline),
        "state_dtype": str(state_dtype),
        "number of param groups": len(groups),
    }
    for index, group in enumerate(groups):
        branch = pipeline.branches.get(group.get("route", ""))
        live = pipeline.live_names if branch is None else branch.hyperparameters  # of several routes, or of one
        values = {key: float(group[key]) for key in live if _is_number(group.get(key))}
        settings |= {f"{key} of param group {index}": value for key, value in values.items()}
        settings[f"maximize of param group {index}"] = bool(group.get("maximize"))
        settings[f"weights of param group {index}"] = str(group.get("weights"))
    return settings


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) or (isinstance(value, Tensor) and value.numel() == 1)


def _sharing(pipeline: Pipeline, parameters: Sequence[Tensor]) -> list[tuple[int, ...]]:
    """The ranks of every set of processes, of which this is one, that is known to train these parameters together."""
    import torch.distributed as dist

    rank = dist.get_rank()
    found = [_ranks_of(parameter) for parameter in parameters if is_sharded(parameter)]
    estimator = pipeline.estimator
    if estimator.needs_closure and not estimator.calls_backward:
        found.append(tuple(range(dist.get_world_size())))
    elif not found and (group := _wrapping_group(parameters)) is not None:
        found.append(tuple(sorted(dist.get_process_group_ranks(group))))
    return [ranks for ranks in dict.fromkeys(found) if rank in ranks and len(ranks) > 1]


def _ranks_of(parameter: Any) -> tuple[int, ...]:
    return tuple(sorted(parameter.device_mesh.mesh.flatten().tolist()))


def _wrapping_group(parameters: Sequence[Tensor]) -> Any:
    """The process group of a DistributedDataParallel whose trained parameters are all among these."""
    from torch.nn.parallel import DistributedDataParallel

    ours = set(map(id, parameters))
    for thing in gc.get_objects():  # torch keeps no list of them
        if issubclass(type(thing), DistributedDataParallel):
            theirs = {id(parameter) for parameter in thing.parameters() if parameter.requires_grad}
            if theirs and theirs <= ours:
                return thing.process_group
    return None


def _compare(ranks: tuple[int, ...], own: dict[str, Any]) -> None:
    """Compare this process's settings with the others'; raises EdslError, on every process, where two differ."""
    import torch.distributed as dist
    from torch.distributed.distributed_c10d import _get_default_store

    _asked[ranks] += 1
    place = f"edsl/{'-'.join(map(str, ranks))}/{_asked[ranks]}"
    store = dist.PrefixStore(place, _get_default_store())  # pyright: ignore[reportPrivateImportUsage]
    own = {"rank": dist.get_rank(), **own}
    try:
        if store.add("come", 1) == 1:
            store.set("first", json.dumps(own))
        store.wait(["first"], PATIENCE)
        other = json.loads(store.get("first"))
        if _difference(own, other):
            store.set("another", json.dumps(own))
        if store.add("compared", 1) == len(ranks):
            store.set("all", "")
        store.wait(["all"], PATIENCE)
        if not _difference(own, other) and store.check(["another"]):
            other = json.loads(store.get("another"))
    except dist.DistError:  # one of them has not come
        return
    if what := _difference(own, other):
        here, there = sorted((own, other), key=lambda one: one["rank"])
        raise EdslError(
            f"the processes that train these parameters must use the same settings, but differ in {what}: "
            f"rank {here['rank']} has {here.get(what)}, rank {there['rank']} has {there.get(what)}"
        )


def _difference(own: dict[str, Any], other: dict[str, Any]) -> str:
    """The first thing in which two differ, "" where there is none."""
    return next((key for key in {**own, **other} if key != "rank" and own.get(key) != other.get(key)), "")
