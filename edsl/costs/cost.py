"""What a pipeline costs: state, memory traffic and evaluations, from its stage definitions."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from math import prod

from edsl.language.pipeline import Pipeline
from edsl.language.reductions import analyse, segments
from edsl.language.stage import Stage

ELEMENT = 4  # bytes of a float32, the dtype of state for float32 and half-precision parameters


@dataclass(frozen=True)
class Cost:
    """Of one step, for one float32 parameter element, on average.

    Attributes:
        state: bytes of state kept between steps.
        traffic: bytes that must pass through memory, each tensor once: g, θ and the state are read, θ
            and the state that a step changes are written. Norms and products of matrices need more passes.
        forwards, backwards: evaluations of the whole loss, and of its gradient or a Hessian-vector
            product.
        all_reduces: messages of a step on parameters that are sharded over processes, for all of
            them together.
        exchanged: bytes that travel between these processes for matrices that have to be whole, at a
            step without a refresh.
    """

    state: float
    traffic: float
    forwards: float
    backwards: float
    all_reduces: int
    exchanged: float


REFERENCE_SHAPE = (1024, 1024)  # the matrix for which buffers of other shapes are counted


def stage_state(stage: Stage, rows: int, columns: int) -> float:
    """Bytes of state of one stage for an element of a rows × columns parameter."""
    return _plain(ELEMENT * _elements(stage, (rows, columns)))


def _elements(stage: Stage, shape: tuple[int, int], names: Collection[str] | None = None) -> float:
    """Elements of all buffers of a stage, or of some, for one of the parameter."""
    own = stage.buffer_shapes(*shape) | dict.fromkeys(stage.scalars(), (1,))
    chosen = stage.init(0.0)._fields if names is None else names
    return sum(prod(own[name]) / prod(shape) if name in own else 1 for name in chosen)


def cost(pipeline: Pipeline, shape: tuple[int, int] = REFERENCE_SHAPE) -> Cost | None:
    """The cost of a pipeline, or None where another package's optimizer keeps its own state.

    Args:
        pipeline: without routes; of one with routes, each of its `branches` has a cost.
        shape: the parameter's as a matrix, on which the state of matrix stages depends.

    Example:
        >>> import edsl
        >>> from edsl.costs.cost import cost
        >>> cost(edsl.parse("alto"))
        Cost(state=12, traffic=36, forwards=1, backwards=1, all_reduces=1, exchanged=0)
        >>> cost(edsl.parse("soap"), (100, 50)).state
        28
    """
    if pipeline.update.moves_weights:
        return None
    state = sum(stage_state(stage, *shape) for stage in pipeline.stages)
    kept = sum(
        ELEMENT * _elements(stage, shape, names) for stage, names in zip(pipeline.stages, kept_buffers(pipeline.stages))
    )
    all_reduces, exchanged = _messages(pipeline, shape)
    estimator = pipeline.estimator
    return Cost(
        state=_plain(state),
        traffic=_plain(traffic(ELEMENT, state, kept)),
        forwards=_plain(estimator.forwards),
        backwards=_plain(estimator.backwards),
        all_reduces=all_reduces,
        exchanged=_plain(exchanged),
    )


def traffic(parameters: float, state: float, kept: float) -> float:
    """Bytes that pass through memory in a step, of which `kept` are of state that is only read."""
    return 3 * parameters + 2 * state - kept


def kept_buffers(stages: Sequence[Stage]) -> list[frozenset[str]]:
    """For each stage, the estimator first, the buffers that a step without a refresh leaves as they are."""
    found = [frozenset[str]()]
    for part in segments(stages[1:]):
        found += analyse(part, [type(stage.init(0.0)) for stage in part]).kept
    return found


def _messages(pipeline: Pipeline, shape: tuple[int, int]) -> tuple[int, float]:
    """All-reduces of a step on shards, and bytes exchanged for an element."""
    all_reduces, exchanged = int(bool(pipeline.nonfinite_policy)), 0.0
    for number, stages in enumerate(segments(pipeline.stages[1:])):
        memory = [type(stage.init(0.0)) for stage in stages]
        reading = analyse(stages, memory)
        all_reduces += stages[0].needs_total_norm
        if any(stage.buffer_shapes(1, 1) for stage in stages):
            came = 2 + (number > 0 and reading.reads_gradient) + sum(_elements(stage, shape) for stage in stages)
            kept = sum(_elements(stage, shape, names) for stage, names in zip(stages, reading.kept))
            went = 1 + sum(_elements(stage, shape) for stage in stages) - kept
            exchanged += ELEMENT * (came + went)
            continue
        all_reduces += len({reduction.turn for reduction in reading.reductions if reduction.kind != "orthogonal"})
        all_reduces += reading.levels
        for reduction in reading.reductions:
            if reduction.kind == "orthogonal":
                exchanged += 2 * (2 if reduction.is_rounded_first else ELEMENT)
    return all_reduces, exchanged


def _plain(value: float) -> float:
    return int(value) if value == int(value) else value
