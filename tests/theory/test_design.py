"""The best hyper-parameters for a spectrum, against what is known and against brute force."""

import itertools
import math
import random
from dataclasses import replace

import numpy as np
import pytest
from linear_models import Model, random_model

import edsl
from edsl.theory.certificates.certificate import certified_rate
from edsl.theory.certificates.report import certify
from edsl.theory.design.guaranteed import Guarantee
from edsl.theory.design.maps import Plane
from edsl.theory.design.objective import Objective
from edsl.theory.design.report import certified_limits, design, limits
from edsl.theory.design.search import best_values
from edsl.theory.stability.conditions import Gradients
from edsl.theory.stability.report import check_pipeline
from edsl.theory.systems.loop import loop_of

SPECTRUM = (0.01, 10.0)
POLYAK = (math.sqrt(1000) - 1) / (math.sqrt(1000) + 1)


@pytest.fixture(scope="module")
def free():
    return design(edsl.parse("grad | e(alpha=-5) | sgd(momentum=0.9)"), SPECTRUM)


def test_search_finds_polyaks_heavy_ball_and_e_gains_nothing_on_quadratics(free):
    assert pytest.approx(0.93869, abs=5e-6) == POLYAK
    for row in ("best", "without_e"):
        assert free[row]["rate"] == pytest.approx(POLYAK, abs=1e-4)
        assert free[row]["rate"] >= POLYAK - 1e-9
    assert "E gains nothing here" in free["verdict"]
    values = free["without_e"]["values"]
    assert values["momentum"] == pytest.approx(POLYAK**2, rel=1e-3)
    assert limits(1000.0)["gradient descent"] == pytest.approx(999 / 1001)


@pytest.mark.parametrize(("alpha", "beta1", "expected"), [(0.5, 0.01, 0.95627), (-5, 0.99, 0.98947)])
def test_what_a_fixed_alpha_costs_is_that_of_the_table(alpha, beta1, expected):
    spec = f"grad | e(alpha={alpha}, beta1={beta1}) | sgd(momentum=0.9)"
    objective = Objective(edsl.parse(spec), ("lr", "momentum"), SPECTRUM)
    assert objective.settled(best_values(objective))[0] == pytest.approx(expected, abs=1e-5)


def brute_force(delay, c, values, spectrum=(0.1, 1.0)):
    """The best worst rate over a grid of (lr, momentum, γ, β₁)."""
    best = 1.0
    curvatures = np.geomspace(*spectrum, 12)
    for lr, momentum, gamma, beta1 in itertools.product(*values):
        model = Model([(gamma / (1 - beta1), beta1)] if gamma else [], lr, momentum)
        worst = 0.0
        for h in curvatures:
            worst = max(worst, model.radius(h, delay, c) ** (0.5 if c else 1.0))
            if worst >= best:
                break
        best = min(best, worst)
    return best


@pytest.mark.parametrize(("delay", "c"), [(1, 0.0), (0, 0.5)])
def test_search_is_as_good_as_brute_force_without_e_under_delay_and_noise(delay, c):
    grid = brute_force(delay, c, (np.geomspace(0.05, 2, 30), np.linspace(0, 0.9, 19), (0.0,), (0.5,)))
    found = design(edsl.parse("sgd(lr=0.1, momentum=0.5)"), (0.1, 1.0), (), Gradients(delay, c))["best"]["rate"]
    assert 1 - found > 0.95 * (1 - grid)
    assert 1 - found < 1.2 * (1 - grid)  # which is a grid, and less than best


@pytest.mark.slow
@pytest.mark.parametrize(("delay", "c"), [(1, 0.0), (2, 0.0), (0, 0.3), (1, 0.3)])
def test_search_is_as_good_as_brute_force_with_e_under_delay_and_noise(delay, c):
    sides = (np.geomspace(0.1, 3, 16), np.linspace(0, 0.8, 9), np.linspace(-0.95, 0.95, 15), (0.0, 0.3, 0.6, 0.8, 0.9))
    grid = brute_force(delay, c, sides)
    found = design(edsl.parse("esgd(momentum=0.5)"), (0.1, 1.0), (), Gradients(delay, c))["best"]["rate"]
    assert 1 - found > 0.95 * (1 - grid)


