"""Where a step happens, in torch: on whole tensors, on shards, and while somebody watches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from edsl.language.context import LEAST, At
from edsl.numerics import matrices
from edsl.numerics.newton_schulz import newton_schulz
from edsl.numerics.sums import mean, norm, total
from edsl.step.inputs import StepInputs


class TorchContext(At):
    """Where a step happens, in torch."""

    def __init__(
        self, theta: Tensor, gradient: Tensor, inputs: StepInputs, k: Tensor, looks: Tensor, powers: list[Any]
    ) -> None:
        self.theta = theta
        self.gradient = gradient
        self.k = k
        self.looks = looks
        self.powers = powers  # (β, βᵏ) for every decay
        self.total_norm = inputs.total_norm
        self.looked = inputs.hessian is not None
        self.hessian = theta if inputs.hessian is None else inputs.hessian.to(theta.dtype)
        self._difference = inputs.difference
        self._shape = theta.shape if inputs.shape is None else inputs.shape
        self._answers = inputs.answers
        self._asked = 0

    @property
    def rows(self) -> Any:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self._shape[0]

    @property
    def columns(self) -> Any:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self._shape[1]

    def function(self, name: str, *arguments: Any) -> Any:
        raise NotImplementedError(f"at.{name} is not implemented for torch")

    def sqrt(self, x: Any) -> Any:
        return x.sqrt() if isinstance(x, Tensor) else x**0.5  # the root of a size is a number

    def elementwise(self, name: str, *parts: Any) -> Any:
        first, *rest = parts
        return super().elementwise(name, first if isinstance(first, Tensor) else self._number(first), *rest)

    def _number(self, value: Any) -> Tensor:
        """A number or a size, as a scalar of the step."""
        return torch.as_tensor(value, dtype=self.k.dtype, device=self.k.device)

    def norm(self, x: Tensor) -> Tensor:
        return self._of_layer(x, norm)

    def mean(self, x: Tensor) -> Tensor:
        return self._of_layer(x, mean, of_shard=total)

    def orthogonal(self, x: Tensor, steps: int, polynomials: str, precision: str) -> Tensor:
        return self._of_layer(x, lambda whole: newton_schulz(whole, steps, polynomials, precision), of_shard=_itself)

    def _of_layer(self, x: Tensor, of_whole: Callable[[Tensor], Tensor], of_shard: Any = None) -> Tensor:
        """What is asked about a layer: from x where that is whole, else as it was answered."""
        if self._answers is None:
            return of_whole(x)
        answer = self._answers[self._asked]
        self._asked += 1
        assert answer is not None  # the engine has asked before
        return answer

    def debias(self, x: Tensor, beta: Any, count: Any = None) -> Tensor:
        # A product with the scalar's inverse: a division for each element would cost as much as all else.
        if count is not None:
            return x * (1 / (1 - beta**count))
        for known, power in self.powers:
            if known is beta:
                return x * (1 / (1 - power))
        return x * (1 / (1 - beta**self.k))

    def first(self, x: Tensor, otherwise: Tensor) -> Tensor:
        return torch.where(self.k == 1, x, otherwise)

    def ratio(self, x: Any, y: Any, where: Any = None) -> Tensor:
        zero = ((x if where is None else where) == 0) | (y == 0)
        return torch.where(zero, 1.0, x / torch.where(zero, 1.0, y))

    def fresh(self, x: Tensor, otherwise: Tensor) -> Tensor:
        return x if self.looked else otherwise

    def difference(self, x: Tensor, past: Tensor) -> Tensor:
        if self._difference is not None and x is self.gradient:
            return self._difference.to(x.dtype)
        return x - past

    def finite(self, x: Tensor) -> Tensor:
        return torch.where(x.isfinite(), x, 0.0)

    def clamp(self, x: Tensor, bound: Any) -> Tensor:
        return self.minimum(self.maximum(x, -bound), bound)

    def minimum(self, x: Any, y: Any) -> Tensor:
        return _either(x, y, lambda x, y: torch.where((y < x) | (y != y), y, x))

    def maximum(self, x: Any, y: Any) -> Any:
        if not isinstance(x, Tensor) and not isinstance(y, Tensor):
            return y if y > x else x  # of sizes, which a compiled function is made for
        return _either(x, y, lambda x, y: torch.where((y > x) | (y != y), y, x))

    def sign(self, x: Tensor) -> Tensor:
        return torch.where(x.abs() < LEAST, 0.0, x.sign())

    def positive(self, x: Tensor) -> Tensor:
        return (x > 0).to(x.dtype)

    def where(self, condition: Any, x: Any, y: Any) -> Any:
        if not isinstance(condition, Tensor):
            return x if condition else y  # of sizes and numbers, which a compiled function is made for
        made = torch.where(condition, x, y)
        return made if isinstance(x, Tensor) or isinstance(y, Tensor) else made.to(self.theta.dtype)

    def filled(self, x: Any) -> Tensor:
        return torch.zeros_like(self.theta) + x

    def row_mean(self, x: Tensor) -> Tensor:
        return x.mean(-1, keepdim=True)

    def column_mean(self, x: Tensor) -> Tensor:
        return x.mean(-2, keepdim=True)

    def every(self, period: int, x: Tensor, otherwise: Tensor) -> Tensor:
        return torch.where(torch.remainder(self.k, period) == 0, x, otherwise)

    def transpose(self, x: Tensor) -> Tensor:
        return x.mT

    def product(self, x: Tensor, y: Tensor) -> Tensor:
        return x @ y

    def blocks(self, x: Tensor, size: int) -> Tensor:
        return matrices.blocks(x, size)

    def whole(self, x: Tensor) -> Tensor:
        return matrices.unblock(x, self.rows, self.columns)

    def inverse_power(self, x: Tensor, exponent: Any, eps: Any) -> Tensor:
        return matrices.inverse_power(x, exponent, eps)

    def eigenbasis(self, x: Tensor) -> Tensor:
        return matrices.eigenbasis(x)

    def refined(self, basis: Tensor, x: Tensor) -> Tensor:
        return matrices.refined(basis, x)


def _either(x: Any, y: Any, choose: Callable[[Any, Any], Tensor]) -> Tensor:
    """A choice between two, of which one may be a number, or a scalar in float64, in the other's dtype."""
    if not isinstance(y, Tensor):
        y = torch.as_tensor(y, dtype=x.dtype, device=x.device)
    if not isinstance(x, Tensor):
        x = torch.as_tensor(x, dtype=y.dtype, device=y.device)
    if x.dim() > y.dim():
        y = y.to(x.dtype)
    elif y.dim() > x.dim():
        x = x.to(y.dtype)
    return choose(x, y)


