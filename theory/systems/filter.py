"""A pipeline as a digital filter on gradients: transfer function, gains, impulse response, Bode data."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np
import sympy

from edsl.language.pipeline import Pipeline
from edsl.theory.systems.linearise import THETA, NotLinear, Z, exact, run
from edsl.theory.systems.polynomial import (
    Polynomial,
    add,
    as_float,
    as_sympy,
    common_factor,
    lies_inside,
    power_gain,
    quotient,
    scale,
    value,
)
from edsl.theory.systems.state_space import GRADIENT, MOST_STATES, StateSpace, rational
from edsl.theory.text.figure import figure

_MOST_READABLE = 10**6


@dataclass(frozen=True)
class Filter:
    """x_k = A x_{k−1} + B g_k,  y_k = C x_{k−1} + D g_k, in numbers or symbols.

    Attributes:
        states: the buffers. A, B, C, D: sympy matrices of shapes (n, n), (n, 1), (1, n), (1, 1).
        values: the pipeline's hyper-parameters as exact rationals.
        notes: what the filter leaves out, in words.
    """

    states: tuple[sympy.Symbol, ...]
    A: sympy.Matrix
    B: sympy.Matrix
    C: sympy.Matrix
    D: sympy.Matrix
    values: dict[sympy.Symbol, sympy.Rational]
    notes: tuple[str, ...] = ()

    @cached_property
    def symbolic(self) -> Any:
        """H(z) = C (zI − A)⁻¹ B + D in the hyper-parameters' symbols, cancelled."""
        return _transfer(self.A, self.B, self.C, self.D)

    @cached_property
    def transfer(self) -> Any:
        """H(z) with the pipeline's numbers in it, an exact rational function."""
        top, bottom = (as_sympy(part).as_expr() for part in self.fraction)
        return sympy.cancel(top / bottom)

    @cached_property
    def numbers(self) -> StateSpace:
        """The same in exact rationals.

        Raises:
            NotLinear: where a coefficient is no number, such as one that changes with k.
        """
        A, B, C, D = (matrix.subs(self.values) for matrix in (self.A, self.B, self.C, self.D))
        rows = tuple(tuple(map(rational, A.row(i))) for i in range(A.rows))
        return StateSpace(rows, tuple(map(rational, B)), tuple(map(rational, C)), rational(D[0]), self.notes, ())

    @cached_property
    def fraction(self) -> tuple[Polynomial, Polynomial]:
        """H(z) as two polynomials without a common factor."""
        numbers = self.numbers
        top, bottom = numbers.transfer(numbers.C, numbers.B)
        top = add(top, scale(bottom, numbers.D))
        shared = common_factor(bottom, top)
        return quotient(top, shared), quotient(bottom, shared)

    @property
    def written(self) -> str:
        """H(z) to be read: exact in small whole numbers, else with six digits and the highest power of z alone."""
        top, bottom = self.fraction
        if all(number < _MOST_READABLE for x in (*top, *bottom) for number in (abs(x.numerator), x.denominator)):
            return f"= {self.transfer}"
        parts = (_decimals(scale(part, 1 / bottom[-1])) for part in (top, bottom))
        return f"≈ {' / '.join(f'({part})' for part in parts)}"

    @property
    def order(self) -> int:
        """How many buffers this filter needs at the least."""
        return len(self.fraction[1]) - 1

    @property
    def poles(self) -> Any:
        return _roots(self.fraction[1])

    @property
    def zeros(self) -> Any:
        return _roots(self.fraction[0])

    @property
    def minimum_phase(self) -> bool:
        """Whether the inverse filter is causal and stable, as this one is: all zeros and poles inside the circle."""
        top, bottom = self.fraction
        return len(top) == len(bottom) and lies_inside(top) and lies_inside(bottom)

    @property
    def dc_gain(self) -> float:
        """H(1): of a gradient that does not change."""
        return self._value(1)

    @property
    def nyquist_gain(self) -> float:
        """H(−1): of a gradient that changes sign at every step."""
        return self._value(-1)

    @property
    def first_gain(self) -> float:
        """H(∞): of the newest gradient."""
        top, bottom = self.fraction
        return as_float(top[-1] / bottom[-1]) if len(top) == len(bottom) else 0.0

    def _value(self, z: int) -> float:
        top, bottom = (value(part, Fraction(z)) for part in self.fraction)
        return as_float(top / bottom) if bottom != 0 else math.inf

    def impulse(self, length: int) -> Any:
        """The first weights hₙ of past gradients, n = 0 for the newest."""
        numbers = self.numbers
        A, x, C = (np.array(part, dtype=float) for part in (numbers.A, numbers.B, numbers.C))
        weights = [float(numbers.D)]
        for _ in range(length - 1 if numbers.A else 0):
            weights.append(float(C @ x))
            x = A @ x
        return np.pad(weights, (0, length - len(weights)))

    @property
    def noise_gain(self) -> float:
        """Σ hₙ²: the variance of what flows out for white noise of variance 1, ∞ if it grows."""
        top, bottom = self.fraction
        return as_float(power_gain(top, bottom)) if lies_inside(bottom) else math.inf

    def bode(self, frequencies: Any) -> tuple[Any, Any]:
        """(gain, phase in radians) at frequencies in cycles a step, 0 to 0.5."""
        top, bottom = self.fraction
        largest = [max(map(abs, part), default=Fraction(1)) for part in (top, bottom)]
        points = np.exp(2j * np.pi * np.asarray(frequencies, dtype=float))
        values = [np.polyval(_floats(scale(part, 1 / most)), points) for part, most in zip((top, bottom), largest)]
        response = as_float(largest[0] / largest[1]) * values[0] / values[1]
        return np.abs(response), np.unwrap(np.angle(response))


