"""Stability with late gradients, with curvature drawn anew each step, and with a period, against plain numpy models."""

import math
import random
import time

import numpy as np
import pytest
from linear_models import Model, random_model
from pages import as_number, table
from shell import run_anew

import edsl
from edsl.theory.stability.batches import amplification, relative_noise
from edsl.theory.stability.conditions import Gradients
from edsl.theory.stability.report import check_e_with_momentum, check_pipeline
from edsl.theory.systems.loop import loop_of

EMA = "grad | e(alpha={}, beta1={}) | sgd(lr=1, momentum=0.9, average='ema')"


def sharpness(spec, **gradients):
    return check_pipeline(edsl.parse(spec), None, Gradients(**gradients))["stable_sharpness"]


@pytest.mark.parametrize("delay", [1, 2, 4, 9])
def test_delayed_gradient_descent_is_stable_below_its_closed_form(delay):
    assert sharpness("sgd(lr=0.5)", delay=delay) == pytest.approx(
        2 * math.sin(math.pi / (2 * (2 * delay + 1))), rel=1e-9
    )


def the_page(first, *columns):
    """What docs/theory.md says by its first column: (α, β₁, s*) for each of the others."""
    return {
        as_number(row[0]): [(*at, as_number(cell)) for at, cell in zip(columns, row[1:], strict=True)]
        for row in table("theory.md", first, "α = 0")
    }


def rounds_to(value, printed, digits):
    """Whether a page that prints so many digits has the nearest number."""
    return float(f"{value:.{digits}g}") == pytest.approx(printed)


DELAYED = the_page("d", (0, 0.5), (-50, 0.99), (0.5, 0.01), (0.99, 0))
NOISY = the_page("c", (0, 0.5), (-5, 0.99), (-50, 0.99), (0.5, 0.01))


@pytest.mark.parametrize("delay", DELAYED)
def test_delay_has_the_sharpness_of_the_page(delay):
    for alpha, beta1, expected in DELAYED[delay]:
        digits = 4 if delay == 1 or expected == 19.19 else 3
        assert rounds_to(sharpness(EMA.format(alpha, beta1), delay=int(delay)), expected, digits)


@pytest.mark.parametrize("c", NOISY)
def test_batch_noise_has_the_sharpness_of_the_page(c):
    for alpha, beta1, expected in NOISY[c]:
        assert rounds_to(sharpness(EMA.format(alpha, beta1), noise=c), expected, 3)
    assert sharpness("sgd(lr=0.3)", noise=c) == pytest.approx(2 / (1 + c * c), rel=1e-9)


def test_lookahead_has_the_sharpness_of_its_period():
    assert sharpness("sgd(lr=1, momentum=0.9) | lookahead(every=5, share=0.5)") == pytest.approx(2.597, abs=5e-4)
    assert sharpness("sgd(lr=1) | lookahead(every=5, share=0.5)") == pytest.approx(2.246, abs=5e-4)
    assert check_pipeline(edsl.parse("grad(accumulate=4) | sgd(lr=1)"))["stable_sharpness"] == 2


@pytest.mark.parametrize(("alpha", "beta1", "s"), [(0, 0.5, 0.5), (-5, 0.9, 0.3), (0.5, 0.01, 0.9), (-3, 0.8, 1.5)])
def test_steady_variance_is_the_closed_form(alpha, beta1, s):
    loop = loop_of(edsl.parse(f"grad | e(alpha={alpha}, beta1={beta1}) | sgd(lr=1)"))
    g = alpha * (1 - beta1)
    top = s * (1 - beta1**2 + s * (beta1**2 + beta1 + 3 * beta1 * g + g + 2 * g**2))
    closed = top / ((1 - beta1 + s * (beta1 + g)) * (2 * (1 + beta1) - s * (1 + beta1 + 2 * g)))
    assert float(amplification(loop, s)) == pytest.approx(closed, rel=1e-9)
    report = check_pipeline(edsl.parse(f"grad | e(alpha={alpha}, beta1={beta1}) | sgd(lr=1)"), (0, s))
    assert report["steady_variance"] == pytest.approx(closed / s**2, rel=1e-9)


def test_second_moments_of_a_simulation_decay_below_the_bound_and_grow_above():
    spec = EMA.format(-5, 0.99)
    limit = sharpness(spec, noise=1.0)
    generator = np.random.default_rng(0)
    for share, grows in ((0.5, False), (2.0, True)):
        h, runs = share * limit, 20_000
        theta, mean, m = np.ones(runs), np.zeros(runs), np.zeros(runs)
        sizes = []
        for _ in range(60):
            g = h * (1 + generator.normal(size=runs)) * theta
            u, mean = g - 5 * 0.01 * (g - mean), 0.99 * mean + 0.01 * g
            m = 0.9 * m + 0.1 * u
            theta = theta - m
            sizes.append((theta**2).mean())
        assert (np.mean(sizes[-10:]) > np.mean(sizes[20:30])) == grows


