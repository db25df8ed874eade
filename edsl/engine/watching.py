"""What a step computes on the way, for whoever watches."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from edsl.language.stage import Stage


@dataclass(frozen=True)
class Watched:
    """What one parameter's step computed on the way.

    Attributes:
        roots, norms, ratios: of its base update, in order: √v̂; of θ, of r; the layerwise factor.
        flows: by stage, the norms of what went into it and came out.
    """

    parameter: Tensor
    k: int
    update: Stage
    roots: list[Tensor]
    norms: list[Tensor]
    ratios: list[Tensor]
    flows: dict[str, tuple[Tensor, Tensor]]
