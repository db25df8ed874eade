"""Weights rounded to the nearest, as torch's optimizers leave them; all others are as they are."""

from __future__ import annotations

import torch
from torch import Tensor

from edsl.numerics.weights.form import WeightForm


class Nearest(WeightForm):
    """θ ← nearest(x): steps below half of a weight's last bit are lost. Of float32 and float64, x itself."""

    name = "nearest"

    def cut(self, x: Tensor, dtype: torch.dtype, key: Tensor | None) -> tuple[Tensor, Tensor | None]:
        return x.to(dtype), None
