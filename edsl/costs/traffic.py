"""What a step's loops over elements move through memory: more than each tensor once, where norms of layers are read."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from edsl.codegen.expression import Conditions
from edsl.codegen.loops import schedule
from edsl.codegen.packing import stored
from edsl.codegen.signature import KernelSignature
from edsl.codegen.trace import record
from edsl.language.context import NotElementwise
from edsl.numerics.dtypes import working_dtype
from edsl.step.plan import GroupPlan
from edsl.step.segment import Segment


def bytes_of_loops(plan: GroupPlan, dtype: torch.dtype) -> tuple[float, ...] | None:
    """Bytes for an element that each loop of a step reads and writes, where no cache keeps a layer between two loops.

    A stage that reads a layer's norm takes a second loop, which reads θ and the new state again. This is what
    kernels on a GPU move; native code on a CPU does the same for layers that its caches don't hold.

    Args:
        dtype: of parameters and gradients.

    Returns:
        None for what is more than elements, norms and means, and for another package's optimizer.

    Example:
        >>> import edsl, torch
        >>> from edsl.step.plan import GroupPlan
        >>> from edsl.costs.traffic import bytes_of_loops
        >>> alto = edsl.parse("alto")
        >>> bytes_of_loops(GroupPlan(alto, False, alto.hyperparameters), torch.float32)
        (32, 16)
    """
    if plan.pipeline.update.moves_weights:
        return None
    try:
        return tuple(
            size for place, segment in enumerate(plan.segments) for size in _loops(plan, segment, place, dtype)
        )
    except NotElementwise:
        return None


def _loops(plan: GroupPlan, segment: Segment, place: int, dtype: torch.dtype) -> Iterator[float]:
    estimator, work = plan.pipeline.estimator, working_dtype(dtype)
    if segment.stages[0].refresh_every > 0:
        raise NotElementwise(f"{segment.stages[0].name} refreshes its memory")
    if segment.is_matrix:
        raise NotElementwise(f"{segment.labels[-1]} takes matrices")
    recording = record(segment, Conditions(estimator.gives_hessian, estimator.gives_difference, place > 0))
    buffers = stored([form or plan.dtype_of(name, dtype) for name, form in zip(segment.buffers, segment.formats)])
    signature = KernelSignature(work, dtype, work if place > 0 else dtype, (dtype, dtype, dtype), buffers)
    sizes = {name: kind.itemsize for name, kind in signature.behind(len(segment.noisy), recording.updates).items()}
    if segment.needs_total_norm:
        yield sizes["x"]  # which is read once for it
    if segment.noisy:
        yield len(segment.noisy) * work.itemsize  # which is drawn
    exact = tuple(kind == work for kind in buffers)
    adding = [recording.adding(segment.totals_of(level)) for level in range(segment.levels)]
    for one in (*adding, recording):  # what adds to totals over all layers comes before the step
        for loop in schedule(one, exact, keep=False).passes:
            yield sum(sizes[name] for name in loop.touched(one))
