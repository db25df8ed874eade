"""Clipping against torch's own functions."""

import pytest
import torch
from problem import gradients, parameters, walk, worst

import edsl


@pytest.mark.parametrize("mode", ["eager", "compiled"])
@pytest.mark.parametrize("bound", [0.1, 1e9])
def test_norm_equals_torchs_clip_grad_norm(bound, mode):
    params, twins = parameters(), parameters()
    history = walk(edsl.compile(f"grad | clip(norm={bound}) | sgd(lr=1)", params, mode=mode), params, gradients(3))
    sgd = torch.optim.SGD(twins, lr=1)
    expected = []
    for row in gradients(3):
        for p, g in zip(twins, row, strict=True):
            p.grad = g
        torch.nn.utils.clip_grad_norm_(twins, bound)
        sgd.step()
        expected.append([p.detach().clone() for p in twins])
    assert worst(history, expected) < 2e-6  # torch divides by norm + 1e-6


def test_value_equals_torchs_clamp():
    params = parameters()
    start = [p.detach().clone() for p in params]
    row = gradients(1)[0]
    walk(edsl.compile("grad | clip(value=0.05) | sgd(lr=1)", params, mode="eager"), params, [row])
    for p, q, g in zip(params, start, row, strict=True):
        torch.testing.assert_close(p.detach(), q - g.clamp(-0.05, 0.05))


@pytest.mark.parametrize("mode", ["eager", "compiled"])
def test_after_e_it_is_what_e_made_that_is_clipped(mode):
    params = parameters()
    start = [p.detach().clone() for p in params]
    spec = "grad | e(alpha=-50, beta1=0.99) | clip(norm=0.01) | sgd(lr=1)"
    after = walk(edsl.compile(spec, params, mode=mode), params, gradients(1))[0]
    moved = torch.cat([(a - b).flatten() for a, b in zip(after, start, strict=True)])
    torch.testing.assert_close(moved.norm(), torch.tensor(0.01, dtype=torch.float64))


def test_zero_gradients_pass_a_norm_bound():
    params = parameters()
    start = [p.detach().clone() for p in params]
    after = walk(
        edsl.compile("grad | clip(norm=1) | sgd", params, mode="eager"), params, [[torch.zeros_like(p) for p in params]]
    )
    assert worst(after, [start]) == 0
