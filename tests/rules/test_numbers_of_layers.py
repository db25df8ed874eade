"""One number a layer is state of one number: exact, of its own dtype, and in every mode."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from problem import as_numpy, gradients, parameters, walk, worst

import edsl
from edsl.costs.memory import memory

NADAM = """
@update
def nadam(u, *, lr=0.002, beta1: decay = 0.9, beta2: decay = 0.999, eps=1e-8, momentum_decay: nonnegative = 0.004):
    mu = beta1 * (1 - 0.5 * 0.96 ** (k * momentum_decay))
    ahead = beta1 * (1 - 0.5 * 0.96 ** ((k + 1) * momentum_decay))
    product = mu * first(1, product)
    m = ema(m, u, beta1)
    v = ema(v, u * u, beta2)
    root = sqrt(debias(v, beta2)) + eps
    return -lr * ((1 - mu) / (1 - product) * u + ahead / (1 - product * ahead) * m) / root

nadam
"""
GROWING = """
@update
def growing(u, *, lr=0.02, momentum: decay = 0.9):
    length = length + norm(u)
    m = ema(m, u, momentum)
    o = orthogonal(m, 5, "minimax", "working")
    share = share + norm(o) / length
    return -lr * o * share / (1 + length)

growing
"""
NESTED = NADAM.removesuffix("nadam\n") + (
    "@update\ndef outer(u, *, lr=0.1):\n    c = c + mean(abs(u))\n    return lr * nadam(u, lr=1.0) / (1 + c)\n\nouter"
)
SHAPES = [(4, 3), (7,), ()]


def naive_nadam(begun: Any, rows: Any) -> Any:
    """Dozat 2016, with torch's schedule of the momentum; torch itself keeps the product of it in float32."""
    theta, product, history = [t.copy() for t in begun], 1.0, []
    m, v = ([np.zeros_like(t) for t in begun] for _ in range(2))
    for k, row in enumerate(rows, start=1):
        mu, ahead = (0.9 * (1 - 0.5 * 0.96 ** (j * 0.004)) for j in (k, k + 1))
        product *= mu
        for i, g in enumerate(row):
            m[i], v[i] = 0.9 * m[i] + 0.1 * g, 0.999 * v[i] + 0.001 * g * g
            root = np.sqrt(v[i] / (1 - 0.999**k)) + 1e-8
            step = (1 - mu) / (1 - product) * g + ahead / (1 - product * ahead) * m[i]
            theta[i] = theta[i] - 0.002 * step / root
        history.append([t.copy() for t in theta])
    return history


@pytest.mark.parametrize("mode", ["eager", "compiled", pytest.param("inductor", marks=pytest.mark.slow)])
def test_nadam_is_the_naive_loop_within_1e_12_and_torchs_within_1e_9(mode):
    ours, theirs = parameters(SHAPES), parameters(SHAPES)
    begun, rows = [p.detach().numpy().copy() for p in ours], gradients(30, SHAPES)
    found = walk(edsl.compile(NADAM, ours, mode=mode), ours, rows)
    assert worst(found, naive_nadam(begun, as_numpy(rows))) <= 1e-12
    assert worst(found, walk(torch.optim.NAdam(theirs), theirs, rows)) <= 1e-9


@pytest.mark.parametrize(("spec", "path"), [(NADAM, "C++"), (NESTED, "C++"), (GROWING, "C++ and BLAS")])
def test_numbers_of_layers_step_natively_as_eagerly(spec, path):
    shapes = [(4, 3), (4, 3), (5, 2)]
    ends = []
    for mode in ("eager", "compiled"):
        params = parameters(shapes)
        optimizer: Any = edsl.compile(spec, params, mode=mode)
        ends.append(walk(optimizer, params, gradients(5, shapes)))
        states = [optimizer.state[p] for p in params]
        ends[-1].append([v for state in states for v in state.values() if v.shape == (1,)])
    assert worst(*ends) <= 1e-12
    assert len(ends[0][-1]) >= len(shapes)
    assert {one.taken for paths in optimizer.paths().values() for one in paths} == {path}


def test_plan_and_show_count_one_number_a_layer():
    assert memory(NADAM, {"w": (100, 40), "b": (40,)}).state == 2 * 4 * 4040 + 2 * 4
    assert memory(NADAM, {"w": (100, 40)}, "bfloat16", "bfloat16").state == 2 * 2 * 4000 + 4
    assert memory(GROWING, {"w": (100, 40)}).state == 4 * 4000 + 2 * 4


@pytest.mark.parametrize("mode", ["eager", "compiled"])
@pytest.mark.parametrize(("dtype", "state_dtype"), [(torch.float32, "bfloat16"), (torch.bfloat16, None)])
def test_numbers_of_layers_are_float32_at_least_after_loading_too(mode, dtype, state_dtype):
    shapes = [(4, 3), ()]
    ends = []
    for resumes in (False, True):
        params = parameters(shapes, dtype)
        optimizer: Any = edsl.compile(NADAM, params, mode=mode, state_dtype=state_dtype)
        walk(optimizer, params, gradients(2, shapes, dtype))
        if resumes:
            again: Any = edsl.compile(NADAM, params, mode=mode, state_dtype=state_dtype)
            again.load_state_dict(optimizer.state_dict())
            optimizer = again
        walk(optimizer, params, gradients(3, shapes, dtype)[2:])
        assert all(optimizer.state[p]["nadam.product"].dtype is torch.float32 for p in params)
        ends.append([*params, *(optimizer.state[p]["nadam.product"] for p in params)])
    assert all(torch.equal(a, b) for a, b in zip(*ends))


def test_parameters_that_are_several_matrices_have_a_number_for_each():
    text = GROWING.replace("growing\n", "route(matrix=direction(muon(split=('q', 'k', 'v'))) | growing, other=sgd)", 2)
    text = text.replace("def route(matrix=direction(muon(split=('q', 'k', 'v'))) | growing, other=sgd)", "def growing")
    fused, apart = parameters([(12, 4)]), [torch.nn.Parameter(t.clone()) for t in parameters([(12, 4)])[0].split(4)]
    rows = gradients(3, [(12, 4)])
    ours: Any = edsl.compile(text, fused)
    theirs: Any = edsl.compile(text.replace("split=('q', 'k', 'v')", ""), apart)
    walk(ours, fused, rows)
    walk(theirs, apart, [list(row[0].split(4)) for row in rows])
    torch.testing.assert_close(fused[0].detach(), torch.cat([p.detach() for p in apart]), rtol=0, atol=1e-12)
    state = ours.state[fused[0]]["growing.length"]
    assert state.shape == (3, 1)
    torch.testing.assert_close(state.view(-1), torch.cat([theirs.state[p]["growing.length"] for p in apart]))


def test_a_checkpoint_with_another_number_of_elements_is_refused_in_a_line():
    params = parameters(SHAPES)
    optimizer: Any = edsl.compile(NADAM, params, mode="eager")
    walk(optimizer, params, gradients(1, SHAPES))
    saved = optimizer.state_dict()
    saved["state"][0]["nadam.product"] = torch.zeros(4, 3)
    with pytest.raises(edsl.EdslError, match=r"nadam.product has shape \(4, 3\), expected \(1,\)"):
        optimizer.load_state_dict(saved)
