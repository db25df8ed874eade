"""`hutchinson`: the gradient of backprop, and the Hessian's diagonal."""

import pytest
import torch

import edsl
from edsl.step.oracle import Oracle, ParameterSlot

DENSE = torch.tensor([[4.0, 1.0, -0.5], [1.0, 3.0, 0.8], [-0.5, 0.8, 2.0]], dtype=torch.float64)


def look(estimator, theta, loss, k=1):
    slot = ParameterSlot(theta, "0.0", 0, k, k > 1, lambda slot: None)
    estimator.evaluate(Oracle([slot], k, 0, loss, estimator))
    return slot


def test_rademacher_is_exact_on_a_diagonal_hessian_and_the_gradient_is_backprops():
    theta = torch.nn.Parameter(torch.tensor([0.3, -1.0, 2.0], dtype=torch.float64))
    slot = look(edsl.hutchinson(), theta, lambda: theta.cosh().sum())
    assert torch.allclose(slot.hessian, theta.cosh().detach(), rtol=1e-14)
    assert torch.allclose(slot.gradient, theta.sinh().detach(), rtol=1e-14)
    assert theta.grad is None, "p.grad is the user's"


@pytest.mark.parametrize("distribution", ["rademacher", "gaussian"])
def test_estimate_of_a_dense_hessian_is_its_diagonal_within_3_standard_errors(distribution):
    theta = torch.nn.Parameter(torch.ones(3, dtype=torch.float64))
    estimator = edsl.hutchinson(distribution=distribution)
    draws = torch.stack([look(estimator, theta, lambda: theta @ DENSE @ theta / 2, k).hessian for k in range(1, 4001)])
    error = draws.std(dim=0) / 4000**0.5
    assert ((draws.mean(dim=0) - DENSE.diagonal()).abs() <= 3 * error).all()
    row = DENSE.square().sum(dim=1)
    variance = row + (-1 if distribution == "rademacher" else 1) * DENSE.diagonal().square()
    assert torch.allclose(draws.var(dim=0), variance, rtol=0.15), "the noise is not what `noise` says"


def test_samples_are_averaged():
    theta = torch.nn.Parameter(torch.ones(3, dtype=torch.float64))
    slot = look(edsl.hutchinson(samples=3000), theta, lambda: theta @ DENSE @ theta / 2)
    assert torch.allclose(slot.hessian, DENSE.diagonal(), atol=0.1)


def test_it_looks_at_step_1_and_every_n_steps():
    theta = torch.nn.Parameter(torch.ones(3, dtype=torch.float64))
    estimator = edsl.hutchinson(every=3)
    looks = [look(estimator, theta, lambda: theta.cosh().sum(), k).hessian is not None for k in range(1, 8)]
    assert looks == [True, False, False, True, False, False, True]
    assert [estimator.looks(k) for k in range(1, 8)] == [1, 1, 1, 2, 2, 2, 3]


def test_spatial_averages_the_size_over_a_kernels_positions():
    kernel = torch.nn.Parameter(torch.linspace(-1, 1, 16, dtype=torch.float64).view(2, 2, 2, 2))
    slot = look(edsl.hutchinson(spatial=True), kernel, lambda: kernel.cosh().sum())
    expected = kernel.detach().cosh().mean(dim=(2, 3), keepdim=True).expand(2, 2, 2, 2)
    assert torch.allclose(slot.hessian, expected)


def test_parameters_that_the_loss_does_not_use_or_is_linear_in_are_no_error():
    used, linear, unused = (torch.nn.Parameter(torch.ones(2)) for _ in range(3))
    optimizer = edsl.compile("adahessian(lr=0.1)", [used, linear, unused], mode="eager")
    for _ in range(2):
        optimizer.step(lambda: used.square().sum() + linear.sum())
    assert torch.equal(unused, torch.ones(2))
    assert used[0] < 1
    assert linear[0] < 1


def test_a_wholly_linear_loss_has_a_zero_hessian():
    theta = torch.nn.Parameter(torch.ones(2))
    assert torch.equal(look(edsl.hutchinson(), theta, lambda: theta.sum()).hessian, torch.zeros(2))


def test_a_parameter_that_joins_between_two_looks_gets_a_look_of_its_own():
    def train(joins_at):
        first, late = (torch.nn.Parameter(torch.linspace(0.5, 1, 3, dtype=torch.float64)) for _ in range(2))
        late.requires_grad_(joins_at == 1)
        optimizer = edsl.compile("hutchinson(every=4) | adahessian(lr=0.01)", [first, late], mode="eager")
        moves = []
        for k in range(1, joins_at + 6):
            late.requires_grad_(k >= joins_at)
            before = late.detach().clone()
            optimizer.step(lambda: first.cosh().sum() + late.cosh().sum())
            moves.append((late - before).detach())
        return moves[joins_at - 1 :]

    for own, joined in zip(train(1), train(3), strict=True):
        assert torch.allclose(own, joined, rtol=1e-12)


@pytest.mark.parametrize("whole", [False, True])
def test_a_compiled_model_is_refused_in_one_line_and_does_as_it_was_before(whole):
    torch._dynamo.reset()
    model = torch.nn.Linear(4, 4)
    x = torch.ones(3, 4)
    compiled = torch.compile(model, backend="aot_eager")
    optimizer = edsl.compile("hutchinson | adahessian", compiled, mode="eager")

    def loss(module=compiled):
        return module(x).tanh().square().mean()

    with pytest.raises(edsl.EdslError, match=r"^hutchinson differentiates twice, which .* torch.compile: .*_orig_mod"):
        optimizer.step(torch.compile(lambda: loss(model), backend="aot_eager") if whole else loss)
    optimizer.step(lambda: loss(compiled._orig_mod))
    assert optimizer.state[model.weight]["adahessian.v"].any()


def test_a_loss_that_is_linear_in_the_parameters_has_no_curvature():
    theta = torch.nn.Parameter(torch.ones(3))
    assert not look(edsl.hutchinson(), theta, lambda: theta.sum()).hessian.any()
