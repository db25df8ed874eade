"""E against the paper's two-buffer recurrence, and against the optimizers that it equals."""

import numpy as np
import pytest
import torch
from naive import adam, adapted_gradients, lamb, sgd
from problem import as_numpy, gradients, parameters, tensors, walk, worst

import edsl

STEPS = 50
EXACT = 1e-12


def ours(spec, steps=STEPS):
    params = parameters()
    return walk(edsl.compile(spec, params, mode="eager"), params, gradients(steps))


def given():
    return [t.numpy() for t in tensors()], as_numpy(gradients(STEPS))


@pytest.mark.parametrize("buffers", [1, 2])
@pytest.mark.parametrize("start", ["zero", "first"])
@pytest.mark.parametrize(("alpha", "beta1"), [(-5, 0.99), (0.5, 0.01), (-90, 0.99), (0.3, 0.0)])
def test_one_and_two_buffers_equal_the_papers_recurrence(alpha, beta1, start, buffers):
    theta, g = given()
    expected = sgd(theta, adapted_gradients(g, alpha, beta1, start), lr=0.1)
    spec = f"grad | e(alpha={alpha}, beta1={beta1}, start='{start}', buffers={buffers}) | sgd(lr=0.1)"
    assert worst(ours(spec), expected) < EXACT


def test_two_buffers_follow_a_schedule_of_alpha_and_beta1():
    theta, g = given()
    alphas = [-5 + step / 20 for step in range(STEPS)]
    betas = [0.9 + step / 1000 for step in range(STEPS)]
    params = parameters()
    optimizer = edsl.compile("grad | e(buffers=2) | sgd(lr=0.1)", params, mode="eager")
    history = []
    for alpha, beta1, row in zip(alphas, betas, gradients(STEPS), strict=True):
        optimizer.param_groups[0].update(alpha=alpha, beta1=beta1)
        history += walk(optimizer, params, [row])
    assert worst(history, sgd(theta, adapted_gradients(g, alphas, betas), lr=0.1)) < EXACT


def test_one_buffer_follows_a_schedule_of_alpha():
    theta, g = given()
    alphas = [-5 + step / 20 for step in range(STEPS)]
    params = parameters()
    optimizer = edsl.compile("grad | e | sgd(lr=0.1)", params, mode="eager")
    history = []
    for alpha, row in zip(alphas, gradients(STEPS), strict=True):
        optimizer.param_groups[0]["alpha"] = alpha
        history += walk(optimizer, params, [row])
    assert worst(history, sgd(theta, adapted_gradients(g, alphas, 0.99), lr=0.1)) < EXACT


