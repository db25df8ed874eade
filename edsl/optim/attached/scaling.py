"""Backward passes from a loss that a GradScaler scaled: an attached optimizer refuses them before any weight moves."""

from __future__ import annotations

from collections.abc import Iterable
from functools import wraps
from typing import Any

import torch
from torch import Tensor

from edsl.errors import EdslError

_scaled: set[int] = set()  # the last backward pass from a scaled loss, by autograd's number, which is never used twice


def watch_scalers() -> None:
    """Have GradScalers mark the losses that they scale.

    Neither a gradient nor a parameter's hook tells what the loss was multiplied by, and `scaler.step` comes too late.
    """
    original = torch.amp.GradScaler.scale
    if hasattr(original, "__wrapped__"):
        return

    @wraps(original)
    def scale(self: torch.amp.GradScaler, outputs: Any) -> Any:
        scaled = original(self, outputs)
        return _marked(scaled) if self.is_enabled() else scaled

    torch.amp.GradScaler.scale = scale


def check_loss_unscaled() -> None:
    """Raises EdslError inside a backward pass from a scaled loss."""
    if _scaled and torch._C._current_graph_task_id() in _scaled:
        raise EdslError(
            "attach: a GradScaler scaled this loss, and backward() would step on scaled gradients, which are unscaled "
            "only behind it: use bfloat16 autocast, which needs no scaler, or edsl.compile"
        )


def _marked(scaled: Any) -> Any:
    if isinstance(scaled, Tensor):
        if scaled.requires_grad:
            scaled.register_hook(_note)
        return scaled
    if isinstance(scaled, (list, tuple)):
        return type(scaled)(map(_marked, scaled))
    return map(_marked, scaled) if isinstance(scaled, Iterable) else scaled


def _note(_: Tensor) -> None:
    _scaled.clear()
    _scaled.add(torch._C._current_graph_task_id())
