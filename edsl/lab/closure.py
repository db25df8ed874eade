"""The closure that an optimizer's step asks for."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from edsl.language.pipeline import Pipeline

_SECOND_ORDER = (  # which differentiate the gradients that they are given
    "torch_optimizer.Adahessian",
    "pytorch_optimizer.AdaHessian",
    "pytorch_optimizer.SophiaH",
)


def closure_for(pipeline: Pipeline, optimizer: Any, *parts: Callable[[], Tensor]) -> Callable[[], Tensor]:
    """The loss alone, or with the gradients zeroed before and backward() behind, as the estimator needs.

    Args:
        parts: the loss, or parts of it that add up, each of which is differentiated before the next is computed.
    """
    losses = list(parts)
    if not pipeline.estimator.calls_backward:
        return lambda: torch.stack([loss() for loss in losses]).sum() if len(losses) > 1 else losses[0]()
    create_graph = pipeline.update.name in _SECOND_ORDER

    def closure() -> Tensor:
        optimizer.zero_grad()
        values = []
        for loss in losses:
            with warnings.catch_warnings(), torch.enable_grad():  # some optimizers call it where grad is off
                warnings.filterwarnings("ignore", message="Using backward\\(\\) with create_graph")
                value = loss()
                value.backward(create_graph=create_graph)
            values.append(value.detach())
        return torch.stack(values).sum() if len(values) > 1 else values[0]

    return closure
