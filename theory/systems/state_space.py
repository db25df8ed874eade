"""A pipeline's recurrence in exact rationals: x_k = A x_{k−1} + B g_k, what flows out y_k = C x_{k−1} + D g_k."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Any

import sympy

from edsl.language.pipeline import Pipeline
from edsl.language.stage import Stage
from edsl.theory.systems.linearise import CURVATURE, STEP, THETA, NotLinear, exact, run
from edsl.theory.systems.polynomial import Polynomial, trimmed

GRADIENT = sympy.Symbol("g")

LONGEST_PERIOD = 1000
MOST_STATES = 12  # θ and buffers: what follows takes a few seconds

Rows = tuple[tuple[Fraction, ...], ...]


@dataclass(frozen=True)
class StateSpace:
    """The recurrence of some stages of a pipeline.

    Attributes:
        A, B: of the states, θ first, then the buffers; shapes (n, n), (n).
        C, D: of what flows out of the last stage.
        notes: what was idealised, in words; transients: what differs in the first steps.
        names: of the states, as an optimizer's state has them; period: of what acts every few steps, 1 for none.
    """

    A: Rows
    B: tuple[Fraction, ...]
    C: tuple[Fraction, ...]
    D: Fraction
    notes: tuple[str, ...]
    transients: tuple[str, ...]
    names: tuple[str, ...] = ()
    period: int = 1

    def transfer(self, row: Sequence[Fraction], column: Sequence[Fraction]) -> tuple[Polynomial, Polynomial]:
        """row · (zI − A)⁻¹ · column as two polynomials, by Faddeev and LeVerrier; hidden modes stay in both."""
        size = len(self.A)
        top, bottom = list[Fraction](), [Fraction(1)]  # from the highest power down
        M = [[Fraction(i == j) for j in range(size)] for i in range(size)]
        for k in range(1, size + 1):
            top.append(sum((x * M[i][j] * column[j] for i, x in enumerate(row) if x for j in range(size)), Fraction(0)))
            AM = [
                [sum((x * M[i][j] for i, x in enumerate(line) if x), Fraction(0)) for j in range(size)]
                for line in self.A
            ]
            bottom.append(-sum((AM[i][i] for i in range(size)), Fraction(0)) / k)
            M = [[AM[i][j] + (bottom[-1] if i == j else 0) for j in range(size)] for i in range(size)]
        return trimmed(reversed(top)), trimmed(reversed(bottom))


def of_pipeline(pipeline: Pipeline, **instead: Any) -> StateSpace:
    """The whole pipeline, with its own numbers or those given instead.

    Raises:
        NotLinear: for a stage that has no linear model, by name.
    """
    return _of_stages(_linear_estimator(pipeline), len(pipeline.stages), tuple(sorted(instead.items())), None)


def phases_of(pipeline: Pipeline, **instead: Any) -> tuple[StateSpace, ...]:
    """The recurrence of every step of a period, in order; one alone where nothing acts every few steps.

    Raises:
        NotLinear: for a stage that has no linear model, by name, and for a period that is too long.
    """
    values = tuple(sorted(instead.items()))
    last = _of_stages(_linear_estimator(pipeline), len(pipeline.stages), values, 0)
    if last.period == 1:
        return (last,)
    if last.period > LONGEST_PERIOD:
        raise NotLinear(f"a period of {last.period} steps is not analysed: at most {LONGEST_PERIOD}")
    return (*(_of_stages(pipeline, len(pipeline.stages), values, k) for k in range(1, last.period)), last)


def _linear_estimator(pipeline: Pipeline) -> Pipeline:
    if not pipeline.estimator.is_linear:
        raise NotLinear(f"{pipeline.estimator.name} has no linear model: its gradient is taken away from θ")
    return pipeline


@lru_cache(maxsize=256)
def _of_stages(pipeline: Pipeline, end: int, instead: tuple[tuple[str, Any], ...], phase: int | None) -> StateSpace:
    own = {key: exact(value) for key, value in {**pipeline.hyperparameters, **dict(instead)}.items()}
    variables = [THETA]
    flow: Any = GRADIENT
    entries: list[Any] = []
    notes, transients = list[str](), list[str]()
    periods: set[int] = set()
    if pipeline.estimator.draws_directions:
        notes.append(f"{pipeline.estimator.name}: the mean of its estimates, without their noise")
    for index in range(1, end):
        stage = pipeline.stages[index]
        passage = run(pipeline, index, flow, GRADIENT, own, phase)
        periods |= passage.periods
        notes += [f"{stage.name}: {said}" for said in passage.frozen]
        transients += [f"{stage.name}: {said}" for said in passage.transients]
        if stage.needs_noise:
            notes.append(f"{stage.name}: its noise, of mean 0, is left out")
        variables += passage.memory
        if len(variables) > MOST_STATES:
            raise NotLinear(
                f"a pipeline with more than {MOST_STATES - 1} buffers is not analysed: too many for exact roots"
            )
        flow, *new = (_linear(stage, x, [*variables, GRADIENT]) for x in (passage.out, *passage.memory.values()))
        entries += new
    rows = [_coefficients(x, variables) for x in ((THETA if end < len(pipeline.stages) else THETA + flow), *entries)]
    C, D = _coefficients(flow, variables)
    A, B = tuple(row for row, _ in rows), tuple(direct for _, direct in rows)
    said = tuple(dict.fromkeys(notes)), tuple(dict.fromkeys(transients))
    return StateSpace(A, B, C, D, *said, tuple(map(str, variables)), math.lcm(*periods))


def _linear(stage: Stage, expression: Any, variables: Sequence[sympy.Symbol]) -> Any:
    """The expression as a sum of numbers times variables, which it is shown to be."""
    parts = sympy.expand(expression).as_coefficients_dict()
    if all(key in variables for key in parts):
        return sympy.Add(*(coefficient * key for key, coefficient in parts.items()))
    slopes = [sympy.expand(expression.diff(variable)) for variable in variables]
    rest = sympy.expand(expression.subs(dict.fromkeys(variables, 0)))
    if rest != 0 or any(slope.free_symbols & set(variables) for slope in slopes):
        raise NotLinear(f"{stage.name} has no linear model: its step is not linear in gradient and state")
    held = set().union(*(slope.free_symbols for slope in slopes))
    if STEP in held:
        raise NotLinear(f"{stage.name} has no linear model that stays: its coefficients change with the step number k")
    if CURVATURE in held:
        raise NotLinear(f"{stage.name} has no linear model: its step reads the Hessian beside the gradient")
    if held:
        raise NotLinear(f"{stage.name} has no linear model: its coefficients hold {min(map(str, held))}")
    return sympy.Add(*(exact(rational(slope)) * variable for slope, variable in zip(slopes, variables)))


def _coefficients(linear: Any, variables: Sequence[sympy.Symbol]) -> tuple[tuple[Fraction, ...], Fraction]:
    parts = sympy.sympify(linear).as_coefficients_dict()
    row, direct = (tuple(_fraction(parts.get(x, 0)) for x in each) for each in (variables, (GRADIENT,)))
    return row, direct[0]


def _fraction(number: Any) -> Fraction:
    return Fraction(int(number.p), int(number.q)) if isinstance(number, sympy.Rational) else Fraction(number)


def rational(number: Any) -> Fraction:
    """A number of sympy's as a fraction, to 40 digits where it is irrational; raises NotLinear for a symbol."""
    if number.free_symbols:
        held = min(map(str, number.free_symbols))
        why = "the step number" if held == str(STEP) else "no number of the pipeline's"
        raise NotLinear(f"this pipeline is no filter with constant coefficients: they hold {held}, {why}")
    return _fraction(number if number.is_Rational else sympy.Rational(str(number.evalf(40))))
