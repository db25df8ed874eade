"""`lookahead`: slow weights that the fast ones return to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from edsl.language.context import At, Value
from edsl.language.domain import Number, Whole, field
from edsl.language.stage import Wrapper


class SlowWeights(NamedTuple):
    """The slow weights."""

    slow: Value


@dataclass(frozen=True)
class Lookahead(Wrapper):
    """Every n steps, moves the weights back part of the way to where they were n steps before.

        φ₀ = θ₀;   every n steps: φ ← φ + a (θ − φ), θ ← φ

    Source: Zhang et al. 2019, Algorithm 1. Steps are each tensor's own: one without a gradient at some of them returns
    later than the others. (The authors' code counts the optimizer's.)

    Args:
        every: n ≥ 1, the fast steps in a slow one.
        share: a in [0, 1], how much of the way is kept.

    Raises:
        EdslError: for a value outside its domain.

    Example:
        >>> import edsl
        >>> str(edsl.parse("adamw(lr=0.001) | lookahead(every=6)")).split(" | ")[-1]
        'lookahead(every=6, share=0.5)'
    """

    name: ClassVar[str] = "lookahead"
    every: int = field(5, Whole(1), "n")
    share: float = field(0.5, Number(0, 1), "a")

    def init(self, zero: Value) -> SlowWeights:
        return SlowWeights(zero)

    def step(self, x: Value, memory: SlowWeights, at: At) -> tuple[Value, SlowWeights]:
        before = at.first(at.theta, memory.slow)
        slow = at.every(self.every, before + self.share * (at.theta + x - before), before)
        return at.every(self.every, slow - at.theta, x), SlowWeights(slow)
