"""The weights to evaluate with, such as averaged ones, in the place of those that are trained."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from edsl.errors import EdslError
from edsl.groups.param_groups import route_in
from edsl.language.pipeline import Pipeline
from edsl.optim.foreign.modes import evaluating, has_modes
from edsl.step.state_dtype import StateDtype, form_for, opened


def evaluated(
    pipeline: Pipeline,
    groups: Sequence[dict[str, Any]],
    states: Mapping[Tensor, dict[str, Any]],
    state_dtype: StateDtype,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Each parameter that has taken a step and keeps other weights to evaluate with, and these.

    Raises:
        EdslError: for a parameter whose shape has changed since.
    """
    for group in groups:
        for parameter in group["params"]:
            name = pipeline.branch(route_in(pipeline, group, parameter)).evaluation_buffer
            state = states.get(parameter, {})
            if name in state and int(state["step"]) > 0:
                form = form_for(state_dtype, name, tuple(parameter.shape), like=parameter)
                weights = opened(state[name], form, parameter)
                if weights.shape != parameter.shape:
                    raise EdslError("a parameter changed its shape: build a new optimizer")
                yield parameter, weights


@contextmanager
def in_place_of_trained(pairs: Iterable[tuple[Tensor, Tensor]]) -> Iterator[None]:
    """Inside, each parameter has the weights beside it; afterwards its own again, bit for bit."""
    trained: list[tuple[Tensor, Tensor]] = []
    try:
        with torch.no_grad():
            for parameter, weights in pairs:
                trained.append((parameter, parameter.detach().clone()))
                parameter.copy_(weights)
        yield
    finally:
        with torch.no_grad():
            for parameter, weights in trained:
                parameter.copy_(weights)


@contextmanager
def evaluation_weights(optimizer: Any) -> Iterator[None]:
    """A context in which the parameters are the weights that an optimizer evaluates with, edsl's or another package's.

    On exit the trained weights are restored, bit for bit. Of schedule-free optimizers, eval() and train() are called.

    Example:
        >>> import torch, edsl
        >>> model = torch.nn.Linear(3, 1)
        >>> with edsl.evaluation_weights(torch.optim.SGD(model.parameters())):  # which has no others
        ...     _ = model(torch.ones(2, 3))
    """
    own = getattr(optimizer, "evaluation_weights", None)
    if own is not None:
        with own():
            yield
    elif has_modes(optimizer):
        with evaluating_alone(optimizer):
            yield
    else:
        yield


@contextmanager
def evaluating_alone(optimizer: Any) -> Iterator[None]:
    """Inside, another package's optimizer is switched to evaluation; afterwards the parameters are as they were.

    Its own way back from the weights to evaluate with rounds.
    """
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    with in_place_of_trained((parameter, parameter) for parameter in parameters), evaluating(optimizer):
        yield
