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


def evaluated(
    pipeline: Pipeline, groups: Sequence[dict[str, Any]], states: Mapping[Tensor, dict[str, Any]]
) -> Iterator[tuple[Tensor, Tensor]]:
    """Each parameter that has taken a step and keeps other weights to evaluate with, and these."""
    for group in groups:
        for parameter in group["params"]:
            name = pipeline.branch(route_in(pipeline, group, parameter)).evaluation_buffer
            state = states.get(parameter, {})
            if name in state and int(state["step"]) > 0:
                if state[name].shape != parameter.shape:
                    raise EdslError("a parameter changed its shape: build a new optimizer")
                yield parameter, state[name]


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
