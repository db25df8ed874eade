"""Weights to the nearest, and beside them what that leaves out, in the weights' own dtype (Kahan's compensation).

To the nearest the compensation would be deaf to small steps in its turn; so it is rounded at random.
"""

from __future__ import annotations

import torch
from torch import Tensor

from edsl.numerics.stochastic_rounding import nearest, rounded_within, words
from edsl.numerics.weights.form import REST, WeightForm

# The largest share of θ that rounding to the nearest leaves out, and the least that the rest can hold, where that is
# more: half of the last bit of θ.
_SHARE = {torch.bfloat16: 2.0**-8, torch.float16: 2.0**-11}
_LEAST = {torch.bfloat16: 2.0**-133, torch.float16: 2.0**-24}


class Kahan(WeightForm):
    """x = θ + c;   θ ← nearest(x),   c ← x − θ, rounded up or down at random: E (θ + c) = x.

    A compensation of more than half of θ's last bit is not that of this θ, which somebody has set since: it counts
    as 0.
    """

    name = "kahan"
    buffer = "weights.compensation"
    rounds = True

    def join(self, theta: Tensor, rest: Tensor | None) -> Tensor:
        assert rest is not None  # it keeps one
        wide, c = theta.float(), rest.float()
        most = (wide.abs() * _SHARE[theta.dtype]).clamp(min=_LEAST[theta.dtype])
        return torch.where(c.abs() <= most, wide + c, wide)

    def cut(self, x: Tensor, dtype: torch.dtype, key: Tensor | None) -> tuple[Tensor, Tensor | None]:
        assert key is not None  # it draws noise
        theta = nearest(x, dtype)
        c = torch.where(theta.isfinite(), x - theta, 0.0)
        return theta.to(dtype), rounded_within(c, words(x.shape, key, REST), dtype)

    def cpp(self, dtype: torch.dtype) -> str:
        kind = "bfloat16" if dtype is torch.bfloat16 else "float16"
        share, least = f"{_SHARE[dtype]!r}f", f"{_LEAST[dtype]!r}f"
        return f"""\
static inline float joined(float theta, float rest) {{
  const float share = std::fabs(theta) * {share};
  return std::fabs(rest) <= (share < {least} ? {least} : share) ? theta + rest : theta;
}}
static inline float rest_of(float x) {{
  {kind} near; put(near, x);
  const float theta = widened(near);
  return std::fabs(theta) <= FLT_MAX ? x - theta : 0.0f;
}}
#define put_weight(to, x, word) put(to, x)
#define put_rest put_within
"""

    def triton(self, dtype: torch.dtype) -> str:
        name = str(dtype).removeprefix("torch.")
        near = "nearest(x)" if dtype is torch.bfloat16 else "x.to(tl.float16)"
        return f"""\
@triton.jit
def joined(theta, rest):
    share = tl.abs(theta) * {_SHARE[dtype]!r}
    most = tl.where(share < {_LEAST[dtype]!r}, {_LEAST[dtype]!r}, share)
    return tl.where(tl.abs(rest) <= most, theta + rest, theta)


@triton.jit
def rest_of(x):
    theta = {near}.to(tl.float32)
    return tl.where(tl.abs(theta) <= 3.4028234663852886e38, x - theta, 0.0)


@triton.jit
def weight_of(x, word):
    return {near}


@triton.jit
def stored_rest(x, word):
    return rounded_to_{name}(x, word)
"""
