"""Another package's optimizer over parameters: what its class takes, and what its param groups then hold."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from edsl.groups.routing import kinds_in_module, route_of
from edsl.optim.foreign.modes import to_training
from edsl.optim.foreign.packages import optimizer_class, silenced
from edsl.updates.foreign import Foreign

FLAG = "use_muon"  # in the groups of optimizers that orthogonalise some parameters and step the others as AdamW

Kinds = Mapping[str, tuple[str, ...]] | None  # of a module's parameters, by name


def build(update: Foreign, params: Any, tensors: Mapping[str, Any] = MappingProxyType({})) -> Any:
    """The optimizer over parameters or groups, ready to train.

    Args:
        tensors: stand for arguments of the same names.
    """
    optimizer = optimizer_class(update.optimizer)(params, **{**dict(update.given), **tensors})
    to_training(optimizer)
    return optimizer


def defaults(update: Foreign) -> dict[str, Any]:
    """What a param group of it holds: read off an instance, over a matrix that is to be orthogonalised if any is."""
    with silenced():
        group: dict[str, Any] = build(update, example(update)).param_groups[0]
    return {key: value for key, value in group.items() if key not in ("params", FLAG)}


def example(update: Foreign, shape: tuple[int, ...] = (2, 2)) -> Any:
    """A parameter, or a group of one where it takes groups alone."""
    matrix = torch.zeros(shape, device="cpu", requires_grad=True)
    return [{"params": [matrix], FLAG: True}] if takes_flags(update) else [matrix]


@lru_cache(maxsize=256)
def takes_flags(update: Foreign) -> bool:
    """Whether its groups must say which parameters it orthogonalises, as those of pytorch_optimizer.Muon must."""
    matrix = torch.zeros(2, 2, device="cpu", requires_grad=True)
    return not _is_built(update, [matrix]) and _is_built(update, [{"params": [matrix], FLAG: True}])


def _is_built(update: Foreign, params: Any) -> bool:
    try:
        with silenced():
            build(update, params)
    except Exception:  # another package's constructor may raise anything
        return False
    return True


def parameters_for(update: Foreign, params: Any, kinds: Kinds = None, named: bool = False) -> Any:
    """Parameters, a module's or a user's, as its class takes them.

    Where its groups need flags, each group is cut in two, as `route(matrix=…, other=…)` would be.

    Args:
        kinds: of the modules that own named parameters; a module tells them itself.
        named: whether names may stay with the parameters; else only torch's own classes are given names.
    """
    if isinstance(params, nn.Module):
        kinds, params = kinds_in_module(params), list(params.named_parameters())
        params = params if takes_flags(update) or named else [parameter for _, parameter in params]
    if takes_flags(update):
        params = list(_flagged(_groups(params), kinds))
    if named or update.optimizer.startswith("torch."):
        return params
    if isinstance(params, (Tensor, set)) or not isinstance(params, Iterable):  # the class will say so
        return params
    return [_without_names(entry) for entry in params]


def _groups(params: Any) -> list[Any]:
    listed = list(params)
    return listed if listed and isinstance(listed[0], dict) else [{"params": listed}]


def _flagged(groups: Iterable[Any], kinds: Kinds) -> Iterator[Any]:
    """Each group in two, hidden matrices and the rest, where it doesn't say itself what it is."""
    for group in groups:
        if not isinstance(group, dict) or FLAG in group:
            yield group
            continue
        parts: dict[bool, list[Any]] = {True: [], False: []}
        members = group["params"]
        for entry in [members] if isinstance(members, Tensor) else list(members):
            name, parameter = entry if isinstance(entry, tuple) else (None, entry)
            parts[route_of(parameter, name, ("matrix", "other"), dict(kinds or {})) == "matrix"].append(entry)
        yield from ({**group, "params": part, FLAG: flag} for flag, part in parts.items() if part)


def _without_names(entry: Any) -> Any:
    if isinstance(entry, tuple) and len(entry) == 2:
        return entry[1]
    if isinstance(entry, dict) and isinstance(entry.get("params"), (list, tuple)):
        return {**entry, "params": [_without_names(one) for one in entry["params"]]}
    return entry
