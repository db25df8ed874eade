"""What lies where while a model trains: gradients that backward() frees, state in the CPU's memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from edsl.costs.memory import Memory
from edsl.engine.offload.engine import WINDOW
from edsl.engine.offload.staging import ARENAS
from edsl.language.spec import as_pipeline
from edsl.step.checks import check_attachable, check_offload


@dataclass(frozen=True)
class Placement:
    """Bytes of gradients and state, by where they are.

    Attributes:
        gradients: there at once: all, or attached at least those of the largest tensor.
        state_on_device: at the most; offloaded that of three windows of layers.
        state_on_host: in the CPU's memory.
        bus: what a step moves between both.
    """

    gradients: int
    state_on_device: int
    state_on_host: int
    bus: int


def placement(found: Memory, spec: Any, shapes: Mapping[str, Sequence[int]], attach: bool, offload: bool) -> Placement:
    """Where the gradients and the state of a plan lie.

    Args:
        found: `edsl.costs.memory.memory` of the spec and these shapes.
        attach, offload: as of `edsl.attach`, and `edsl.compile(…, offload=True)`.

    Raises:
        EdslError: for a spec that can't be attached or offloaded.

    Example:
        >>> from edsl.costs.memory import memory
        >>> from edsl.costs.placement import placement
        >>> shapes = {"0.weight": (1000, 1000), "1.weight": (1000, 1000)}
        >>> placement(memory("adamw", shapes), "adamw", shapes, attach=True, offload=False).gradients
        4000000
    """
    pipeline = as_pipeline(spec)
    if attach:
        check_attachable(pipeline)
    if offload:
        check_offload(pipeline)
    state = found.state or 0
    largest = max(map(prod, shapes.values()), default=0)
    gradients = largest * found.gradient_bytes // max(1, found.parameters) if attach else found.gradient_bytes
    if not offload:
        return Placement(gradients, state, 0, 0)
    each = state / max(1, found.parameters)
    sizes = sorted((max(WINDOW, int(each * prod(shape)) + 1) for shape in shapes.values()), reverse=True)
    return Placement(gradients, min(state, sum(sizes[:ARENAS])), state, 2 * state)
