"""A step of stages that somebody else wrote, taken on a few numbers before they train."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from edsl.authored import blamed, first_line, is_authored
from edsl.errors import EdslError, shown
from edsl.pipeline import Pipeline
from edsl.plan import Plan, is_foreign
from edsl.segment import Given, Segment, TensorAt
from edsl.stage import Stage

_rehearsed: set[tuple[type[Stage], ...]] = set()


def rehearse(pipeline: Pipeline) -> None:
    """Take one step on a matrix of 3 × 2, once for the same classes.

    Raises:
        EdslError: for a stage whose step can't be taken, or gives what is no tensor of the parameter's shape.
    """
    kinds = tuple(type(stage) for branch in pipeline.branches.values() for stage in branch.stages)
    if kinds in _rehearsed or not any(map(is_authored, kinds)):
        return
    for branch in pipeline.branches.values():
        if not branch.estimator.gives_difference:
            _rehearse(branch)
    _rehearsed.add(kinds)


@torch.no_grad()
def _rehearse(pipeline: Pipeline) -> None:
    stages = pipeline.stages[: len(pipeline.stages) - is_foreign(pipeline.stages[-1])]
    name = next((stage.name for stage in stages if is_authored(type(stage))), "")
    try:
        plan = Plan(pipeline, False, dict(pipeline.hyperparameters))
        theta = torch.linspace(-1, 1, 6)
        theta = theta.view(3, 2) if plan.is_matrix else theta
        x = 0.1 * theta + 0.05
        for segment in plan.segments:
            x = _through(plan, segment, theta, x)
    except EdslError:
        raise
    except Exception as reason:  # somebody else's code may raise anything
        raise blamed(reason) or EdslError(f"{name}: its step fails: {first_line(reason)}") from reason


def _through(plan: Plan, segment: Segment, theta: Tensor, x: Tensor) -> Tensor:
    """What flows out of a segment, checked with its next memory."""
    shapes = plan.shapes(theta)
    buffers = [torch.zeros(shapes[name]) for name in segment.buffers]
    given = Given(
        gradient=x.clone(),
        live=plan.live(1, theta.device),
        total_norm=x.norm(),
        normals=tuple(torch.ones_like(theta) for _ in segment.noisy),
        hessian=torch.ones_like(theta) if any(stage.needs_hessian for stage in segment.stages) else None,
    )
    if segment.refreshes(1):
        segment.refresh(1, theta, x, given, *buffers)
    u, after, _ = segment.evaluate(TensorAt, theta, x, given, *buffers)
    made = [("what flows out of its step", u, theta.shape)]
    made += [(f"{name} after its step", new, old.shape) for name, new, old in zip(segment.buffers, after, buffers)]
    for what, value, shape in made:
        if not _fits(value, shape):
            got = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else shown(value)
            stages = " | ".join(segment.labels)
            raise EdslError(f"{stages}: {what} must have the parameter's shape, as x has; got {got} for {tuple(shape)}")
    return torch.zeros_like(theta) + u


def _fits(value: Any, shape: Any) -> bool:
    """Whether it is a tensor of this shape, or a number for all elements."""
    return isinstance(value, (int, float)) or (isinstance(value, Tensor) and value.shape in ((), shape))