def check(rng, kind):
    """One random pipeline: whether each edge of the report is where its numpy model says."""
    model = random_model(rng, periodic=kind == "period")
    delay = rng.randint(1, 3) if kind == "delay" or rng.random() < 0.2 else 0
    c = rng.choice((0.1, 0.3, 1.0)) if kind == "noise" else 0.0
    report = check_pipeline(edsl.parse(model.spec), None, Gradients(delay, c))
    checked = 0
    ends = sorted(end for span in report["stable_ranges"] for end in span if end is not None)
    for low, high in report["stable_ranges"]:
        for edge, inwards in ((low, 1), (high, -1)):
            if edge is None:
                continue
            beside = min((abs(edge - end) for end in ends if end != edge), default=np.inf)
            step = inwards * min(1e-3 * abs(edge), beside / 10)
            for h, inside in ((edge + step, True), (edge - step, False)):
                radius = model.radius(h, delay, c)
                if abs(radius - 1) > 1e-7 and h != 0:
                    assert (radius < 1) == inside, (model.spec, delay, c, edge, radius)
                    checked += 1
    for h in (0.01, 0.3, 1.0, 7.0):
        at = h / model.lr
        ranges = report["stable_ranges"]
        inside = any((low is None or low < at) and (high is None or at < high) for low, high in ranges)
        radius = model.radius(at, delay, c)
        if abs(radius - 1) > 1e-7:
            assert (radius < 1) == inside, (model.spec, delay, c, at, radius, ranges)
            checked += 1
    at = report["radius"]["curvature"]
    expected = model.radius(at, delay) ** (1 / model.period)
    assert report["radius"]["full"] == pytest.approx(expected, rel=1e-6, abs=1e-6), (model.spec, delay)
    if c:
        assert report["mean_square_radius"] ** 2 == pytest.approx(model.radius(at, delay, c), rel=1e-6, abs=1e-6)
    return checked


@pytest.mark.parametrize("kind", ["delay", "noise", "period"])
def test_12_random_pipelines_are_stable_where_their_numpy_models_are(kind):
    rng = random.Random(1)
    assert sum(check(rng, kind) for _ in range(12)) > 50


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["delay", "noise", "period"])
def test_500_random_pipelines_are_stable_where_their_numpy_models_are(kind):
    rng = random.Random(2)
    assert sum(check(rng, kind) for _ in range(500)) > 2000


def test_numpy_model_is_the_optimizer():
    import torch

    model = Model([(-5, 0.9), (0.5, 0.1)], 0.1, 0.9, "ema", True, 0.01, 0.02, (3, 0.5))
    theta = torch.nn.Parameter(torch.tensor([1.0], dtype=torch.float64))
    optimizer = edsl.compile(edsl.parse(model.spec), [theta], mode="eager")
    state = [1.0, 0.0, 0.0, 0.0, 1.0]
    for k in range(1, 12):
        theta.grad = 2 * theta.detach()
        state = model.step(state, 2 * state[0], k)
        optimizer.step()
        assert theta.item() == pytest.approx(state[0], rel=1e-12)


def test_closed_form_keeps_its_keys_under_delay_and_noise():
    plain = check_e_with_momentum(-5, 0.99, 0.9, "ema", 0.1, (0, 5), Gradients())
    late = check_e_with_momentum(-5, 0.99, 0.9, "ema", 0.1, (0, 5), Gradients(1, 0.3))
    assert plain["stable_sharpness"] == pytest.approx(40.0106, abs=1e-4)
    assert late["stable_sharpness"] < 1.05
    code, out, _ = run_anew("check-stability", "-5", "0.99", "--json")
    from json import loads

    assert code == 0
    assert loads(out).keys() <= late.keys()


def test_batches_translate_to_noise_by_the_noise_scale():
    assert relative_noise(256, 2000) == pytest.approx(math.sqrt(2000 / 256))
    with pytest.raises(edsl.EdslError, match="--batch must be a number above 0"):
        relative_noise(0, 1)


def test_long_delays_answer_soon():
    begun = time.process_time()
    check_pipeline(edsl.parse("eadam"), (0, 1), Gradients(16))
    assert time.process_time() - begun < 3
