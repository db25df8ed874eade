"""Polynomials over the rationals: where their roots lie, decided exactly."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import sympy

from edsl.theory.systems.bisection import boundary

Polynomial = tuple[Fraction, ...]  # coefficients, the constant first, the last not 0; () is 0
_MOST_EXACT = 14  # coefficients; more come of delays
_DIGITS = 30  # to which irrational places are known
_SMALLEST = 2.0**-60  # radius that is told from 0


def lies_inside(polynomial: Polynomial, radius: Fraction = Fraction(1)) -> bool:
    """Whether all roots lie inside a circle around 0, by Schur and Cohn's recursion, in whole numbers."""
    scaled = [coefficient * radius**power for power, coefficient in enumerate(polynomial)]
    shared = math.lcm(*(x.denominator for x in scaled))
    a = [x.numerator * (shared // x.denominator) for x in scaled]
    while len(a) > 1:
        first, last = a[0], a[-1]
        if abs(first) >= abs(last):
            return False
        a = [last * x - first * y for x, y in zip(a[1:], a[-2::-1])]
        content = math.gcd(*a)
        a = [x // content for x in a]
    return True


def radius_of(polynomial: Polynomial) -> float:
    """The largest |root|, to 12 digits, by circles that hold all roots or not; of high degree in floats."""
    while polynomial and polynomial[0] == 0:
        polynomial = polynomial[1:]  # roots at 0
    if len(polynomial) < 2:
        return 0.0
    largest = max(map(abs, polynomial))
    guess = float(np.abs(np.roots([float(x / largest) for x in reversed(polynomial)])).max(initial=0.0))
    if len(polynomial) > _MOST_EXACT:
        return guess
    bound = 1 + max(abs(coefficient / polynomial[-1]) for coefficient in polynomial)  # Cauchy's
    high = 2.0 ** min(bound.numerator.bit_length() - bound.denominator.bit_length() + 1, 1023)
    low, high = boundary(lambda radius: lies_inside(polynomial, radius), _SMALLEST, high, guess, 1e-12)
    return float(f"{(low + high) / 2:.12g}") if low > _SMALLEST else 0.0


def as_float(number: Fraction) -> float:
    """The nearest float, ±∞ beyond them."""
    try:
        return float(number)
    except OverflowError:
        return math.inf if number > 0 else -math.inf


def roots_between(polynomial: Polynomial, low: Fraction, high: Fraction) -> list[Fraction]:
    """The real roots strictly between two numbers, each once, by exact isolation, to 30 digits."""
    if len(polynomial) < 2:
        return []
    free = as_sympy(polynomial).sqf_part()
    found = [
        _sharpened(from_sympy(free), Fraction(int(a.p), int(a.q)), Fraction(int(b.p), int(b.q)))
        for (a, b), _ in free.intervals(inf=low, sup=high)
    ]
    return [root for root in found if low < root < high]


def _sharpened(polynomial: Polynomial, low: Fraction, high: Fraction) -> Fraction:
    """The one root, a simple one, of an isolating interval, by halving in whole numbers.

    Either low = high is the root, or it lies strictly between; low itself may then be another one.
    """
    if low == high:
        return low
    slope = tuple(power * coefficient for power, coefficient in enumerate(polynomial))[1:]
    at_low = value(polynomial, low) or value(slope, low)
    shared = math.lcm(*(x.denominator for x in polynomial))
    whole = [x.numerator * (shared // x.denominator) for x in polynomial]
    bits = math.ceil(_DIGITS * math.log2(10)) + 1

    def is_below(place: int) -> bool:
        """Whether the root lies above place · 2^−bits."""
        total, weight = 0, 1
        for coefficient in reversed(whole):
            total = total * place + coefficient * weight
            weight <<= bits
        return total != 0 and (total > 0) == (at_low > 0)

    first, last = math.floor(low * 2**bits), math.ceil(high * 2**bits)
    while last - first > 1:
        middle = (first + last) // 2
        first, last = (middle, last) if is_below(middle) else (first, middle)
    return Fraction(first + last, 2 ** (bits + 1))


def common_factor(first: Polynomial, second: Polynomial) -> Polynomial:
    """The greatest common divisor, monic."""
    return from_sympy(as_sympy(first).gcd(as_sympy(second)).monic()) if second else scale(first, 1 / first[-1])


def quotient(polynomial: Polynomial, divisor: Polynomial) -> Polynomial:
    """An exact division."""
    return from_sympy(as_sympy(polynomial).quo(as_sympy(divisor))) if polynomial else ()


def add(first: Polynomial, second: Polynomial) -> Polynomial:
    """The sum of two."""
    longest = max(len(first), len(second))
    return trimmed(
        (first[n] if n < len(first) else 0) + (second[n] if n < len(second) else Fraction(0)) for n in range(longest)
    )


def scale(polynomial: Polynomial, factor: Fraction) -> Polynomial:
    """A polynomial times a number."""
    return trimmed(factor * coefficient for coefficient in polynomial)


def multiply(first: Polynomial, second: Polynomial) -> Polynomial:
    """The product of two."""
    product = [Fraction(0)] * max(len(first) + len(second) - 1, 0)
    for i, x in enumerate(first):
        for j, y in enumerate(second):
            product[i + j] += x * y
    return trimmed(product)


def value(polynomial: Polynomial, x: Fraction) -> Fraction:
    """By Horner's rule."""
    total = Fraction(0)
    for coefficient in reversed(polynomial):
        total = total * x + coefficient
    return total


def trimmed(coefficients: Any) -> Polynomial:
    """Without zeros at the highest powers."""
    found = list(coefficients)
    while found and found[-1] == 0:
        found.pop()
    return tuple(found)


def power_gain(top: Sequence[Any], bottom: Sequence[Any]) -> Any:
    """Σ hₙ², the sum of squares of a filter's impulse response, for roots of `bottom` inside the unit circle.

    Source: Åström, Jury and Agniel 1970, by the recursion of Schur and Cohn.

    Args:
        top, bottom: the transfer function's, top of no higher degree; constants first, any numbers.
    """
    if bottom and isinstance(bottom[-1], Fraction):
        return _power_gain_exactly(top, bottom)
    a = list(bottom)
    b = [*top, *[0] * (len(a) - len(top))]
    leading, total = a[-1], 0
    while a:
        share, ratio = b[0] / a[-1], a[0] / a[-1]
        total += b[0] * share
        backward = a[::-1]
        b = [x - share * y for x, y in zip(b, backward)][1:]
        a = [x - ratio * y for x, y in zip(a, backward)][1:]
    return total / leading


def _power_gain_exactly(top: Sequence[Fraction], bottom: Sequence[Fraction]) -> Fraction:
    """The same in whole numbers: the polynomials are p · a and q · b, a and b without a common divisor."""
    p, a = _whole(bottom)
    q, b = _whole([*top, *[Fraction(0)] * (len(bottom) - len(top))])
    leading, total = bottom[-1], Fraction(0)
    while a:
        first, last, backward = a[0], a[-1], a[::-1]
        total += b[0] ** 2 * q**2 / (last * p)
        q, b = _divided(q / last, [last * x - b[0] * y for x, y in zip(b[1:], backward[1:])])
        p, a = _divided(p / last, [last * x - first * y for x, y in zip(a[1:], backward[1:])])
    return total / leading


def _whole(numbers: Sequence[Fraction]) -> tuple[Fraction, list[int]]:
    """(p, whole numbers) whose product is a list of fractions."""
    shared = math.lcm(*(x.denominator for x in map(Fraction, numbers)))
    return _divided(Fraction(1, shared), [x.numerator * (shared // x.denominator) for x in map(Fraction, numbers)])


def _divided(factor: Fraction, numbers: list[int]) -> tuple[Fraction, list[int]]:
    """The same product with the greatest common divisor in the factor."""
    shared = math.gcd(*numbers) or 1
    return factor * shared, [x // shared for x in numbers]


def as_sympy(polynomial: Polynomial) -> Any:
    """A `sympy.Poly` in z over the rationals."""
    coefficients = [sympy.Rational(c.numerator, c.denominator) for c in reversed(polynomial)]
    return sympy.Poly(coefficients or [0], sympy.Symbol("z"), domain="QQ")


def from_sympy(polynomial: Any) -> Polynomial:
    """A `sympy.Poly` over the rationals as coefficients, the constant first."""
    return trimmed(Fraction(int(c.p), int(c.q)) for c in reversed(polynomial.all_coeffs()))
