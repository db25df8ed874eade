"""`edsl.convert`: a checkpoint or an optimizer of torch.optim as edsl's, and back."""

from __future__ import annotations

from typing import Any, overload

import torch

from edsl.errors import EdslError, malformed_checkpoint, shown
from edsl.groups.param_groups import names_in
from edsl.language.domain import Whole
from edsl.language.spec import read
from edsl.optim.checkpoint import check_numbers, entries_of
from edsl.optim.conversion.counterparts import NAMES
from edsl.optim.conversion.from_torch import from_torch
from edsl.optim.conversion.to_torch import check_text, to_torch
from edsl.optim.optimizer import PipelineOptimizer
from edsl.step.plan import matrices_in


@overload
def convert(
    checkpoint: torch.optim.Optimizer, *, optimizer: str | None = None, steps: int = 0
) -> torch.optim.Optimizer: ...
@overload
def convert(checkpoint: dict[str, Any], *, optimizer: str | None = None, steps: int = 0) -> dict[str, Any]: ...
def convert(checkpoint: Any, *, optimizer: str | None = None, steps: int = 0) -> Any:
    """A state_dict of torch.optim as edsl's, or edsl's as torch's: the steps that follow are those it would have taken.

    Converts AdamW (also with amsgrad), Adam, SGD, RMSprop, Muon, and as rules of the zoo NAdam and RAdam (with
    decoupled decay) and Adamax (without decay). In float64 the steps agree to rounding; in half precision edsl keeps
    state in float32, and torch in the parameters' dtype. `foreach`, `fused` and `capturable`, which say how a step is
    computed, are dropped. Numbers of each group, `maximize`, `initial_lr` and names are kept, so that a scheduler goes
    on with its own state_dict. State goes on in tensors of its own.

    Args:
        checkpoint: a state_dict of either, which gives a state_dict; or an optimizer, which gives an optimizer over the
            same parameters, for whose groups and state it stands.
        optimizer: torch's class, such as "AdamW", where the groups of a state_dict don't tell.
        steps: how many were taken, for SGD and Muon, which don't count them; only schedules in a spec read it.

    Raises:
        EdslError: for an optimizer or an option that the other side can't say, by its name; for a malformed state_dict.

    Example:
        >>> import torch, edsl
        >>> weight = torch.nn.Parameter(torch.ones(3))
        >>> saved = edsl.convert(torch.optim.AdamW([weight], lr=0.01).state_dict())
        >>> saved["param_groups"][0]["pipeline"]
        'grad | adamw(lr=0.01, beta2=0.9, beta3=0.999, weight_decay=0.01, eps1=1e-08)'
        >>> edsl.compile(saved["param_groups"][0]["pipeline"], [weight], exclude=()).load_state_dict(saved)
    """
    try:
        Whole(0).read(steps)
    except ValueError as reason:
        raise EdslError(f"steps {reason}") from None
    if isinstance(checkpoint, PipelineOptimizer):
        return _as_torchs(checkpoint)
    if isinstance(checkpoint, torch.optim.Optimizer):
        return _as_edsls(checkpoint, optimizer, steps)
    check_state_dict(checkpoint)
    if is_edsls(checkpoint):
        return _copied(to_torch(checkpoint)[1])
    return from_torch(checkpoint, optimizer, steps)


def is_edsls(checkpoint: dict[str, Any]) -> bool:
    """Whether a state_dict is edsl's."""
    return "pipeline" in checkpoint["param_groups"][0]


def check_state_dict(checkpoint: Any) -> None:
    """Raises EdslError for what is no optimizer's state_dict."""
    states, groups = entries_of(checkpoint)
    if not groups:
        raise malformed_checkpoint("its 'param_groups' are empty")
    for group in groups:
        if not isinstance(group, dict) or not isinstance(group.get("params"), list):
            raise malformed_checkpoint(f"a param group must be a dict with a list of params, got {shown(group)}")
    if any(("pipeline" in group) is not is_edsls(checkpoint) for group in groups):
        raise malformed_checkpoint("some of its groups are edsl's, others not")
    for group in groups if is_edsls(checkpoint) else ():
        check_text(group)
    numbers = [number for group in groups for number in group["params"]]
    if wrong := [number for number in numbers if not isinstance(number, (int, str))]:
        raise malformed_checkpoint(f"params must be numbers or names of parameters, got {shown(wrong[0])}")
    check_numbers(states, groups)
    if not all(isinstance(state, dict) for state in states.values()):
        raise malformed_checkpoint("a parameter's state must be a dict")


def _as_edsls(source: torch.optim.Optimizer, name: str | None, steps: int) -> PipelineOptimizer:
    """An edsl optimizer over the parameters of one of torch's."""
    kind = type(source)
    own = kind.__name__ if kind.__module__.startswith("torch.optim") else None
    if own is None and name is None:
        raise EdslError(
            f"{kind.__name__} is none of torch.optim's own {', '.join(NAMES)}: if it steps as one of them, say so, "
            f'as in optimizer="AdamW"'
        )
    saved = from_torch(source.state_dict(), name or own, steps)
    text = saved["param_groups"][0]["pipeline"]
    made = PipelineOptimizer(_members(saved, source), read(text), exclude=())
    made.load_state_dict(saved)
    return made


def _as_torchs(source: PipelineOptimizer) -> torch.optim.Optimizer:
    """One of torch's optimizers over the parameters of an edsl optimizer."""
    name, saved = to_torch(source.state_dict(), uncut=_takes_each_as_one(source))
    made = getattr(torch.optim, name)(_members(saved, source))
    made.load_state_dict(_copied(saved))
    return made


def _copied(saved: dict[str, Any]) -> dict[str, Any]:
    """The same with tensors of its own: torch's load_state_dict keeps those that it is given, and steps them."""
    states = {number: {key: value.clone() for key, value in state.items()} for number, state in saved["state"].items()}
    return {**saved, "state": states}


def _takes_each_as_one(source: PipelineOptimizer) -> bool:
    """Whether a matrix update cuts none of an optimizer's parameters into several matrices."""
    if "" not in source.pipeline.branches or not source.pipeline.update.is_matrix:
        return True
    kinds = source.kinds or {}
    for group in source.param_groups:
        names = names_in(group)
        for name, parameter in zip(names, group["params"]):
            taken = matrices_in(source.pipeline, parameter.shape, name, kinds.get(name))
            if taken is not None and not taken.are_one:
                return False
    return True


def _members(saved: dict[str, Any], source: torch.optim.Optimizer) -> list[dict[str, Any]]:
    """The parameters of each group of a converted state_dict, named where it names them."""
    tensors = [parameter for group in source.param_groups for parameter in group["params"]]
    groups = []
    for group in saved["param_groups"]:
        members = [tensors[number] for number in group["params"]]
        groups.append({"params": list(zip(group["param_names"], members)) if "param_names" in group else members})
    return groups
