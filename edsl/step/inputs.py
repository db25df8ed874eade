"""What a step reads beside θ, what flows in, and its memory."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class StepInputs(NamedTuple):
    """What a step reads beside θ, what flows in, and its memory.

    Attributes:
        gradient: the raw gradient, or None where it is what flows in.
        live: the vector of live values, powers and k.
        total_norm: of what flows in, over all parameters, or None.
        normals: noise for each stage that reads it.
        hessian: a new estimate of the Hessian's diagonal, or None.
        difference: the estimator's own difference of raw gradients, or None.
        answers: of a shard, what is known of the whole layer for each of the segment's questions, or
            None for what is not known yet; None where the tensors are whole.
        shape: of a shard, the rows and columns of the whole.
        key: of this parameter's stochastic rounding at this step, where state is bfloat16.
    """

    gradient: Tensor | None
    live: Tensor
    total_norm: Tensor | None = None
    normals: tuple[Tensor, ...] = ()
    hessian: Tensor | None = None
    difference: Tensor | None = None
    answers: tuple[Tensor | None, ...] | None = None
    shape: Tensor | None = None
    key: Tensor | None = None
