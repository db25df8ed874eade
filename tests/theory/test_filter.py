"""E as a filter: THEORY's closed forms beside what the stages give."""

import numpy as np
import pytest
import sympy

import edsl
from edsl.theory.systems.filter import adaptor_filter, update_filter
from edsl.theory.systems.linearise import Z, linearise
from edsl.theory.systems.noise import implicit_regulariser, mean_square_radius, steady_variance

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


@pytest.mark.parametrize(("alpha", "beta1", "s"), [(0, 0.5, 0.5), (-5, 0.9, 0.3), (0.5, 0.01, 0.9), (-3, 0.8, 1.5)])
def test_steady_variance_is_the_closed_form_and_what_simulation_gives(alpha, beta1, s):
    spec = f"grad | e(alpha={alpha}, beta1={beta1}) | sgd(lr=1)"
    found = steady_variance(linearise(edsl.parse(spec)).at(), h=s)
    g = alpha * (1 - beta1)
    top = s * (1 - beta1**2 + s * (beta1**2 + beta1 + 3 * beta1 * g + g + 2 * g**2))
    closed = top / ((1 - beta1 + s * (beta1 + g)) * (2 * (1 + beta1) - s * (1 + beta1 + 2 * g))) / s**2
    assert found == pytest.approx(closed, rel=1e-9)
    if alpha == 0:
        assert found * s**2 == pytest.approx(s / (2 - s))
    generator = np.random.default_rng(0)
    theta, mean, second = np.zeros(2000), np.zeros(2000), []
    for step in range(600):
        gradient = s * theta + generator.normal(size=2000)
        theta = theta - (gradient + alpha * (1 - beta1) * (gradient - mean))
        mean = beta1 * mean + (1 - beta1) * gradient
        if step >= 400:
            second.append((theta**2).mean())
    assert np.mean(second) == pytest.approx(found, rel=0.05)


def test_unstable_pipeline_has_no_steady_variance():
    with pytest.raises(edsl.EdslError, match="diverges at curvature 3"):
        steady_variance(linearise(edsl.parse("sgd(lr=1)")).at(), h=3)


def test_mean_square_growth_under_curvature_noise_is_the_known_one_for_gradient_descent():
    found = mean_square_radius(linearise(edsl.parse("sgd(lr=0.5)")).at(), h=1.0, deviation=0.7)
    assert found == pytest.approx((1 - 0.5) ** 2 + 0.5**2 * 0.7**2)


def test_implicit_regulariser_grows_with_momentum_and_with_exploration():
    assert implicit_regulariser(0.1, 0, 0) == pytest.approx(0.025)
    assert implicit_regulariser(0.1, -5, 0.9) == pytest.approx(0.025 * 29)
