"""Zeros and what is not a number: layers that start at zero, gradients that stay zero, NaN."""

import math

import pytest
import torch
from torch.nn import Parameter

import edsl
from edsl.numerics.newton_schulz import FLOOR, newton_schulz

MODES = ("compiled", "eager")
LAYERWISE = ["alto", "lamb", "lamb(eps3=1)", "lamb(eps3=1e-30)", "lars(lr=1)", "elars"]


def lora(spec, steps=300, batch=64, **options):
    """The loss before and after, and ‖B‖, of a rank-4 pair on a linear task; B starts at zero."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(256, 16, generator=generator)
    targets = inputs @ torch.randn(16, 8, generator=generator)
    down = Parameter(torch.randn(4, 16, generator=generator) / 4)
    up = Parameter(torch.zeros(8, 4))
    optimizer = edsl.compile(spec, [("down", down), ("up", up)], **options)

    def loss():
        return (inputs @ (up @ down).T - targets).square().mean()

    start = loss().item()
    for _ in range(steps):
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
    return start, loss().item(), up.norm().item()


@pytest.mark.parametrize("spec", ["alto", "lamb"])
def test_a_lora_pair_trains_as_well_as_without_eps3(spec):
    start, end, size = lora(f"{spec}(lr=0.02)")
    _, without, _ = lora(f"{spec}(lr=0.02, eps3=0)")
    assert end < 0.6 * start
    assert end == pytest.approx(without, rel=1e-3)
    assert size > 0.5


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("spec", LAYERWISE)
def test_a_layer_that_starts_at_zero_moves_by_a_factor_of_one(spec, mode):
    theta = Parameter(torch.zeros(5))
    free = Parameter(torch.zeros(5))
    gradient = torch.linspace(-1, 1, 5)
    for parameter, layerwise in ((theta, True), (free, False)):
        optimizer = edsl.compile(edsl.parse(spec).override(layerwise=layerwise), [parameter], mode=mode)
        parameter.grad = gradient.clone()
        optimizer.step()
    assert theta.abs().max() > 0
    assert torch.equal(theta, free)


@pytest.mark.parametrize("mode", MODES)
def test_the_factor_of_a_small_layer_still_has_eps3(mode):
    theta = Parameter(torch.tensor([1e-3, 0.0]))
    optimizer = edsl.compile("lamb(lr=0.1, eps3=1, eps2=0, weight_decay=0, eps1=0)", [theta], mode=mode)
    theta.grad = torch.tensor([0.5, 0.5])
    optimizer.step()  # r = (1, 1)
    assert theta.tolist() == pytest.approx([1e-3 - 0.1 * 1.001 / math.sqrt(2), -0.1 * 1.001 / math.sqrt(2)], rel=1e-5)


@pytest.mark.parametrize("spec", ["muon(lr=0.02)", "muon(lr=0.02, polynomials='jordan', precision='bfloat16')"])
def test_under_gradients_of_zero_muon_moves_no_farther_than_torchs(spec):
    """As a gate that has closed leaves an expert; it stops, and stays where it is."""
    torch.manual_seed(0)
    begun, gradient = torch.randn(16, 16), torch.randn(16, 16)
    moved = []
    for build in (
        lambda p: edsl.compile(spec, [("w", p)], mode="eager", weight_decay=0.0),
        lambda p: torch.optim.Muon([p], lr=0.02, weight_decay=0.0),
    ):
        theta = Parameter(begun.clone())
        optimizer = build(theta)
        theta.grad = gradient.clone()
        optimizer.step()
        middle = theta.detach().clone()
        theta.grad = torch.zeros(16, 16)
        for _ in range(1000):
            optimizer.step()
        moved.append((theta - middle).norm().item())
    ours, theirs = moved
    assert 0 < ours <= 1.2 * theirs
    end = theta.detach().clone()
    for _ in range(10):
        optimizer.step()
    assert torch.allclose(theta, end, atol=1e-6)


def test_what_is_below_the_floor_is_not_blown_up():
    x = torch.randn(6, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    x /= x.norm()
    whole = newton_schulz(x, 5, "minimax", "working")
    for size in (1e-7, 1e-3, 1e30):
        assert torch.allclose(newton_schulz(size * x, 5, "minimax", "working"), whole, rtol=1e-12, atol=1e-12)
    for size in (1e-12, 1e-30, 1e-44):
        assert newton_schulz(size * x, 5, "minimax", "working").norm() < 1e4 * size / FLOOR


@pytest.mark.parametrize("mode", MODES)
def test_lion_stops_when_its_momentum_has_decayed(mode):
    theta = Parameter(torch.ones(3))
    optimizer = edsl.compile("lion(lr=0.1, beta3=0.5, weight_decay=0)", [theta], mode=mode)
    theta.grad = torch.ones(3)
    optimizer.step()
    theta.grad = torch.zeros(3)
    for _ in range(200):  # 2⁻¹²⁶ is below the least normal number
        optimizer.step()
    stopped = theta.detach().clone()
    for _ in range(20):
        optimizer.step()
    assert torch.equal(theta, stopped)


@pytest.mark.parametrize("mode", MODES)
def test_a_norm_that_is_not_a_number_reaches_every_tensor_as_in_torch(mode):
    """A bound of min(1, NaN) = 1 would switch clipping off for all others."""
    ends = []
    for ours in (True, False):
        params = [Parameter(torch.zeros(2)), Parameter(torch.zeros(2))]
        params[0].grad, params[1].grad = torch.tensor([math.nan, 1.0]), torch.tensor([300.0, 400.0])
        if ours:
            edsl.compile("grad | clip(norm=1) | sgd(lr=1)", params, mode=mode).step()
        else:
            torch.nn.utils.clip_grad_norm_(params, 1.0)
            torch.optim.SGD(params, lr=1.0).step()
        ends.append([p.detach().clone() for p in params])
    for a, b in zip(*ends, strict=True):
        assert torch.equal(a.isnan(), b.isnan())
        assert a.isnan().all()


@pytest.mark.parametrize("mode", MODES)
def test_a_guard_behind_clip_leaves_no_step_of_any_size(mode):
    params = [Parameter(torch.zeros(2)), Parameter(torch.zeros(2))]
    params[0].grad, params[1].grad = torch.tensor([math.nan, 1.0]), torch.tensor([300.0, 400.0])
    edsl.compile("grad | clip(norm=1) | guard(nonfinite='zero') | sgd(lr=1)", params, mode=mode).step()
    assert all(p.abs().max() == 0 for p in params)


@pytest.mark.parametrize("mode", MODES)
def test_bounds_leave_what_is_not_a_number(mode):
    theta = Parameter(torch.zeros(3))
    theta.grad = torch.tensor([math.nan, 5.0, -math.inf])
    edsl.compile("grad | clip(value=1) | sgd(lr=1)", [theta], mode=mode).step()
    assert theta.isnan().tolist() == [True, False, False]
    assert theta.tolist()[1:] == [-1.0, 1.0]


@pytest.mark.parametrize("spec", ["shampoo(lr=0.1)", "shampoo(lr=0.1, every=100, grafting='none')", "soap(lr=0.1)"])
def test_a_matrix_whose_first_gradient_is_zero_is_not_frozen_until_the_next_refresh(spec):
    theta = Parameter(torch.ones(4, 4))
    optimizer = edsl.compile(spec, [("w", theta)], mode="eager")
    theta.grad = torch.zeros(4, 4)
    optimizer.step()
    theta.grad = torch.eye(4)
    for _ in range(3):
        optimizer.step()
    assert (theta - 1).norm() > 0.1


@pytest.mark.parametrize("spec", ["adam", "eadam", "adabelief", "adan", "rmsprop", "lamb", "alto", "shampoo", "soap"])
def test_other_updates_come_to_rest_under_gradients_of_zero(spec):
    theta = Parameter(torch.ones(4, 4))
    takes_matrices = spec in ("shampoo", "soap")
    optimizer = edsl.compile(spec, [("w", theta)], mode="eager" if takes_matrices else "compiled", lr=0.01)
    for group in optimizer.param_groups:
        if "weight_decay" in group:
            group["weight_decay"] = 0.0
    theta.grad = torch.eye(4)
    optimizer.step()
    theta.grad = torch.zeros(4, 4)
    for _ in range(1500 if takes_matrices else 3000):
        optimizer.step()
    rest = theta.detach().clone()
    for _ in range(10):
        optimizer.step()
    assert torch.equal(theta, rest)
