"""A pipeline as a digital filter on gradients: transfer function, gains, impulse response, Bode data."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import sympy

from edsl.pipeline import Pipeline
from edsl.theory.linearise import THETA, Z, exact, run

GRADIENT = sympy.Symbol("g")


@dataclass(frozen=True)
class Filter:
    """x_k = A x_{k−1} + B g_k,  y_k = C x_{k−1} + D g_k, in numbers or symbols.

    Attributes:
        states: the buffers. A, B, C, D: sympy matrices of shapes (n, n), (n, 1), (1, n), (1, 1).
        values: the pipeline's hyper-parameters as exact rationals.
    """

    states: tuple[sympy.Symbol, ...]
    A: sympy.Matrix
    B: sympy.Matrix
    C: sympy.Matrix
    D: sympy.Matrix
    values: dict[sympy.Symbol, sympy.Rational]

    @cached_property
    def symbolic(self) -> Any:
        """H(z) = C (zI − A)⁻¹ B + D in the hyper-parameters' symbols, cancelled."""
        size = len(self.states)
        if size == 0:
            return sympy.cancel(self.D[0])
        pencil = Z * sympy.eye(size) - self.A
        return sympy.cancel((self.C * pencil.adjugate() * self.B)[0] / pencil.det(method="berkowitz") + self.D[0])

    @cached_property
    def transfer(self) -> Any:
        """H(z) with the pipeline's numbers in it, an exact rational function."""
        return sympy.cancel(self.symbolic.subs(self.values))

    @property
    def order(self) -> int:
        """How many buffers this filter needs at the least."""
        return len(sympy.Poly(sympy.fraction(self.transfer)[1], Z).all_coeffs()) - 1

    @property
    def poles(self) -> Any:
        return _roots(sympy.fraction(self.transfer)[1])

    @property
    def zeros(self) -> Any:
        return _roots(sympy.fraction(self.transfer)[0])

    @property
    def minimum_phase(self) -> bool:
        """Whether all zeros lie inside the unit circle, so that the inverse filter is stable too."""
        return bool(np.all(np.abs(self.zeros) < 1))

    @property
    def dc_gain(self) -> Any:
        """H(1): of a gradient that does not change."""
        return _value(self.transfer, 1)

    @property
    def nyquist_gain(self) -> Any:
        """H(−1): of a gradient that changes sign at every step."""
        return _value(self.transfer, -1)

    @property
    def first_gain(self) -> Any:
        """H(∞): of the newest gradient."""
        return sympy.limit(self.transfer, Z, sympy.oo)

    def _numbers(self) -> tuple[Any, ...]:
        matrices = (self.A, self.B, self.C, self.D)
        return tuple(np.array(m.subs(self.values).tolist(), dtype=float).reshape(m.shape) for m in matrices)

    def impulse(self, length: int) -> Any:
        """The first weights hₙ of past gradients, n = 0 for the newest."""
        A, B, C, D = self._numbers()
        weights, x = [float(D[0, 0])], B
        for _ in range(length - 1):
            weights.append(float((C @ x).sum()))
            x = A @ x
        return np.array(weights)

    @property
    def noise_gain(self) -> float:
        """Σ hₙ²: the variance of what flows out for white noise of variance 1, ∞ if it grows."""
        from scipy.linalg import solve_discrete_lyapunov

        A, B, C, D = self._numbers()
        if len(A) == 0:
            return float(D[0, 0] ** 2)
        if np.abs(np.linalg.eigvals(A)).max() >= 1:
            return float("inf")
        return float((C @ solve_discrete_lyapunov(A, B @ B.T) @ C.T + D**2)[0, 0])

    def bode(self, frequencies: Any) -> tuple[Any, Any]:
        """(gain, phase in radians) at frequencies in cycles a step, 0 to 0.5."""
        z = np.exp(2j * np.pi * np.asarray(frequencies))
        parts = [sympy.Poly(part, Z).all_coeffs() for part in sympy.fraction(self.transfer)]
        unit = max(abs(coefficient) for coefficient in parts[1])  # which may be too large a whole number for a float
        top, bottom = ([float(coefficient / unit) for coefficient in part] for part in parts)
        response = np.polyval(top, z) / np.polyval(bottom, z)
        return np.abs(response), np.unwrap(np.angle(response))


def adaptor_filter(pipeline: Pipeline) -> Filter:
    """The filter of the adaptors alone: from g to u.

    Raises:
        NotLinear: for a stage that has no linear model, by name.

    Example:
        >>> import edsl
        >>> from edsl.theory.filter import adaptor_filter
        >>> adaptor_filter(edsl.parse("grad | e(alpha=-5, beta1=0.99) | sgd")).transfer
        (95*z - 94)/(100*z - 99)
    """
    return _filter(pipeline, list(range(1, pipeline.update_index)))


def update_filter(pipeline: Pipeline) -> Filter:
    """The filter of the whole pipeline: from g to −Δθ, the step downhill, weight decay left out.

    Raises:
        NotLinear: for a stage that has no linear model, by name.
    """
    whole = _filter(pipeline, list(range(1, len(pipeline.stages))))
    return Filter(whole.states, whole.A, whole.B, -whole.C, -whole.D, whole.values)


def _filter(pipeline: Pipeline, indices: list[int]) -> Filter:
    flow: Any = GRADIENT
    memory: dict[sympy.Symbol, Any] = {}
    for index in indices:
        passage = run(pipeline, index, flow, GRADIENT)
        flow = passage.out.subs(THETA, 0)
        memory.update({symbol: entry.subs(THETA, 0) for symbol, entry in passage.memory.items()})
    states = tuple(memory)
    following: Any = sympy.Matrix(list(memory.values()))
    out: Any = sympy.Matrix([flow])
    empty = not states
    return Filter(
        states=states,
        A=sympy.zeros(0, 0) if empty else following.jacobian(sympy.Matrix(states)),
        B=sympy.zeros(0, 1) if empty else following.diff(GRADIENT),
        C=sympy.zeros(1, 0) if empty else out.jacobian(sympy.Matrix(states)),
        D=out.diff(GRADIENT),
        values={sympy.Symbol(key): exact(value) for key, value in pipeline.hyperparameters.items()},
    )


def _roots(polynomial: Any) -> Any:
    coefficients = [float(c) for c in sympy.Poly(polynomial, Z).all_coeffs()]
    return np.roots(coefficients)


def _value(transfer: Any, z: int) -> Any:
    top, bottom = (sympy.Poly(part, Z).eval(z) for part in sympy.fraction(transfer))
    return top / bottom if bottom != 0 else sympy.oo
