"""Weights rounded up or down at random, right on average; nothing is kept beside them."""

from __future__ import annotations

import torch
from torch import Tensor

from edsl.numerics.stochastic_rounding import rounded_within, words
from edsl.numerics.weights.form import WEIGHT, WeightForm


class Stochastic(WeightForm):
    """θ ← the number above x with probability (x − below)/(above − below), else that below: E θ = x.

    Infinite only where the nearest is; beyond the largest number that one stays.
    """

    name = "stochastic"
    rounds = True

    def cut(self, x: Tensor, dtype: torch.dtype, key: Tensor | None) -> tuple[Tensor, Tensor | None]:
        assert key is not None  # it draws noise
        return rounded_within(x, words(x.shape, key, WEIGHT), dtype), None

    def cpp(self, dtype: torch.dtype) -> str:
        return "#define put_weight put_within\n"

    def triton(self, dtype: torch.dtype) -> str:
        return f"""\
@triton.jit
def weight_of(x, word):
    return rounded_to_{str(dtype).removeprefix("torch.")}(x, word)
"""
