"""Certified steps and cycles: the table, soundness on random convex functions, and cycles that run."""

import math
import random

import numpy as np
import pytest
from convex_functions import KINDS, ConvexFunction
from linear_models import Model, random_model
from pages import as_number, table

import edsl
from edsl.lab.landscapes.cycles import run_cycle
from edsl.theory.certificates.certificate import certified_rate, largest_certified
from edsl.theory.certificates.cycle import cycle_at, first_cycle
from edsl.theory.certificates.report import certify, describe
from edsl.theory.stability.intervals import from_zero, stable_intervals
from edsl.theory.systems.loop import loop_of

EMA = "grad | e(alpha={}, beta1={}) | sgd(lr={}, momentum=0.9, average='ema')"
TABLE = [  # α, β₁, the quadratic's, certified, first cycle: of the page
    (
        *map(as_number, ("0, .99" if at == "0" else at).split(", ")),
        *map(as_number, (quadratic, certified)),
        None if cycle.startswith("none") else as_number(cycle),
    )
    for at, quadratic, certified, cycle in table("theory.md", "α, β₁", "quadratics")
]


def rounds_to(value, printed):
    digits = len(f"{printed}".replace(".", "").lstrip("0"))
    return float(f"{value:.{digits}g}") == pytest.approx(printed, rel=1e-12)


@pytest.mark.parametrize(("alpha", "beta1", "quadratic", "certified", "cycle"), TABLE)
def test_certificate_and_cycle_are_those_of_the_table(alpha, beta1, quadratic, certified, cycle):
    found = describe(certify(edsl.parse(EMA.format(alpha, beta1, 0.02)), 1000))
    assert rounds_to(found["stable_sharpness"], quadratic)
    assert rounds_to(found["certified_sharpness"], certified)
    if cycle is None:
        assert found["cycle_sharpness"] is None
    else:
        assert rounds_to(found["cycle_sharpness"], cycle)
        assert found["certified_sharpness"] < found["cycle_sharpness"] < found["stable_sharpness"]
    assert found["certified"] is True
    assert found["rate"] <= found["rate_here"] < 1


@pytest.mark.parametrize("condition", [2, 30, 1000])
def test_gradient_descent_has_the_known_rates(condition):
    loop = loop_of(edsl.parse("sgd(lr=1)"))
    for L in (0.3, 1.0, 2 * condition / (condition + 1), 1.99):
        found = certified_rate(loop, condition, L)
        assert found is not None
        assert found.rate == pytest.approx(max(1 - L / condition, L - 1), abs=2e-6)
    assert largest_certified(loop, condition, 2.0) == pytest.approx(2, rel=1e-5)
    assert first_cycle(loop, condition).curvature == pytest.approx(2)


def test_nesterov_is_certified_at_its_textbook_step():
    kappa = 100
    momentum = (math.sqrt(kappa) - 1) / (math.sqrt(kappa) + 1)
    spec = f"sgd(lr=1, momentum={momentum:.12g}, nesterov=True)"
    found = certified_rate(loop_of(edsl.parse(spec)), kappa, 1.0)
    assert found is not None
    assert found.rate**2 <= 1 - 1 / math.sqrt(kappa) + 1e-6  # Nesterov's bound on f, which LMIs improve on


def sound(model: Model, condition: float, share: float, functions: int, seed: int) -> bool:
    """Whether ‖θ_k − θ*‖ ≤ C ρᵏ on random functions at a share of the certified step; False for nothing certified."""
    pipeline = edsl.parse(model.spec)
    loop = loop_of(pipeline)
    near = from_zero(stable_intervals(loop))
    top = largest_certified(loop, condition, min(near.high, 1e6)) if near else 0.0
    L = share * top
    found = certified_rate(loop, condition, L) if L else None
    if found is None:
        return False
    for number in range(functions):
        f = ConvexFunction(KINDS[number % len(KINDS)], condition, L, seed + number)
        rest = f.minimiser(model.coupled)
        state = [np.random.default_rng(seed).normal(size=4) * 3, *[np.zeros(4)] * (model.states - 1)]
        distances = []
        for k in range(1, 1200):
            state = model.step(state, f.gradient(state[0]), k)
            distances.append(np.linalg.norm(state[0] - rest))
            if distances[-1] < 1e-9:
                break
        scaled = np.log(np.maximum(distances, 1e-300)) - np.log(found.rate) * np.arange(len(distances))
        late = len(scaled) // 2
        assert scaled[late:].max() <= scaled[:late].max() + 0.2, (model.spec, condition, L, found, f.kind)
    return True


def settings(seed, count, functions):
    rng = random.Random(seed)
    done = 0
    while done < count:
        model = random_model(rng)
        model.decay = 0.0  # coupled decay has the minimiser that the test knows
        share = rng.choice((1.0, 0.9, 0.5, 0.1))
        done += sound(model, rng.choice((3.0, 20.0, 100.0)), share, functions, rng.randint(0, 10**6))


def test_5_certified_settings_hold_on_random_convex_functions():
    settings(1, 5, 3)


@pytest.mark.slow
def test_300_certified_settings_hold_on_20_random_convex_functions_each():
    settings(2, 300, 20)


CYCLING = [
    EMA.format(0, 0.5, 9),
    EMA.format(-5, 0.99, 9),
    "sgd(lr=0.5, momentum=0.9, weight_decay=0.001) | ema_weights",
    "grad | e(alpha=-3, beta1=0.8) | e(alpha=1, beta1=0.5) | sgd(lr=0.4, momentum=0.9) | decay(rate=0.001)",
    "grad | e(alpha=-50) | adam(lr=0.1)",
]