OPTIONS = [
    {},
    {"bias_correction": False},
    {"layerwise": False},
    {"m_reads": "g"},
    {"v_reads": "g"},
    {"eps2": 0.5, "eps3": 0.1, "weight_decay": 0.3},
    {"eps2": 0.0, "eps3": 0.0, "beta2": 0.5, "beta3": 0.8},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_alto_and_its_ablations_equal_the_naive_loop(options):
    theta, g = given()
    expected = lamb(theta, adapted_gradients(g, -5, 0.99), lr=0.05, raw=g, **options)
    written = ", ".join(f"{key}={value!r}" for key, value in {"lr": 0.05, **options}.items())
    assert worst(ours(f"alto({written})"), expected) < EXACT


@pytest.mark.parametrize("decoupled", [False, True])
def test_eadam_and_eadamw_equal_the_naive_loop(decoupled):
    theta, g = given()
    expected = adam(theta, adapted_gradients(g, -5, 0.99), 0.01, 0.9, 0.999, 1e-8, 0.1, decoupled)
    assert worst(ours(f"{'eadamw' if decoupled else 'eadam'}(lr=0.01, weight_decay=0.1)"), expected) < EXACT


@pytest.mark.parametrize("average", ["sum", "ema"])
@pytest.mark.parametrize("nesterov", [False, True])
def test_esgd_equals_the_naive_loop(average, nesterov):
    theta, g = given()
    expected = sgd(theta, adapted_gradients(g, -5, 0.99), 0.05, 0.9, 0.01, average, nesterov)
    spec = f"esgd(lr=0.05, weight_decay=0.01, average='{average}', nesterov={nesterov})"
    assert worst(ours(spec), expected) < EXACT


@pytest.mark.parametrize(
    ("spec", "cls", "options"),
    [
        ("sgd(lr=0.1)", torch.optim.SGD, {"lr": 0.1}),
        (
            "sgd(lr=0.1, momentum=0.9, weight_decay=0.1)",
            torch.optim.SGD,
            {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.1},
        ),
        ("sgd(lr=0.1, momentum=0.9, nesterov=True)", torch.optim.SGD, {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
        ("adam", torch.optim.Adam, {}),
        ("adam(lr=0.1, weight_decay=0.1)", torch.optim.Adam, {"lr": 0.1, "weight_decay": 0.1}),
        ("adamw", torch.optim.AdamW, {}),
    ],
)
@pytest.mark.parametrize("e", ["", "grad | e(alpha=0) | "])
def test_base_updates_equal_torchs_and_e_with_alpha_0_changes_nothing(spec, cls, options, e):
    params = parameters()
    assert worst(ours(e + spec), walk(cls(params, **options), params, gradients(STEPS))) < EXACT


def test_e_with_alpha_0_changes_no_bit():
    assert worst(ours("grad | e(alpha=0) | lamb"), ours("lamb")) == 0


def test_esgd_with_the_right_alpha_is_heavy_ball():
    beta1, lr = 0.9, 0.05
    theta, g = given()
    expected = sgd(theta, g, lr, momentum=beta1)
    spec = f"grad | e(alpha={-beta1 / (1 - beta1)}, beta1={beta1}) | sgd(lr={lr / (1 - beta1)})"
    # heavy ball's m_k is EMA of g over 1−β₁; E with γ = −β₁ passes ḡ_k through
    assert worst(ours(spec), expected) < 1e-10


def test_esgd_is_quasi_hyperbolic_momentum():
    alpha, beta1, lr = -5, 0.9, 0.05
    nu = -alpha * (1 - beta1) / beta1
    theta, g = given()
    mean = [np.zeros_like(p) for p in theta]
    expected = []
    for row in g:
        for i, x in enumerate(row):
            mean[i] = beta1 * mean[i] + (1 - beta1) * x
            theta[i] = theta[i] - lr * ((1 - nu) * x + nu * mean[i])
        expected.append([p.copy() for p in theta])
    assert worst(ours(f"grad | e(alpha={alpha}, beta1={beta1}) | sgd(lr={lr})"), expected) < EXACT


def test_esgd_with_beta1_0_is_the_optimistic_gradient():
    theta, g = given()
    expected = []
    for step, row in enumerate(g):
        before = g[step - 1] if step else row
        theta = [p - 0.1 * (x + 0.7 * (x - y)) for p, x, y in zip(theta, row, before, strict=True)]
        expected.append(theta)
    assert worst(ours("grad | e(alpha=0.7, beta1=0, start='first') | sgd(lr=0.1)"), expected) < EXACT


def test_with_beta1_0_it_is_the_gradient_of_mars():
    theta, g = given()
    strength, decay = 0.025, 0.95  # c_k = g_k + γ β/(1−β) (g_k − g_{k−1}), MARS-approx without its clip
    alpha = strength * decay / (1 - decay)
    expected, before = [], g[0]
    for row in g:
        c = [x + strength * decay / (1 - decay) * (x - y) for x, y in zip(row, before, strict=True)]
        theta, before = [p - 0.1 * x for p, x in zip(theta, c, strict=True)], row
        expected.append(theta)
    assert worst(ours(f"grad | e(alpha={alpha}, beta1=0, start='first') | sgd(lr=0.1)"), expected) < EXACT


def test_at_minus_90_the_momentum_is_the_slow_ema_of_the_gradient():
    theta, g = given()
    expected = sgd(theta, g, lr=0.1, momentum=0.99, average="ema")
    spec = "grad | e(alpha=-90, beta1=0.99) | sgd(lr=0.1, momentum=0.9, average='ema')"
    assert worst(ours(spec), expected) < 1e-10
