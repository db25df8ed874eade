"""`repel` gives E −∇‖∇f‖² in the place of the gradient's change."""

from __future__ import annotations

import pytest
import torch

import edsl


@pytest.mark.parametrize("mode", ["eager", "compiled"])
def test_what_e_averages_is_minus_the_gradient_of_the_squared_norm_of_the_gradient(mode):
    torch.manual_seed(0)
    theta = torch.nn.Parameter(torch.randn(4, 2, dtype=torch.float64))
    idle = torch.nn.Parameter(torch.ones(3, dtype=torch.float64))  # of which the loss is linear
    apart = torch.nn.Parameter(torch.ones(3, dtype=torch.float64))  # which the loss does not hold
    spec = "repel | e(alpha=-0.1, beta1=0.5, buffers=2) | sgd(lr=0.005)"
    optimizer = edsl.compile(spec, [idle, theta, apart], mode=mode)
    expected = torch.zeros_like(theta)
    for _ in range(5):
        here = theta.detach().clone().requires_grad_()
        (g,) = torch.autograd.grad((here.square().sum() ** 2 + here.sin().sum()), here, create_graph=True)
        (steepness,) = torch.autograd.grad(g.square().sum(), here)
        expected = 0.5 * expected + 0.5 * -steepness
        wanted = here.detach() - 0.005 * (g.detach() - 0.1 * expected)
        optimizer.step(lambda: theta.square().sum() ** 2 + theta.sin().sum() + idle.sum())
        assert torch.allclose(optimizer.state[theta]["e.a"], expected, atol=1e-12)
        assert torch.allclose(theta, wanted, atol=1e-12)
    assert torch.allclose(idle, torch.full_like(idle, 1 - 5 * 0.005))
    assert torch.equal(apart, torch.ones_like(apart))


def test_what_nobody_reads_is_an_error():
    with pytest.raises(
        edsl.EdslError, match="repel estimates the difference of gradients: put what reads it behind it"
    ):
        edsl.parse("repel | adam")
