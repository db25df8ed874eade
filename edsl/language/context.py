"""Where a step happens: the functions that a stage may call beside the operators of its values."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from edsl.errors import EdslError
from edsl.language.operations import function_named

Value = Any  # a tensor, a float or a symbol
LEAST = 2.0**-126  # float32's least normal number: an EMA of zeros sticks below it, and never comes to 0


class At(ABC):
    """The context of a step: this parameter, at step k, under one backend.

    A backend that computes implements the abstract methods, values with Python's operators, and, where it knows
    matrices, the operations on them, which go to `function` otherwise. All else follows here. A backend that only
    reads the names of calls is a `NamedAt`.

    Attributes:
        theta: the parameter θ_{k−1} that the step will change.
        k: the number of this step, from 1.
        gradient: the estimator's raw gradient, before any adaptor.
        lr: the base update's η, for the wrappers after it.
        total_norm: the 2-norm of the incoming quantity over all parameters; only for a stage
            with `needs_total_norm`.
        normals: independent standard normal noise in the shape of theta, for each that the stage draws: its own
            first, which is `normal`; only for a stage with `needs_noise`.
        probes: the same for a refresh; only for a stage with `needs_probe`.
        hessian: the estimator's newest estimate of the Hessian's diagonal; only for a stage with
            `needs_hessian`.
        looks: the number of Hessian estimates so far, including this one.
        rows, columns: the shape of theta; only for a stage that `is_matrix`.
        looked: there is a new estimate of the Hessian at this step; stages ask `fresh`.
        own_difference: the estimator's own difference of raw gradients, or None; stages ask `difference`.
        powers: (β, βᵏ) for decays whose power is known; stages ask `debias`.
    """

    theta: Value
    k: Value
    gradient: Value
    lr: Value
    total_norm: Value
    normals: Any
    probes: Any
    hessian: Value
    looks: Value
    rows: Value
    columns: Value
    looked: bool
    own_difference: Value
    powers: Sequence[tuple[Value, Value]]

    @abstractmethod
    def function(self, name: str, *arguments: Value) -> Value:
        """A named function of what it is given, or an error that the backend has none of this name."""

    @abstractmethod
    def sqrt(self, x: Value) -> Value:
        """√x, element by element."""

    @abstractmethod
    def equal(self, x: Value, y: Value) -> Value:
        """Where x = y, element by element; other comparisons are Python's operators."""

    @abstractmethod
    def either(self, x: Value, y: Value) -> Value:
        """Where one of two conditions holds, or both."""

    @abstractmethod
    def isfinite(self, x: Value) -> Value:
        """Where x is neither infinite nor NaN."""

    @abstractmethod
    def where(self, condition: Value, x: Value, otherwise: Value) -> Value:
        """x where a condition holds, `otherwise` elsewhere, each a value or a number."""

    @abstractmethod
    def norm(self, x: Value) -> Value:
        """‖x‖₂ over the whole layer, a scalar."""

    @abstractmethod
    def mean(self, x: Value) -> Value:
        """The mean over the layer's elements, a scalar."""

    @property
    def normal(self) -> Value:
        """The noise that a stage draws."""
        return self.normals[0]

    @property
    def probe(self) -> Value:
        """The noise that a refresh draws."""
        return self.probes[0]

    def ema(self, past: Value, x: Value, beta: Value) -> Value:
        """β past + (1 − β) x: one step of an exponential moving average."""
        return beta * past + (1 - beta) * x

    def scalar(self, x: Value) -> Value:
        """A number of the layer, as a buffer of one holds it: see `Stage.scalars`."""
        return x

    def elementwise(self, name: str, *parts: Value) -> Value:
        """A function of `edsl.language.operations`, element by element: of tensors their own method."""
        return getattr(parts[0], function_named(name).method)(*parts[1:])

    def passed(self, label: str, before: Value, after: Value) -> None:  # noqa: B027 (nobody has to watch)
        """Called after each stage with its input and its output, for contexts that record them."""

    def debias(self, x: Value, beta: Value, count: Value = None) -> Value:
        """x / (1 − βᵏ): an EMA that started at zero, corrected for that bias; `count` replaces k if given."""
        # A product with the scalar's inverse: a division for each element would cost as much as all else.
        return x * (1 / (1 - self._power(beta, count)))

    def _power(self, beta: Value, count: Value) -> Value:
        if count is not None:
            return beta**count
        for known, power in self.powers:
            if known is beta:
                return power
        return beta**self.k

    def first(self, x: Value, otherwise: Value) -> Value:
        """x at the first step, `otherwise` at every later one."""
        return self.where(self.equal(self.k, 1), x, otherwise)

    def total(self, x: Value) -> Value:
        """The sum of x's elements over all layers that step, behind a route over its own, a scalar."""
        return self.function("total", x)

    def row_mean(self, x: Value) -> Value:
        """The mean of each row of a matrix, a column of numbers."""
        return self.function("row_mean", x)

    def column_mean(self, x: Value) -> Value:
        """The mean of each column of a matrix, a row of numbers."""
        return self.function("column_mean", x)

    def row_norm(self, x: Value) -> Value:
        """‖·‖₂ of each row of a matrix, a column of numbers."""
        return self.sqrt(self.row_mean(x * x) * self.columns)

    def column_norm(self, x: Value) -> Value:
        """‖·‖₂ of each column of a matrix, a row of numbers."""
        return self.sqrt(self.column_mean(x * x) * self.rows)

    def every(self, period: int, x: Value, otherwise: Value) -> Value:
        """x at every `period`-th step, `otherwise` at others."""
        return self.where(self.equal(self.k % period, 0), x, otherwise)

    def fresh(self, x: Value, otherwise: Value) -> Value:
        """x at a step with a new estimate of the Hessian, `otherwise` at others."""
        return x if self.looked else otherwise

    def difference(self, x: Value, past: Value) -> Value:
        """x − past; for raw gradients, the estimator's better estimate if it has one (spsa with common=True)."""
        return x - past if self.own_difference is None or x is not self.gradient else self.own_difference

    def ratio(self, x: Value, y: Value, where: Value = None) -> Value:
        """x / y for scalars, and 1 where y or `where` is zero, which is x if it is not given."""
        zero = self.either(self.equal(x if where is None else where, 0), self.equal(y, 0))
        return self.where(zero, 1, x / self.where(zero, 1, y))

    def finite(self, x: Value) -> Value:
        """x where it is finite, else 0, element by element."""
        return self.where(self.isfinite(x), x, 0)

    def clamp(self, x: Value, bound: Value) -> Value:
        """x with every element clamped to [−bound, bound]; NaN stays NaN."""
        return self.minimum(self.maximum(x, -bound), bound)

    def minimum(self, x: Value, y: Value) -> Value:
        """The smaller of two, element by element; NaN where either is."""
        return self.where(y < x, y, self._unless_nan(y, x))

    def maximum(self, x: Value, y: Value) -> Value:
        """The larger of two, element by element; NaN where either is."""
        return self.where(y > x, y, self._unless_nan(y, x))

    def _unless_nan(self, y: Value, x: Value) -> Value:
        """x where y is a number, as NaN alone does not equal itself; else y."""
        return x if type(y) in (int, float) else self.where(self.equal(y, y), x, y)

    def sign(self, x: Value) -> Value:
        """−1, 0 or 1, element by element; 0 for NaN, and for what is smaller than `LEAST`."""
        return self.where(x >= LEAST, 1, 0) - self.where(-x >= LEAST, 1, 0)

    def positive(self, x: Value) -> Value:
        """1 where x > 0, else 0, element by element."""
        return self.where(x > 0, 1, 0)

    def transpose(self, x: Value) -> Value:
        """xᵀ of a matrix or of each block."""
        return self.function("transpose", x)

    def product(self, x: Value, y: Value) -> Value:
        """x y of matrices, or block by block."""
        return self.function("product", x, y)

    def blocks(self, x: Value, size: int) -> Value:
        """A matrix split into equal blocks of at most size × size, padded with zeros."""
        return self.function("blocks", x, size)

    def whole(self, x: Value) -> Value:
        """The matrix in theta's shape that consists of these blocks."""
        return self.function("whole", x)

    def orthogonal(self, x: Value, steps: int, polynomials: str, precision: str) -> Value:
        """A matrix with x's singular vectors and singular values of about 1 (Newton–Schulz)."""
        return self.function("orthogonal", x, steps)

    def inverse_power(self, x: Value, exponent: Value, eps: Value) -> Value:
        """(x + ε λ I)^(−exponent) of symmetric blocks, λ the largest eigenvalue of each."""
        return self.function("inverse_power", x, exponent, eps)

    def eigenbasis(self, x: Value, count: int | None = None) -> Value:
        """The eigenvectors of symmetric blocks as columns, largest eigenvalue first; all, or the first so many."""
        return self.function("eigenbasis", x) if count is None else self.function("eigenbasis", x, count)

    def refined(self, basis: Value, x: Value) -> Value:
        """An eigenbasis refined towards that of x by one power iteration and a QR factorisation."""
        return self.function("refined", basis, x)

    def started(self, factor: Value) -> Value:
        """The identity at the first step, a triangular or diagonal factor as it is at every later one."""
        return self.function("started", factor)

    def balanced(self, factor: Value, other: Value) -> Value:
        """A factor scaled to the size of the other; of both at once no product of the two changes."""
        return self.function("balanced", factor, other)

    def factored(self, left: Value, x: Value, right: Value) -> Value:
        """Qₗ X Qᵣᵀ, for two factors."""
        return self.function("factored", left, x, right)

    def solved(self, left: Value, x: Value, right: Value) -> Value:
        """Qₗ⁻ᵀ X Qᵣ⁻¹, for two factors."""
        return self.function("solved", left, x, right)

    def preconditioned(self, left: Value, x: Value, right: Value) -> Value:
        """Qₗᵀ Qₗ X Qᵣᵀ Qᵣ, for two factors."""
        return self.function("preconditioned", left, x, right)

    def fitted(self, factor: Value, a: Value, b: Value, rate: Value, side: str) -> Value:
        """A factor after one step of length `rate` towards A Aᵀ = B Bᵀ, or AᵀA = BᵀB for the right `side`."""
        return self.function("fitted", factor, a, b, rate, side)


