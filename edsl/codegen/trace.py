"""A segment's step as expressions."""

from __future__ import annotations

from dataclasses import dataclass

from edsl.codegen.expression import Expression, TracingContext, live_value, load
from edsl.language.context import NotElementwise
from edsl.step.segment import Segment


@dataclass(frozen=True)
class Trace:
    """A segment's step as expressions.

    Attributes:
        made: the next θ, or what flows out.
        buffers, after: its memory before and after.
        updates: `made` is the next θ.
    """

    made: Expression
    buffers: list[Expression]
    after: list[Expression]
    updates: bool


def record(segment: Segment, looked: bool, differs: bool, apart: bool) -> Trace:
    """The step as expressions; see TracingContext for the conditions.

    Raises:
        NotElementwise: for a step that is more than elements, norms and means.
    """
    shaped = next((label for label, stage in zip(segment.labels, segment.stages) if stage.buffer_shapes(1, 1)), None)
    if shaped is not None:  # elements are addressed as those of the parameter
        raise NotElementwise(f"{shaped} has a buffer in another shape than its parameter")
    live = segment.live_layout
    at = TracingContext(live, apart, looked, differs)
    buffers = [load("buffer", place) for place in range(len(segment.buffers))]
    normals = [load("normal", place) for place in range(len(segment.noisy))]
    u, after = segment.flow(
        segment.bound([live_value(place) for place in range(live.numbers)]), at.x, buffers, normals, at
    )
    return Trace(at.theta + u if segment.updates else u, buffers, after, segment.updates)