@pytest.mark.parametrize("spec", CYCLING)
def test_cycle_repeats_in_the_optimizer_and_attracts_where_it_is_said_to(spec):
    found = certify(edsl.parse(spec), 1000)
    if found.system.notes:
        with pytest.raises(edsl.EdslError, match="√v̂ is frozen"):
            run_cycle(found.pipeline, found.system, found.shown, mode="eager")
        return
    pipeline, loop = found.pipeline, loop_of(found.pipeline)
    assert found.shown.attracts
    for cycle in (found.shown, cycle_at(loop, found.system, 1000, 1.01 * found.first.curvature)):
        assert cycle.gradient_at(1 + 0j) == pytest.approx(cycle.gradient, abs=1e-12)
        ran = run_cycle(pipeline, found.system, cycle, steps=1, rounds=25 if cycle.attracts else 1, mode="eager")
        assert ran.off_after_one < 1e-9
        if cycle.attracts:
            assert ran.off_after_push < 0.0095  # of 0.01, where the slowest mode is slow


@pytest.mark.slow
def test_attracting_cycles_hold_for_1000_rounds_of_the_compiled_optimizer():
    for alpha, beta1, lr in ((0, 0.5, 9), (0, 0.5, 12), (0, 0.5, 20), (0, 0.5, 30), (-5, 0.99, 9)):
        found = certify(edsl.parse(EMA.format(alpha, beta1, lr)), 1000)
        assert found.cycle_here is not None
        assert found.cycle_here.attracts
        ran = run_cycle(found.pipeline, found.system, found.cycle_here, steps=1)
        assert ran.off_after_one < 1e-9
        assert ran.off_after_push < 1e-6


def test_gradient_of_the_polygon_is_that_of_its_function():
    cycle = certify(edsl.parse(EMA.format(0, 0.5, 9)), 1000).shown
    generator = np.random.default_rng(0)
    for x, y in generator.uniform(-1.5, 1.5, size=(60, 2)):
        z, step = complex(x, y), 1e-6
        slopes = [(cycle.value_at(z + step * d) - cycle.value_at(z - step * d)) / (2 * step) for d in (1, 1j)]
        assert cycle.gradient_at(z) == pytest.approx(complex(*slopes), abs=1e-4)
        other = complex(*generator.uniform(-1.5, 1.5, size=2))
        change, gap = cycle.gradient_at(z) - cycle.gradient_at(other), z - other
        inner = (change * gap.conjugate()).real
        m, L = cycle.curvature / 1000, cycle.curvature
        assert inner >= m * abs(gap) ** 2 - 1e-9
        assert inner >= abs(change) ** 2 / L - 1e-9  # an L-Lipschitz gradient of a convex function


def test_clip_has_a_sector_directly_behind_the_gradient_and_is_refused_elsewhere():
    found = certify(edsl.parse("grad | clip(value=0.3) | e(alpha=-5) | sgd(lr=0.05, momentum=0.9)"), 1000)
    assert found.here
    assert found.best is None
    model, theta = Model([(-5, 0.99)], 0.05, 0.9), 40.0
    state = [theta, 0.0, 0.0]
    for k in range(1, 4000):
        slope = np.clip(state[0], -1, 1) + 1e-3 * state[0]  # Huber's, with a ridge
        state = model.step(state, float(np.clip(slope, -0.3, 0.3)), k)
    assert abs(state[0]) < 1e-3
    for spec, said in (
        ("grad | e | clip(value=1) | sgd", "only directly behind the estimator"),
        ("lion", "lion has no linear model: a sign, whose slope at 0 nothing bounds"),
        ("grad | clip(norm=1) | sgd", "clip has no linear model"),
        ("sgd | lookahead", "lookahead has no linear model"),
    ):
        with pytest.raises(edsl.EdslError, match=said.replace("(", r"\(").replace(")", r"\)")):
            certify(edsl.parse(spec), 10)


ESTIMATED = [  # a model, and s = L; at the condition 10
    (Model([], 1.0), 0.5),
    (Model([], 1.0), 1.0),
    (Model([], 1.0), 1.8),
    (Model([], 1.0, 0.5), 0.5),
    (Model([], 1.0, 0.5), 1.2),
    (Model([], 1.0, 0.6, "sum", True), 0.6),
    (Model([(-1, 0.5)], 1.0), 0.7),
    (Model([(0.5, 0.01)], 1.0, 0.5), 0.8),
    (Model([(1, 0.3)], 1.0, 0.4, "ema"), 0.8),
    (Model([(-2, 0.6)], 1.0, 0.3, "ema"), 1.2),
]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("model", "s"), ESTIMATED, ids=lambda x: getattr(x, "spec", x))
def test_worst_case_of_pepit_decays_at_the_certified_rate(model, s):
    """After 10 and 20 steps: the same rate for gradient descent, no slower in the long run for the others."""
    pytest.importorskip("PEPit")
    from performance_estimation import worst_case

    found = certified_rate(loop_of(edsl.parse(model.spec)), 10, s)
    ten, twenty = (worst_case(model, 10, s, steps) for steps in (10, 20))
    rate = (twenty / ten) ** (1 / 20)
    assert found is not None
    if model.states == 2 and not model.momentum:
        assert rate == pytest.approx(found.rate, abs=1e-3)
    else:
        assert rate < found.rate + 0.03  # a polynomial before ρᵏ fades slowly
