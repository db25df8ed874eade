"""psgd_kron: its factors, when and on what noise they are fitted, and that what they make is white and finite."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import nn

import edsl
from edsl.numerics.blocks import factor_shapes
from edsl.numerics.kronecker import balanced, factored, fitted, norm_bound, preconditioned, solved
from edsl.step.parameter import ParameterStep


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def factor(n: int, columns: int, seed: int) -> torch.Tensor:
    return drawn(n, columns, seed=seed).triu() + 3 * torch.eye(n, columns) if columns > 1 else 1 + drawn(n, 1).abs()


def dense(one: torch.Tensor) -> torch.Tensor:
    return torch.diag(one[:, 0]) if one.shape[1] == 1 else one


def set_gradients(parameters: Any, make: Any) -> None:
    for one in parameters:
        one.grad = make(one)


@pytest.mark.parametrize("largest", [10, 5, 4, 1])
def test_factors_act_as_the_matrices_that_they_stand_for(largest):
    x = drawn(6, 5)
    left, right = (factor(*shape, seed=place) for place, shape in enumerate(factor_shapes(6, 5, largest)))
    whole_left, whole_right = dense(left), dense(right)
    a = whole_left @ x @ whole_right.mT
    assert torch.allclose(factored(left, x, right), a, rtol=1e-12)
    assert torch.allclose(preconditioned(left, x, right), whole_left.mT @ a @ whole_right, rtol=1e-12)
    back = torch.linalg.inv(whole_left).mT @ x @ torch.linalg.inv(whole_right)
    assert torch.allclose(solved(left, x, right), back, rtol=1e-10)


def test_a_stack_of_factors_is_fitted_as_each_alone():
    a, b = drawn(3, 6, 5, seed=1), drawn(3, 6, 5, seed=2)
    for shape, side in ((6, "left"), (5, "right")):
        for columns in (shape, 1):
            stack = torch.stack([factor(shape, columns, seed) for seed in range(3)])
            together = fitted(stack, a, b, 0.1, side)
            alone = torch.stack([fitted(*one, 0.1, side) for one in zip(stack, a, b)])
            assert torch.allclose(together, alone, rtol=1e-12)


def test_the_norm_of_a_step_is_bounded_from_below_within_a_factor_of_two():
    for seed in range(20):
        x = drawn(7, 4, seed=seed)
        x = x @ x.mT
        bound, exact = float(norm_bound(x)), float(torch.linalg.matrix_norm(x, 2))
        assert exact / 2 < bound <= exact * (1 + 1e-12)
    assert float(norm_bound(torch.zeros(3, 3))) == 0


def test_balancing_changes_no_product_by_a_bit():
    left, right, x = 1000 * factor(6, 6, 0), factor(5, 5, 1) / 7, drawn(6, 5)
    one, other = balanced(left, right), balanced(right, left)
    assert torch.equal(preconditioned(one, x, other), preconditioned(left, x, right))
    assert 0.4 < float(one.abs().max() / other.abs().max()) < 2.5


def test_what_the_factors_make_of_correlated_gradients_is_white():
    """Gradients S Z Tᵀ, whose covariances have condition numbers above 100, and behind the factors below 1.7."""
    turned = torch.linalg.qr(drawn(4, 4))[0]
    left, right = (
        turned @ torch.diag(torch.tensor([4, 2, 1, 0.3]).double()),
        torch.diag(torch.tensor([5, 1, 0.4]).double()),
    )
    parameter = nn.Parameter(torch.zeros(4, 3, dtype=torch.float64))
    spec = "psgd_kron(lr=0, beta2=0, fit_rate=linear(0.2, to=0.005, steps=700))"
    optimizer = edsl.compile(spec, [parameter], mode="eager")
    for step in range(700):
        parameter.grad = left @ drawn(4, 3, seed=step) @ right
        optimizer.step()
    seen = left @ drawn(4000, 4, 3) @ right
    state = optimizer.state[parameter]
    made = preconditioned(state["psgd_kron.left"], seen, state["psgd_kron.right"])
    for before, after in ((seen, made), (seen.mT, made.mT)):
        assert torch.linalg.cond((before @ before.mT).mean(0)) > 100
        assert torch.linalg.cond((after @ after.mT).mean(0)) < 1.7
    assert 0.8 < float(made.square().mean()) < 1.2


def test_fits_are_due_by_the_period_and_draw_their_noise_then_alone(monkeypatch):
    asked: list[int] = []
    draw = ParameterStep.normal
    monkeypatch.setattr(ParameterStep, "normal", lambda item, *what: asked.append(item.k) or draw(item, *what))
    parameter = nn.Parameter(drawn(4, 3))
    spec = "psgd_kron(every=2, flat=6, doubling=4, rarest=8)"
    optimizer = edsl.compile(spec, [parameter], mode="eager")
    factors = []
    for step in range(40):
        parameter.grad = drawn(4, 3, seed=step)
        optimizer.step()
        factors.append(optimizer.state[parameter]["psgd_kron.left"].clone())
    changed = [k for k in range(2, 41) if not torch.equal(factors[k - 1], factors[k - 2])]
    assert [1, *changed] == asked == [1, 3, 5, 7, 10, 16, 24, 32, 40]


def test_the_period_grows_from_the_first_to_the_rarest_and_never_shrinks():
    stage: Any = edsl.psgd_kron()
    due = [k for k in range(1, 20000) if stage.is_due(k)]
    gaps = [b - a for a, b in itertools.pairwise(due)]
    assert due[:500] == [*range(1, 501)]
    assert {*gaps[-100:]} == {33}
    assert all(b >= a - 1 for a, b in itertools.pairwise(gaps))  # those in between are rounded
    often: Any = edsl.psgd_kron(every=50)
    assert [k for k in range(1, 1000) if often.is_due(k)] == [*range(1, 1000, 50)]


@pytest.mark.parametrize("shape", [(), (1,), (5,), (1, 5), (5, 1), (1, 1), (4, 3), (2, 3, 3, 3)])
def test_every_shape_trains_and_stays_finite_whatever_the_gradient(shape):
    parameter = nn.Parameter(torch.ones(shape))
    optimizer = edsl.compile("psgd_kron(lr=0.01, beta2=0.5)", [parameter], mode="eager")
    for step, size in enumerate((1, 0, 0, 1e-30, 1e30, 1, 1e-12, 1e12, 0, 1)):
        for repeat in range(4):
            parameter.grad = (size * drawn(*shape, seed=4 * step + repeat)).float()
            optimizer.step()
    assert all(one.isfinite().all() for one in (parameter, *optimizer.state[parameter].values()))
    parameter.grad = torch.ones(shape)
    for _ in range(60):
        before = float(parameter.detach().sum())
        optimizer.step()
    assert float(parameter.detach().sum()) < before


def test_factors_of_zero_gradients_stop_growing():
    parameter = nn.Parameter(torch.ones(4, 3))
    optimizer = edsl.compile("psgd_kron(fit_rate=0.5)", [parameter], mode="eager")
    parameter.grad = torch.zeros(4, 3)
    for _ in range(200):
        optimizer.step()
    state = optimizer.state[parameter]
    assert 1e2 < float(state["psgd_kron.left"].abs().max()) < 3e2  # the preconditioner is about 1/ε₁
    assert torch.equal(parameter, torch.ones(4, 3))


def test_a_side_that_is_too_long_has_a_diagonal_factor():
    optimizer = edsl.compile("psgd_kron(largest=4)", nn.Linear(9, 4), mode="eager")
    (weight, bias), _ = optimizer.param_groups[0]["params"], None
    set_gradients((weight, bias), torch.ones_like)
    optimizer.step()
    shapes = {name: tuple(value.shape) for name, value in optimizer.state[weight].items() if "psgd_kron" in name}
    assert shapes == {"psgd_kron.m": (4, 9), "psgd_kron.left": (4, 4), "psgd_kron.right": (9, 1)}


def test_within_a_rule_it_fits_at_steps_of_its_own():
    text = "@update\ndef two(u, *, lr=0.1):\n    return psgd_kron(soap(u, every=4), lr=lr, every=3, rarest=3)\n\ntwo"
    stage: Any = edsl.parse(text).update
    assert [k for k in range(1, 14) if stage.is_due(k)] == [1, 4, 5, 7, 9, 10, 13]
    assert stage.rhythm == "every 4 steps and every 3 steps"
    parameter = nn.Parameter(drawn(4, 3))
    optimizer = edsl.compile(text, [parameter], mode="eager")
    seen = []
    for step in range(13):
        parameter.grad = drawn(4, 3, seed=step)
        optimizer.step()
        state = optimizer.state[parameter]
        seen.append((state["two.soap.left_basis"].clone(), state["two.psgd_kron.left"].clone()))
    changes = [[k for k in range(2, 14) if not torch.equal(seen[k - 1][i], seen[k - 2][i])] for i in range(2)]
    assert changes == [[5, 9, 13], [4, 7, 10, 13]]


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("psgd_kron(fit_rate=1)", "fit_rate must lie in"),
        ("psgd_kron(clipping=0)", "clipping must lie in"),
        ("psgd_kron(every=0)", "every"),
        ("psgd_kron(whiten='hessian')", "whiten must be 'momentum' or 'gradient'"),
        ("psgd_kron(largest=2.5)", "largest"),
    ],
)
def test_a_value_outside_its_domain_is_one_line(spec, said):
    with pytest.raises(edsl.EdslError, match=said) as raised:
        edsl.parse(spec)
    assert "\n" not in str(raised.value).split("\n    ")[0]
