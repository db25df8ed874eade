"""`edsl.attach`: an optimizer that steps each parameter inside backward(), as soon as its gradient is whole."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edsl.language.spec import as_pipeline
from edsl.optim.attached.optimizer import AttachedOptimizer
from edsl.optim.optimizer import check_mode
from edsl.step.checks import check_attachable


def attach(
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
) -> AttachedOptimizer:
    """Have backward() step a model's parameters by a spec, each as soon as its gradient is whole, and free that.

    The gradients of at most a few layers are there at once, instead of all. Steps are those of `edsl.compile` with the
    same arguments, on the same gradients. `step()` and `zero_grad()` may stay in the loop: they say where a step ends.
    Under DistributedDataParallel attach to the wrapped module: parameters step behind the all-reduce of their bucket.
    The model's parameters keep the optimizer alive; `detach()` ends it. From the first call on, the process's
    `torch.amp.GradScaler.scale` marks losses that it scales, so that backward() refuses them before any weight moves.

    Args:
        params: a module, or what else `edsl.compile` takes; the other arguments are those of PipelineOptimizer.

    Raises:
        EdslError: for a pipeline whose step needs all gradients at once (clip(norm=…), totals, guard, accumulate,
            estimators with a closure), another package's optimizer, parameters that are attached already, or what
            edsl.compile refuses.

    Example:
        >>> import torch, edsl
        >>> model = torch.nn.Linear(3, 1)
        >>> optimizer = edsl.attach("eadamw(lr=0.001)", model, mode="eager")
        >>> model(torch.ones(2, 3)).sum().backward()  # the weights have moved
        >>> model.weight.grad is None
        True
    """
    check_mode(mode)
    check_attachable(as_pipeline(spec).override(**hyperparameters))
    options: dict[str, Any] = {"maximize": maximize, "state_dtype": state_dtype, "total_steps": total_steps}
    options |= {"weights": weights, "reformat": reformat, "offload": offload}
    return AttachedOptimizer(params, spec, mode=mode, exclude=exclude, **options, **hyperparameters)
