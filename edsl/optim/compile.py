"""`edsl.compile`: the optimizer that a spec describes, edsl's own or another package's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from edsl.errors import EdslError
from edsl.language.spec import as_pipeline
from edsl.optim.optimizer import PipelineOptimizer, check_mode
from edsl.step.checks import check_offload


def compile(
    spec: Any,
    params: Any,
    *,
    mode: str = "compiled",
    exclude: Sequence[str] | None = None,
    maximize: bool = False,
    state_dtype: Any = None,
    weights: str | None = None,
    reformat: bool = False,
    total_steps: int | None = None,
    offload: bool = False,
    **hyperparameters: Any,
) -> torch.optim.Optimizer:
    """The torch optimizer that a spec describes; see PipelineOptimizer for the arguments.

    A foreign optimizer alone, such as "torch.AdamW(lr=0.001)", is that optimizer itself, ready to train; with
    adaptors before it, it is stepped on what they make of the gradient.

    Raises:
        EdslError: for a bad spec, value, mode or exclusion, or complex or sparse tensors.

    Example:
        >>> import torch, edsl
        >>> type(edsl.compile("torch.AdamW(lr=0.001)", torch.nn.Linear(3, 1))).__name__
        'AdamW'
    """
    from edsl.updates.foreign import Foreign

    check_mode(mode)
    base = as_pipeline(spec)
    if not base.update.moves_weights:
        options: dict[str, Any] = {"maximize": maximize, "state_dtype": state_dtype, "total_steps": total_steps}
        options |= {"weights": weights, "reformat": reformat, "offload": offload}
        return PipelineOptimizer(params, spec, mode=mode, exclude=exclude, **options, **hyperparameters)
    pipeline = base.override(**hyperparameters)
    update = pipeline.update
    assert isinstance(update, Foreign)  # overriding keeps the stages
    alone = len(pipeline.stages) == 2 and not pipeline.estimator.needs_closure and pipeline.estimator.calls == 1
    if state_dtype is not None or (maximize and alone):
        raise EdslError(f"maximize and state_dtype apply to edsl's updates only; use {update.name}'s own arguments")
    if weights is not None or reformat:
        raise EdslError(f"weights and reformat apply to edsl's updates only; {update.name} moves the weights itself")
    if offload:
        check_offload(pipeline)
    if exclude:
        raise EdslError(f"exclude does not apply to {update.name}; use param groups instead")
    if alone:
        tensors = {key: value for key, value in hyperparameters.items() if isinstance(value, Tensor)}
        optimizer = update.build(params, tensors)
        optimizer.pipeline = pipeline
        return optimizer
    from edsl.optim.foreign.build import parameters_for, takes_flags
    from edsl.optim.foreign.optimizer import ForeignOptimizer

    if takes_flags(update):
        params = parameters_for(update, params, named=True)
    options = {"maximize": maximize or bool(update.value_of("maximize")), "total_steps": total_steps}
    return ForeignOptimizer(params, spec, mode=mode, exclude=(), **options, **hyperparameters)
