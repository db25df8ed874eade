"""What updates remember of gradients: a momentum, or the first two moments of Adam and its kin, as EMAs."""

from __future__ import annotations

from typing import NamedTuple

from edsl.language.context import Value


class Momentum(NamedTuple):
    """m, a sum or an EMA of gradients."""

    m: Value


class Moments(NamedTuple):
    """m and v, EMAs of gradients and of their squares."""

    m: Value
    v: Value

    def after(self, u_m: Value, u_v: Value, beta2: Value, beta3: Value) -> Moments:
        """m = β₂ m + (1−β₂) u_m,  v = β₃ v + (1−β₃) u_v²  (Zhao et al. 2025, Algorithm 4)."""
        m = beta2 * self.m + (1 - beta2) * u_m
        v = beta3 * self.v + (1 - beta3) * (u_v * u_v)
        return Moments(m, v)
