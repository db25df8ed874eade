"""What the steps do beside converging, each against a formula that is known or a run."""

import numpy as np
import pytest
import torch

import edsl
from edsl.theory.statements.effects import noise_factor, rotation, small_steps
from edsl.theory.statements.homogeneity import degrees


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("sgd(lr=0.1, momentum=0.9, nesterov=True)", 4.30),
        ("qhm(lr=1, momentum=0.95, nu=0.7)", 6.90),
        ("adan(lr=1)", 24.29),
        ("sgd(lr=0.1)", 0.025),
        ("grad | e(alpha=-5, beta1=0.99) | sgd(lr=0.1, momentum=0.9, average='ema')", 0.025 * 29),
    ],
)
def test_implicit_regulariser_is_the_known_one(spec, expected):
    found = small_steps(edsl.parse(spec))
    assert found is not None
    assert found.regulariser == pytest.approx(expected, rel=1e-3)


def test_implicit_regulariser_is_that_of_the_slow_eigenvalue():
    """The slow mode decays as 1 − lr_eff (h + 2 c h²) + (lr_eff h)²/2 … of the flow on f + c‖∇f‖²."""
    from edsl.theory.systems.linearise import CURVATURE, linearise

    pipeline = edsl.parse("sgd(lr=0.1, momentum=0.9, nesterov=True)")
    h = 1e-4
    A = np.array(linearise(pipeline).at().A.subs(CURVATURE, h).tolist(), dtype=float)
    slow = np.abs(np.linalg.eigvals(A)).max()
    found = small_steps(pipeline)
    assert found is not None
    flow = -np.log(slow) / found.lr  # = h + 2 c h²
    assert (flow - h) / (2 * h * h) == pytest.approx(found.regulariser, rel=0.01)


@pytest.mark.parametrize(("alpha", "beta1", "expected"), [(-5, 0.99, 1.053), (-50, 0.99, 1.995), (-80, 0.99, 4.81)])
def test_effective_lr_under_noise_is_that_of_the_table(alpha, beta1, expected):
    spec = f"grad | e(alpha={alpha}, beta1={beta1}) | adam(lr=0.001)"
    assert noise_factor(edsl.parse(spec)) == pytest.approx(expected, rel=1e-3)


def test_effective_lr_under_noise_is_what_a_run_drifts():
    def drift(spec):
        theta = torch.nn.Parameter(torch.zeros(3000, dtype=torch.float64))
        optimizer = edsl.compile(spec, [theta], mode="eager")
        generator = torch.Generator().manual_seed(0)
        for _ in range(400):
            theta.grad = 0.1 + torch.randn(3000, generator=generator, dtype=torch.float64)
            optimizer.step()
        return -theta.mean().item()

    spec = "grad | e(alpha=0.5, beta1=0.01) | adam(lr=0.001, beta3=0.99)"
    predicted = noise_factor(edsl.parse(spec))
    assert predicted == pytest.approx(0.636, abs=5e-4)
    assert drift(spec) / drift("adam(lr=0.001, beta3=0.99)") == pytest.approx(predicted, rel=0.06)


@pytest.mark.parametrize(
    "spec", ["grad | noise(std=1) | adam", "grad | e | sgd", "adam", "grad | e | lamb(v_reads='g')"]
)
def test_effective_lr_is_not_said_where_nothing_is_divided_by_the_noise_of_e(spec):
    assert noise_factor(edsl.parse(spec)) is None


@pytest.mark.parametrize(
    "spec",
    [
        "adamw(lr=0.01, weight_decay=0.5, beta3=0.99)",
        "grad | e(alpha=-20) | adamw(lr=0.01, weight_decay=0.2, beta3=0.99)",
        "grad | e(alpha=-5) | lamb(lr=0.02, weight_decay=0.05, beta3=0.99)",
    ],
)
def test_rotation_is_what_scale_invariant_weights_come_to_under_noise(spec):
    predicted = rotation(edsl.parse(spec))
    assert predicted is not None
    size = 1000
    generator = torch.Generator().manual_seed(0)
    theta = torch.randn(size, generator=generator, dtype=torch.float64)
    theta = torch.nn.Parameter(theta / theta.norm() * predicted.norm * size**0.5 * 1.1)
    optimizer = edsl.compile(spec, [theta], mode="eager")
    norms, angles = [], []
    for k in range(1100):
        before = theta.detach().clone()
        noise = torch.randn(size, generator=generator, dtype=torch.float64)
        theta.grad = (noise - before * (noise @ before) / (before @ before)) / before.norm()  # ⟂ θ, of degree −1 in it
        optimizer.step()
        if k >= 700:
            after = theta.detach()
            norms.append((after.norm() / size**0.5).item())
            angles.append(torch.acos((before @ after / (before.norm() * after.norm())).clamp(-1, 1)).item())
    assert np.mean(norms) == pytest.approx(predicted.norm, rel=0.12)
    assert np.mean(angles) == pytest.approx(predicted.angle, rel=0.12)


@pytest.mark.parametrize("spec", ["adam(weight_decay=0.1)", "sgd(weight_decay=0.1)", "adamw(weight_decay=0)", "muon"])
def test_rotation_is_said_of_decoupled_decay_alone(spec):
    assert rotation(edsl.parse(spec)) is None


SCALING = ["sgd(momentum=0.9)", "adamw(weight_decay=0)", "lamb(weight_decay=0)", "lion", "muon", "adabelief", "soap"]


@pytest.mark.parametrize(
    "spec", [*SCALING, "lars(weight_decay=0)", "grad | e | rmsprop", "adamw(weight_decay=0) | caution"]
)
def test_degrees_are_those_of_a_run_with_scaled_gradients_and_parameters(spec):
    gradient, theta = degrees(edsl.parse(spec)).step

    def moved(a, b):
        generator = torch.Generator().manual_seed(0)
        start = torch.randn(4, 5, generator=generator, dtype=torch.float64)
        parameter = torch.nn.Parameter(b * start)
        optimizer = edsl.compile(spec, [parameter], mode="eager")
        for _ in range(3):
            parameter.grad = a * torch.randn(4, 5, generator=generator, dtype=torch.float64)
            before = parameter.detach().clone()
            optimizer.step()
            with torch.no_grad():
                step = parameter - before
                parameter.copy_(before)  # so that θ is the same in every run, but for its scale
        return step

    plain = moved(1e3, 1.0)
    for a, b in ((2e3, 1.0), (1e3, 4.0)):
        expected = plain * (a / 1e3) ** gradient * b**theta
        torch.testing.assert_close(moved(a, b), expected, rtol=2e-3, atol=2e-3 * expected.abs().max().item())


def test_a_bound_has_no_degree():
    for spec in ("grad | clip(value=1) | sgd", "grad | noise(std=1) | sgd", "sophia"):
        with pytest.raises(edsl.EdslError, match="has no degree"):
            degrees(edsl.parse(spec))