def triple_momentum(condition):
    """(ρ, spec) of Van Scoy, Freeman and Lynch 2018 at L = 1: E with β₁ = 0 before heavy ball."""
    rho = 1 - 1 / math.sqrt(condition)
    alpha, momentum = rho**2 / ((1 + rho) * (2 - rho)), rho**2 / (2 - rho)
    return rho, f"grad | e(alpha={alpha:.12g}, beta1=0) | sgd(lr={1 + rho:.12g}, momentum={momentum:.12g})"


@pytest.mark.parametrize("condition", [10, 1000])
def test_triple_momentum_is_e_and_heavy_ball_and_certified_at_its_optimal_rate(condition):
    rho, spec = triple_momentum(condition)
    objective = Guarantee(edsl.parse(spec), ("lr",), (1 / condition, 1.0))
    values = {"lr": float(objective.pipeline.hyperparameters["lr"])}
    assert objective.settled(values)[0] == pytest.approx(rho, abs=1e-6)
    assert objective.worst(np.array([[values["lr"]]]), 300)[0] == pytest.approx(rho, abs=1e-5)
    assert certified_limits(condition)["triple momentum"] == rho


def test_design_of_certified_rates_finds_gradient_descents_best_step():
    found = design(edsl.parse("sgd(lr=0.1)"), (0.5, 5.0), ("lr",), of="certified")
    assert found["best"]["values"]["lr"] == pytest.approx(2 / 5.5, rel=1e-3)
    assert found["best"]["rate"] == pytest.approx(9 / 11, abs=1e-4)
    assert found["limits"]["gradient descent"] == pytest.approx(9 / 11)


@pytest.mark.slow
@pytest.mark.parametrize(("condition", "without"), [(10, 0.7264), (1000, 0.9933)])
def test_e_gains_on_convex_functions_up_to_the_triple_momentum_method(condition, without):
    found = design(edsl.parse("esgd(momentum=0.5)"), (1 / condition, 1.0), of="certified")
    rho, _ = triple_momentum(condition)
    assert rho - 1e-6 < found["best"]["rate"] < rho + 1e-4
    assert found["without_e"]["rate"] == pytest.approx(without, abs=2e-4)
    assert "fewer steps" in found["verdict"]


def test_rates_of_many_are_those_certified_one_by_one():
    rng, compared = random.Random(3), 0
    for _ in range(12):
        model = random_model(rng)
        L = rng.choice((0.1, 0.5)) / model.lr
        objective = Guarantee(edsl.parse(model.spec), ("lr",), (L / 20, L))
        exact = certified_rate(loop_of(edsl.parse(model.spec)), 20, L)
        found = objective.worst(np.array([[model.lr]] * 10), 400)
        assert np.ptp(found) < 1e-5
        single = objective.worst(np.array([[model.lr]]), 400)[0]
        assert single == pytest.approx(found[0], abs=1e-5)
        if exact is not None and exact.rate < 0.9999:
            compared += 1
            assert found[0] == pytest.approx(exact.rate, abs=1e-3)
    assert compared > 2


@pytest.mark.parametrize(("delay", "c"), [(0, 0.0), (1, 0.0), (0, 0.3)])
def test_rates_with_a_period_are_those_of_the_numpy_model(delay, c):
    rng = random.Random(4)
    for _ in range(4):
        model = random_model(rng, periodic=True)
        if c:
            model.explorations = model.explorations[:1]
        lrs = np.array([0.3, 1.0, 2.0]) * model.lr
        objective = Objective(edsl.parse(model.spec), ("lr",), (0.1, 1.0), Gradients(delay, c))
        found = objective.rates(lrs[:, None], [0.05, 0.7])
        assert objective.period == model.period
        for row, lr in zip(found, lrs):
            for value, h in zip(row, (0.05, 0.7)):
                radius = replace(model, lr=float(lr)).radius(h, delay, c)
                assert value == pytest.approx(radius ** (1 / (model.period * (2 if c else 1))), rel=1e-6)