class NamedAt(At):
    """A context that reads the names of calls: `function` gets the name of each, and its arguments in order.

    Differences stay differences, of Python's operator.
    """

    def sqrt(self, x: Value) -> Value:
        return self.function("sqrt", x)

    def equal(self, x: Value, y: Value) -> Value:
        return self.function("equal", x, y)

    def either(self, x: Value, y: Value) -> Value:
        return self.function("either", x, y)

    def isfinite(self, x: Value) -> Value:
        return self.function("isfinite", x)

    def where(self, condition: Value, x: Value, otherwise: Value) -> Value:
        return self.function("where", condition, x, otherwise)

    def norm(self, x: Value) -> Value:
        return self.function("norm", x)

    def mean(self, x: Value) -> Value:
        return self.function("mean", x)

    def elementwise(self, name: str, *parts: Value) -> Value:
        function_named(name)
        return self.function(name, *parts)

    def debias(self, x: Value, beta: Value, count: Value = None) -> Value:
        return self.function("debias", x, beta, self.k if count is None else count)

    def first(self, x: Value, otherwise: Value) -> Value:
        return self.function("first", x, otherwise)

    def every(self, period: int, x: Value, otherwise: Value) -> Value:
        return self.function("every", period, x, otherwise)

    def fresh(self, x: Value, otherwise: Value) -> Value:
        return self.function("fresh", x, otherwise)

    def difference(self, x: Value, past: Value) -> Value:
        return x - past

    def ratio(self, x: Value, y: Value, where: Value = None) -> Value:
        return self.function("ratio", x, y, x if where is None else where)

    def finite(self, x: Value) -> Value:
        return self.function("finite", x)

    def clamp(self, x: Value, bound: Value) -> Value:
        return self.function("clamp", x, bound)

    def minimum(self, x: Value, y: Value) -> Value:
        return self.function("min", x, y)

    def maximum(self, x: Value, y: Value) -> Value:
        return self.function("max", x, y)

    def sign(self, x: Value) -> Value:
        return self.function("sign", x)

    def positive(self, x: Value) -> Value:
        return self.function("positive", x)


class Draws:
    """Noise that is made when it is read: what `make` gives for each number, from one on."""

    def __init__(self, make: Any, begin: int = 0) -> None:
        self._make, self._begin = make, begin

    def __getitem__(self, chosen: Any) -> Any:
        begin = self._begin + (chosen.start if isinstance(chosen, slice) else chosen)
        return Draws(self._make, begin) if isinstance(chosen, slice) else self._make(begin)


class NotElementwise(EdslError):
    """A step does something that is neither element by element nor a norm or a mean."""


class Branching(NotElementwise):
    """A step chooses by a value, which nothing but a run on that value can follow."""

    def __init__(self) -> None:
        super().__init__("a step branches on a value")

    def __reduce__(self):
        return Branching, ()
