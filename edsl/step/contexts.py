"""Where a step happens, in torch: on whole tensors, on stacks of them, on shards, and while somebody watches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from edsl.errors import EdslError
from edsl.language.context import At
from edsl.numerics import kronecker, matrices
from edsl.numerics.newton_schulz import newton_schulz
from edsl.numerics.products import Products
from edsl.numerics.sums import mean, norm, total, total_in_rows
from edsl.step.inputs import StepInputs


class TorchContext(At):
    """Where a step happens, in torch.

    Attributes:
        products: how products of a matrix with its transpose are taken.
    """

    products: type[Products] = Products

    def __init__(
        self, theta: Tensor, gradient: Tensor, inputs: StepInputs, k: Tensor, looks: Tensor, powers: list[Any]
    ) -> None:
        self.theta = theta
        self.gradient = gradient
        self.k = k
        self.looks = looks
        self.powers = powers
        self.total_norm = inputs.total_norm
        self.looked = inputs.hessian is not None
        self.hessian = theta if inputs.hessian is None else inputs.hessian.to(theta.dtype)
        self.own_difference = None if inputs.difference is None else inputs.difference.to(theta.dtype)
        self._shape = theta.shape if inputs.shape is None else inputs.shape
        self._answers = inputs.answers
        self._asked = 0
        self._totals = inputs.totals
        self._added = 0

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
        return super().elementwise(name, *(part if isinstance(part, Tensor) else self._number(part) for part in parts))

    def _number(self, value: Any) -> Tensor:
        """A number or a size, as a scalar of the step."""
        return torch.as_tensor(value, dtype=self.k.dtype, device=self.k.device)

    def equal(self, x: Any, y: Any) -> Any:
        return x == y

    def either(self, x: Any, y: Any) -> Any:
        return x | y

    def isfinite(self, x: Tensor) -> Tensor:
        return x.isfinite()

    def where(self, condition: Any, x: Any, otherwise: Any) -> Any:
        if not isinstance(condition, Tensor):
            return x if condition else otherwise  # of sizes, which a compiled function is made for
        if not isinstance(x, Tensor) and not isinstance(otherwise, Tensor):
            x = self.theta.new_full((), x)  # which no number alone gives its dtype
        return torch.where(condition, x, otherwise)

    def norm(self, x: Tensor) -> Tensor:
        return self._of_layer(x, norm)

    def mean(self, x: Tensor) -> Tensor:
        return self._of_layer(x, mean, of_shard=total)

    def orthogonal(self, x: Tensor, steps: int, polynomials: str, precision: str) -> Tensor:
        return self._of_layer(x, lambda whole: newton_schulz(whole, steps, polynomials, precision), of_shard=_itself)

    def _of_layer(self, x: Tensor, of_whole: Callable[[Tensor], Tensor], of_shard: Any = None) -> Tensor:
        """A reduction over the layer: computed from x where that is whole, else the result of all shards."""
        if self._answers is None:
            return of_whole(x)
        answer = self._answers[self._asked]
        self._asked += 1
        assert answer is not None  # the engine has reduced it before
        return answer

    def total(self, x: Tensor) -> Tensor:
        answer = self._next_total()
        assert answer is not None  # the engine has added it up before
        return answer

    def _next_total(self) -> Tensor | None:
        """The answer to the next question about all layers, where it is known."""
        if self._added == len(self._totals):
            raise EdslError("a step asks for at.total that can't be read on letters: take its functions from `at`")
        self._added += 1
        return self._totals[self._added - 1]

    def scalar(self, x: Any) -> Tensor:
        return x if isinstance(x, Tensor) else self._number(x)

    def of_scalar(self, buffer: Tensor) -> Tensor:
        """What a buffer of one number holds, as precise as live values; without dimensions it widens no element."""
        return buffer.to(self.k.dtype).reshape(())

    def row_mean(self, x: Tensor) -> Tensor:
        return x.mean(-1, keepdim=True)

    def column_mean(self, x: Tensor) -> Tensor:
        return x.mean(-2, keepdim=True)

    def transpose(self, x: Tensor) -> Tensor:
        return x.mT

    def product(self, x: Tensor, y: Tensor) -> Tensor:
        return matrices.gram(x, self.products) if matrices.is_transpose(y, x) else x @ y

    def blocks(self, x: Tensor, size: int) -> Tensor:
        return matrices.blocks(x, size)

    def whole(self, x: Tensor) -> Tensor:
        return matrices.unblock(x, self.rows, self.columns)

    def inverse_power(self, x: Tensor, exponent: Any, eps: Any) -> Tensor:
        return matrices.inverse_power(x, exponent, eps)

    def eigenbasis(self, x: Tensor, count: int | None = None) -> Tensor:
        return matrices.eigenbasis(x)[..., :count]

    def refined(self, basis: Tensor, x: Tensor) -> Tensor:
        return matrices.refined(basis, x)

    def started(self, factor: Tensor) -> Tensor:
        return self.first(kronecker.identity(factor), factor)

    def balanced(self, factor: Tensor, other: Tensor) -> Tensor:
        return kronecker.balanced(factor, other)

    def factored(self, left: Tensor, x: Tensor, right: Tensor) -> Tensor:
        return kronecker.factored(left, x, right)

    def solved(self, left: Tensor, x: Tensor, right: Tensor) -> Tensor:
        return kronecker.solved(left, x, right)

    def preconditioned(self, left: Tensor, x: Tensor, right: Tensor) -> Tensor:
        return kronecker.preconditioned(left, x, right)

    def fitted(self, factor: Tensor, a: Tensor, b: Tensor, rate: Any, side: str) -> Tensor:
        return kronecker.fitted(factor, a, b, rate, side)


class StackContext(TorchContext):
    """Where a step happens on a stack of layers: what is asked about each has shape (n, 1, 1)."""

    def __init__(self, theta: Tensor, *place: Any) -> None:
        super().__init__(theta, *place)
        self._shape = theta.shape[1:]

    def of_scalar(self, buffer: Tensor) -> Tensor:
        return buffer.to(self.theta.dtype).reshape(-1, 1, 1)

    def norm(self, x: Tensor) -> Tensor:
        return norm(x, dim=tuple(range(1, x.dim())))

    def mean(self, x: Tensor) -> Tensor:
        return mean(x, dim=tuple(range(1, x.dim())))


class AskingContext(TorchContext):
    """Where a step happens whose totals over all layers are not all known: what this layer adds to each is kept."""

    def __init__(self, *place: Any) -> None:
        super().__init__(*place)
        self.addends: list[Tensor] = []

    def total(self, x: Tensor) -> Tensor:
        answer = self._next_total()
        self.addends.append(total_in_rows(x) if answer is None else answer)
        return self.addends[-1]


class ShardContext(AskingContext):
    """Where a step happens on a shard whose reductions are not all known: the shard's partial results are kept."""

    def __init__(self, *place: Any) -> None:
        super().__init__(*place)
        self.partials: list[Tensor] = []

    def _of_layer(self, x: Tensor, of_whole: Callable[[Tensor], Tensor], of_shard: Any = None) -> Tensor:
        assert self._answers is not None  # whole tensors need no partial results
        answer = self._answers[self._asked]
        self._asked += 1
        self.partials.append((of_shard or of_whole)(x))
        return self.partials[-1] if answer is None else answer


class ObservingContext(TorchContext):
    """Where a step happens for watchers: roots, norms, ratios and what flows between stages are recorded."""

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
