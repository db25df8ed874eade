"""`grad_pair` gives the gradient, and its change between two weights on one batch."""

from __future__ import annotations

import pytest
import torch

import edsl

CURVATURE = torch.tensor([3.0, 1.0, 2.0], dtype=torch.float64)


def trained(spec: str, steps: int, mode: str = "eager") -> tuple[list[torch.Tensor], list[torch.Tensor], torch.Tensor]:
    """The weights before each step, each step's noise, and E's average at the end, on ½ θᵀ H θ + noise · θ."""
    torch.manual_seed(0)
    theta = torch.nn.Parameter(torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64))
    optimizer = edsl.compile(spec, [theta], mode=mode)
    weights, noises = [], []
    for _ in range(steps):
        noise = torch.randn(3, dtype=torch.float64)

        def closure(noise: torch.Tensor = noise) -> torch.Tensor:
            optimizer.zero_grad()
            loss = (theta * (0.5 * CURVATURE * theta + noise)).sum()
            loss.backward()
            return loss

        weights.append(theta.detach().clone())
        noises.append(noise)
        before = float(closure().detach())
        assert float(optimizer.step(closure).detach()) == before  # the loss at θ, of which nothing is left
    return [*weights, theta.detach().clone()], noises, optimizer.state[theta]["e.a"]


@pytest.mark.parametrize("mode", ["eager", "compiled"])
def test_the_difference_that_e_averages_is_that_of_the_weights_alone(mode):
    weights, noises, a = trained("grad_pair | e(alpha=-0.5, beta1=0.5, buffers=2) | sgd(lr=0.1)", 6, mode)
    expected = torch.zeros(3, dtype=torch.float64)
    for k, noise in enumerate(noises):
        now = CURVATURE * weights[k] + noise
        change = now if k == 0 else CURVATURE * (weights[k] - weights[k - 1])
        expected = 0.5 * expected + 0.5 * change
        assert torch.allclose(weights[k + 1], weights[k] - 0.1 * (now - 0.5 * expected), atol=1e-12)
    assert torch.allclose(a, expected, atol=1e-12)


@pytest.mark.parametrize("behind", ["adam", "e | adam", "clip(norm=1) | e(buffers=2) | adam", "lamb"])
def test_a_difference_that_nobody_reads_is_an_error(behind):
    with pytest.raises(edsl.EdslError, match="grad_pair estimates the difference of gradients: put what reads it"):
        edsl.parse(f"grad_pair | {behind}")


def test_a_rule_reads_the_difference():
    rule = "@adaptor\ndef own(u):\n    d = difference(u, past)\n    past = u\n    return u + d\n\n"
    assert edsl.parse(f"{rule}grad_pair | own | sgd").estimator.gives_difference
    assert edsl.parse("grad_pair | mars").estimator.gives_difference


def test_sparse_gradients_are_refused():
    table = torch.nn.Embedding(4, 2, sparse=True)
    optimizer = edsl.compile("grad_pair | e(buffers=2) | sgd", table.parameters(), mode="eager")

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = table(torch.tensor([1])).sum()
        loss.backward()
        return loss

    with pytest.raises(edsl.EdslError, match="grad_pair needs dense gradients"):
        optimizer.step(closure)
