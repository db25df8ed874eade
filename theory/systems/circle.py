"""Polynomials on a circle around 0: products with conjugates there, as polynomials in the cosine of the angle."""

from __future__ import annotations

from fractions import Fraction

from edsl.theory.systems.polynomial import Polynomial, add, as_sympy, multiply, scale, value

Waves = dict[int, Fraction]  # m → c_m of Σ c_m e^{imω}


def correlation(first: Polynomial, second: Polynomial) -> Waves:
    """c_m of first(z) · second(z)* = Σ c_m z^m on the unit circle."""
    found: Waves = {0: Fraction(0)}
    for i, x in enumerate(first):
        for j, y in enumerate(second):
            found[i - j] = found.get(i - j, Fraction(0)) + x * y
    return found


def real_part(waves: Waves) -> Polynomial:
    """Re Σ c_m e^{imω} = Σ c_m cos mω as a polynomial in cos ω (Chebyshev's first kind)."""
    even: Waves = {}
    for m, c in waves.items():
        even[abs(m)] = even.get(abs(m), Fraction(0)) + c
    constant = even.pop(0, Fraction(0))
    return add((constant,), _chebyshev(even, Fraction(1)))


def imaginary_part(waves: Waves) -> Polynomial:
    """Im Σ c_m e^{imω} / sin ω as a polynomial in cos ω (Chebyshev's second kind, one lower)."""
    odd: Waves = {}
    for m, c in waves.items():
        if m:
            odd[abs(m) - 1] = odd.get(abs(m) - 1, Fraction(0)) + (c if m > 0 else -c)
    return _chebyshev(odd, Fraction(2))


def on_circle(polynomial: Polynomial, radius: Fraction) -> Polynomial:
    """The polynomial whose values on the unit circle are this one's on the circle of this radius."""
    return tuple(coefficient * radius**power for power, coefficient in enumerate(polynomial))


def is_positive_between(polynomial: Polynomial, low: Fraction, high: Fraction) -> bool:
    """Whether a polynomial is above 0 on all of [low, high], by Sturm's count of its roots."""
    if not polynomial or value(polynomial, low) <= 0 or value(polynomial, high) <= 0:
        return False
    return len(polynomial) == 1 or as_sympy(polynomial).count_roots(low, high) == 0


def _chebyshev(coefficients: Waves, slope: Fraction) -> Polynomial:
    """Σ c_m p_m with p₀ = 1, p₁ = slope · x, p_{m+1} = 2x p_m − p_{m−1}."""
    total: Polynomial = ()
    before: Polynomial = (Fraction(1),)
    now: Polynomial = (Fraction(0), slope)
    for m in range(max(coefficients, default=-1) + 1):
        total = add(total, scale(before, Fraction(coefficients.get(m, 0))))
        before, now = now, add(multiply((Fraction(0), Fraction(2)), now), scale(before, Fraction(-1)))
    return total
