"""A trial step of third-party stages on a few numbers, before they train."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from edsl.errors import EdslError, shown
from edsl.language.pipeline import Pipeline
from edsl.language.registry.blame import blamed, first_line, is_authored, wrong
from edsl.language.stage import Stage
from edsl.step.contexts import TorchContext
from edsl.step.inputs import StepInputs
from edsl.step.plan import GroupPlan
from edsl.step.segment import Segment

_rehearsed: set[tuple[type[Stage], ...]] = set()


def rehearse(pipeline: Pipeline) -> None:
    """Take one step on a matrix of 3 × 2, once for the same classes.

    Raises:
        EdslError: for a stage whose step fails, or returns something else than a tensor of the parameter's shape.
    """
    kinds = tuple(map(type, pipeline.all_stages))
    if kinds in _rehearsed or not any(map(is_authored, kinds)):
        return
    for branch in pipeline.branches.values():
        if any(is_authored(type(stage)) for stage in branch.stages) and not branch.estimator.gives_difference:
            _rehearse(branch)
    _rehearsed.add(kinds)


@torch.no_grad()
def _rehearse(pipeline: Pipeline) -> None:
    kind = next(type(stage) for stage in pipeline.stages if is_authored(type(stage)))
    try:
        plan = GroupPlan(pipeline, False, dict(pipeline.hyperparameters))
        theta = torch.linspace(-1, 1, 6, device="cpu")
        theta = theta.view(3, 2) if plan.is_matrix else theta
        x = 0.1 * theta + 0.05
        for segment in plan.segments:
            x = _through(plan, segment, theta, x)
    except EdslError:
        raise
    except Exception as reason:  # somebody else's code may raise anything
        raise blamed(reason) or wrong(kind, first_line(reason), "step") from reason


def _through(plan: GroupPlan, segment: Segment, theta: Tensor, x: Tensor) -> Tensor:
    """What flows out of a segment, checked with its next memory."""
    shapes = plan.shapes(theta, plan.matrices(theta.shape, "", None))
    buffers = [torch.zeros(shapes[name], device="cpu") for name in segment.buffers]
    inputs = StepInputs(
        gradient=x.clone(),
        live=plan.live(1, theta.device),
        total_norm=x.norm(),
        totals=tuple(x.norm() for _ in segment.totals),
        normals=tuple(torch.ones_like(theta) for _ in segment.noisy),
        probes=tuple(torch.ones_like(theta) for _ in segment.probing),
        hessian=torch.ones_like(theta) if any(stage.needs_hessian for stage in segment.stages) else None,
    )
    if segment.refreshes(1, ""):
        segment.refresh(1, theta, x, inputs, *buffers)
    u, after, _ = segment.evaluate(_RehearsalContext, theta, x, inputs, *buffers)
    for name, new, old in zip(segment.buffers, after, buffers):
        _check(f"{name} after its step", new, old.shape)
    return torch.zeros_like(theta) + u


class _RehearsalContext(TorchContext):
    """Where a trial step happens: it checks the output of each stage."""

    def passed(self, label: str, before: Any, after: Any) -> None:
        _check(f"{label}: what flows out of its step", after, self.theta.shape)


def _check(what: str, value: Any, shape: Any) -> None:
    """Raises EdslError for what is neither a tensor of this shape, nor a number for all elements."""
    if isinstance(value, (int, float)) or (isinstance(value, Tensor) and value.shape in ((), shape)):
        return
    got = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else shown(value)
    raise EdslError(f"{what} must be a tensor of shape {tuple(shape)} here, got {got}")
