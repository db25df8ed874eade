"""What a pipeline costs: state, memory traffic and evaluations, from its stage definitions."""

from __future__ import annotations

from dataclasses import dataclass

from edsl.pipeline import Pipeline
from edsl.stage import Stage

ELEMENT = 4  # bytes of a float32, the dtype of state for float32 and half-precision parameters


@dataclass(frozen=True)
class Cost:
    """Of one step, for one float32 parameter element.

    Attributes:
        state: bytes of state kept between steps.
        traffic: bytes that must pass through memory, each tensor once: g, θ and the state are read,
            θ and the state are written. Layer norms can need a second pass on top.
        forwards, backwards: evaluations of the whole loss and of its gradient.
    """

    state: int
    traffic: int
    forwards: int
    backwards: int


def buffers(stage: Stage) -> tuple[str, ...]:
    """The names of the buffers that a stage keeps, each in the parameter's shape."""
    return stage.init(0.0)._fields


def cost(pipeline: Pipeline) -> Cost | None:
    """The cost of a pipeline, or None where another package's optimizer keeps its own state.

    Example:
        >>> import edsl
        >>> from edsl.cost import cost
        >>> cost(edsl.parse("alto"))
        Cost(state=12, traffic=36, forwards=1, backwards=1)
    """
    from edsl.adapters.foreign import Foreign

    if isinstance(pipeline.update, Foreign):
        return None
    count = sum(len(buffers(stage)) for stage in pipeline.stages)
    estimator = pipeline.estimator
    return Cost(
        state=ELEMENT * count,
        traffic=ELEMENT * (3 + 2 * count),
        forwards=estimator.forwards,
        backwards=estimator.backwards,
    )