def adaptor_filter(pipeline: Pipeline) -> Filter:
    """The filter of the adaptors alone: from g to u.

    Raises:
        NotLinear: for a stage that has no linear model, by name.

    Example:
        >>> import edsl
        >>> from edsl.theory.systems.filter import adaptor_filter
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
    return Filter(whole.states, whole.A, whole.B, -whole.C, -whole.D, whole.values, whole.notes)


def _filter(pipeline: Pipeline, indices: list[int]) -> Filter:
    flow: Any = GRADIENT
    memory: dict[sympy.Symbol, Any] = {}
    notes: list[str] = []
    for index in indices:
        passage = run(pipeline, index, flow, GRADIENT)
        label = pipeline.labels[index]
        notes += [f"{label}: {said}" for said in (*passage.frozen, *passage.transients)]
        if pipeline.stages[index].needs_noise:
            notes.append(f"{label}: its own noise is left out")
        flow = passage.out.subs(THETA, 0)
        memory.update({symbol: entry.subs(THETA, 0) for symbol, entry in passage.memory.items()})
        if len(memory) >= MOST_STATES:
            raise NotLinear(
                f"a pipeline with more than {MOST_STATES - 1} buffers is not analysed: too many for exact roots"
            )
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
        notes=tuple(dict.fromkeys(notes)),
    )


def _transfer(A: Any, B: Any, C: Any, D: Any) -> Any:
    if A.rows == 0:
        return sympy.cancel(D[0])
    pencil = Z * sympy.eye(A.rows) - A
    return sympy.cancel((C * pencil.adjugate() * B)[0] / pencil.det(method="berkowitz") + D[0])


def _roots(polynomial: Polynomial) -> Any:
    return np.roots(_floats(scale(polynomial, 1 / max(map(abs, polynomial), default=Fraction(1)))))


def _floats(polynomial: Polynomial) -> list[float]:
    """From the highest power down, as numpy has polynomials."""
    return [float(coefficient) for coefficient in reversed(polynomial)]


def _decimals(polynomial: Polynomial) -> str:
    terms = []
    for power in range(len(polynomial) - 1, -1, -1):
        size = figure(as_float(abs(polynomial[power])))
        letters = "" if power == 0 else "z" if power == 1 else f"z**{power}"
        if polynomial[power] != 0:
            sign = "-" if polynomial[power] < 0 else "+"
            terms.append(f"{sign} {letters if letters and size == '1' else f'{size}*{letters}' if letters else size}")
    return " ".join(terms).removeprefix("+ ") or "0"