class ShardContext(TorchContext):
    """Where a step happens on a shard whose questions are not all answered: what it can tell is kept."""

    def __init__(self, *place: Any) -> None:
        super().__init__(*place)
        self.told: list[Tensor] = []

    def _of_layer(self, x: Tensor, of_whole: Callable[[Tensor], Tensor], of_shard: Any = None) -> Tensor:
        assert self._answers is not None  # nobody asks about a whole tensor
        answer = self._answers[self._asked]
        self._asked += 1
        self.told.append((of_shard or of_whole)(x))
        return self.told[-1] if answer is None else answer


class ObservingContext(TorchContext):
    """Where a step happens while somebody watches: what is taken on the way is kept."""

    def __init__(self, *place: Any) -> None:
        super().__init__(*place)
        self.roots: list[Tensor] = []
        self.norms: list[Tensor] = []
        self.ratios: list[Tensor] = []
        self.flows: dict[str, tuple[Tensor, Tensor]] = {}

    def sqrt(self, x: Tensor) -> Tensor:
        self.roots.append(super().sqrt(x))
        return self.roots[-1]

    def norm(self, x: Tensor) -> Tensor:
        self.norms.append(super().norm(x))
        return self.norms[-1]

    def ratio(self, x: Any, y: Any, where: Any = None) -> Tensor:
        self.ratios.append(super().ratio(x, y, where))
        return self.ratios[-1]

    def passed(self, label: str, before: Tensor, after: Tensor) -> None:
        self.flows[label] = (before.norm(), after.norm())


def _itself(x: Tensor) -> Tensor:
    return x