@pytest.mark.slow
def test_search_with_a_period_is_as_good_as_brute_force():
    best = 1.0
    for lr, momentum, share in itertools.product(
        np.geomspace(0.3, 5, 24), np.linspace(0, 0.8, 17), (0.2, 0.4, 0.6, 0.8, 1.0)
    ):
        model = Model([], lr, momentum, lookahead=(3, share))
        best = min(best, max(model.radius(h) for h in np.geomspace(0.1, 1, 12)) ** (1 / 3))
    spec = "sgd(lr=0.5, momentum=0.5) | lookahead(every=3, share=0.5)"
    found = design(edsl.parse(spec), (0.1, 1.0))
    assert found["period"] == 3
    assert 1 - found["best"]["rate"] > 0.95 * (1 - best)


def test_bad_designs_are_refused_in_one_line():
    esgd = edsl.parse("esgd")
    for spectrum, over, said in (
        ((0.0, 1.0), (), "--spectrum must be LOW:HIGH with 0 < LOW"),
        ((3.0, 1.0), (), "--spectrum must be LOW:HIGH with 0 < LOW"),
        ((1.0, 2.0), ("beta9",), "unknown hyper-parameter 'beta9'"),
    ):
        with pytest.raises(edsl.EdslError, match=said):
            design(esgd, spectrum, over)
    with pytest.raises(edsl.EdslError, match="beta3 changes no rate on a quadratic"):
        design(edsl.parse("adam"), (1.0, 2.0), ("beta3",))
    for spec, gradients, said in (
        ("sgd | lookahead", Gradients(), "lookahead has no linear model: it acts only every few steps"),
        ("esgd", Gradients(1), "--of certified takes neither"),
    ):
        with pytest.raises(edsl.EdslError, match=said):
            design(edsl.parse(spec), (1.0, 2.0), (), gradients, "certified")
    with pytest.raises(edsl.EdslError, match="--condition must be a number above 1"):
        design(esgd, (1.0, 1.0), (), of="certified")


def test_maps_agree_with_the_exact_analysis_at_their_points():
    pipeline = edsl.parse("grad | e(alpha=-5) | sgd(lr=0.1, momentum=0.9, average='ema')")
    alphas, decays = np.array([-5.0, 0.5, 3.0]), np.array([0.01, 0.5, 0.9])
    for gradients in (Gradients(), Gradients(1, 0.0), Gradients(0, 0.3), Gradients(2, 1.0)):
        found = Plane(pipeline, ("alpha", "beta1"), alphas, decays, gradients).sharpness()
        for (row, beta1), (column, alpha) in itertools.product(enumerate(decays), enumerate(alphas)):
            values = {"alpha": float(alpha), "beta1": float(beta1)}
            if abs(alpha) * (1 - beta1) >= 1:
                continue
            exact = check_pipeline(pipeline.override(**values), None, gradients)["stable_sharpness"]
            assert found[row, column] == pytest.approx(exact, rel=1e-5)
    certified = Plane(pipeline, ("alpha", "beta1"), alphas[:2], decays[:1]).certified(100.0)
    exact = certify(pipeline.override(alpha=0.5, beta1=0.01), 100.0)
    assert certified[0, 1] == pytest.approx(0.1 * exact.certified, rel=0.02)
    rates = Plane(pipeline, ("lr", "momentum"), np.array([0.1]), np.array([0.9])).rate((0.1, 1.0))
    assert 0 < rates[0, 0] < 1
