"""`grad`: the gradient that backward() left in each parameter."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from edsl.stage import Estimator


@dataclass(frozen=True)
class Backprop(Estimator):
    """The gradient of the loss by backpropagation, g_k = ∇f(θ_{k−1}), read from `p.grad`.

    One forward and one backward a step, both the training loop's own.

    Example:
        >>> import edsl
        >>> str(edsl.grad() | edsl.sgd(lr=0.1))
        'grad | sgd(lr=0.1, momentum=0, weight_decay=0)'
    """

    name: ClassVar[str] = "grad"
