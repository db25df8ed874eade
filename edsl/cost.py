"""What a pipeline costs: state, memory traffic and evaluations, from its stage definitions."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from edsl.pipeline import Pipeline
from edsl.stage import Stage

ELEMENT = 4  # bytes of a float32, the dtype of state for float32 and half-precision parameters


@dataclass(frozen=True)
class Cost:
    """Of one step, for one float32 parameter element, on average.

    Attributes:
        state: bytes of state kept between steps.
        traffic: bytes that must pass through memory, each tensor once: g, θ and the state are read,
            θ and the state are written. Layer norms and products of matrices need more passes.
        forwards, backwards: evaluations of the whole loss, and of its gradient or a Hessian-vector
            product.
    """

    state: float
    traffic: float
    forwards: float
    backwards: float


REFERENCE = (1024, 1024)  # the matrix for which buffers of other shapes are counted


def stage_state(stage: Stage, rows: int, columns: int) -> float:
    """Bytes of state of one stage for an element of a rows × columns parameter."""
    own = stage.buffer_shapes(rows, columns)
    fields = stage.init(0.0)._fields
    elements = sum(prod(own[name]) / (rows * columns) if name in own else 1 for name in fields)
    return _plain(ELEMENT * elements)


def cost(pipeline: Pipeline, shape: tuple[int, int] = REFERENCE) -> Cost | None:
    """The cost of a pipeline, or None where another package's optimizer keeps its own state.

    Args:
        pipeline: without routes; of one with routes, each of its `branches` has a cost.
        shape: the parameter's as a matrix, on which the state of matrix stages depends.

    Example:
        >>> import edsl
        >>> from edsl.cost import cost
        >>> cost(edsl.parse("alto"))
        Cost(state=12, traffic=36, forwards=1, backwards=1)
        >>> cost(edsl.parse("soap"), (100, 50)).state
        28
    """
    from edsl.adapters.foreign import Foreign

    if isinstance(pipeline.update, Foreign):
        return None
    state = sum(stage_state(stage, *shape) for stage in pipeline.stages)
    estimator = pipeline.estimator
    return Cost(
        state=_plain(state),
        traffic=_plain(3 * ELEMENT + 2 * state),
        forwards=_plain(estimator.forwards),
        backwards=_plain(estimator.backwards),
    )


def _plain(value: float) -> float:
    return int(value) if value == int(value) else value
