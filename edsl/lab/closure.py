"""The closure that an optimizer's step asks for."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

from torch import Tensor

from edsl.pipeline import Pipeline

_SECOND_ORDER = ("torch_optimizer.Adahessian",)  # differentiates the gradients that it is given


def closure_for(pipeline: Pipeline, optimizer: Any, loss: Callable[[], Tensor]) -> Callable[[], Tensor]:
    """The loss alone, or with the gradients zeroed before and backward() behind, as the estimator needs."""
    if not pipeline.estimator.calls_backward:
        return loss
    create_graph = pipeline.update.name in _SECOND_ORDER

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = loss()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Using backward\\(\\) with create_graph")
            value.backward(create_graph=create_graph)
        return value.detach()

    return closure
