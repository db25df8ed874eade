"""E as a filter: THEORY's closed forms beside what the stages give."""

import numpy as np
import pytest
import sympy

import edsl
from edsl.theory.systems.filter import adaptor_filter, update_filter
from edsl.theory.systems.linearise import Z

POINTS = [(-5, 0.99), (0.5, 0.01), (-90, 0.99), (0.9, 0.0), (-1.5, 0.5)]


def e(alpha, beta1, **options):
    return adaptor_filter(edsl.Pipeline((edsl.grad(), edsl.e(alpha=alpha, beta1=beta1, **options), edsl.sgd())))


@pytest.mark.parametrize("buffers", [1, 2])
def test_transfer_function_is_the_first_order_filter(buffers):
    alpha, beta1 = sympy.symbols("alpha beta1")
    gamma = alpha * (1 - beta1)
    expected = ((1 + gamma) * Z - (beta1 + gamma)) / (Z - beta1)
    assert sympy.simplify(e(-5, 0.99, buffers=buffers).symbolic - expected) == 0


def test_two_buffers_reduce_to_one():
    two = e(-5, 0.99, buffers=2)
    assert len(two.states) == 2
    assert two.order == 1
    assert two.transfer == e(-5, 0.99).transfer


@pytest.mark.parametrize(("alpha", "beta1"), POINTS)
def test_gains_impulse_response_and_phase_are_the_closed_forms(alpha, beta1):
    found, gamma = e(alpha, beta1), alpha * (1 - beta1)
    assert float(found.dc_gain) == 1
    assert float(found.nyquist_gain) == pytest.approx(1 + 2 * gamma / (1 + beta1))
    assert float(found.first_gain) == pytest.approx(1 + gamma)
    weights = [1 + gamma, *(-gamma * (1 - beta1) * beta1 ** (n - 1) for n in range(1, 20))]
    np.testing.assert_allclose(found.impulse(20), weights, rtol=1e-10, atol=1e-15)
    assert found.noise_gain == pytest.approx((1 + gamma) ** 2 + gamma**2 * (1 - beta1) / (1 + beta1))
    assert found.minimum_phase == (gamma > -(1 + beta1) / 2)


def test_bode_data_end_at_the_gains():
    found = e(-5, 0.9)
    gain, phase = found.bode([1e-7, 0.5])
    assert gain == pytest.approx([1, abs(float(found.nyquist_gain))], rel=1e-4)
    assert phase[0] == pytest.approx(0, abs=1e-4)


def test_momentum_of_differences_has_the_weights_of_an_ema_of_an_ema():
    found = update_filter(edsl.parse("grad | e(alpha=-5, beta1=0.8) | sgd(lr=1, momentum=0.6, average='ema')"))
    n = np.arange(12)
    ema = 0.4 * 0.6**n
    differences = 0.2 * 0.4 * (0.8 ** (n + 1) - 0.6 ** (n + 1)) / 0.2  # weight of gᵢ − gᵢ₋₁, THEORY §2
    weights = ema - 5 * (differences - np.concatenate([[0], differences[:-1]]))
    np.testing.assert_allclose(found.impulse(12), weights, rtol=1e-9, atol=1e-12)
