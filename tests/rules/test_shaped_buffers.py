"""Buffers of a rule are as large as what is assigned to them: one number a layer, a row, a column, or an element."""

from __future__ import annotations

from typing import Any

import naive_updates as naive
import numpy as np
import pytest
import torch
from problem import as_numpy, gradients, parameters, walk, worst

import edsl
from edsl.costs.memory import memory
from edsl.numerics.newton_schulz import MINIMAX

SHAPES = [(4, 3), (5, 6)]
FACTORED = """
@update
def factored(u, *, lr=0.01, beta: decay = 0.9, eps=1e-30):
    squares = u * u + eps
    r = ema(r, row_mean(squares), beta)
    c = ema(c, column_mean(squares), beta)
    return -lr * u / sqrt(r * c / column_mean(r))

factored
"""
NORMUON = """
@update
def normuon(u, *, lr=0.02, momentum: decay = 0.95, beta2: decay = 0.95, eps=1e-10):
    m = ema(m, u, momentum)
    o = orthogonal(m, 5, "minimax", "working")
    v = ema(v, row_mean(o * o), beta2)
    return -lr * o / (sqrt(v) + eps)

normuon
"""
SCHEDULE_FREE = """
@update
def schedule_free(u, *, lr=0.1, beta: decay = 0.9):
    z = first(theta, z) - lr * u
    total = total + lr * lr
    share = lr * lr / total
    x = (1 - share) * first(theta, x) + share * z
    return beta * x + (1 - beta) * z - theta

schedule_free
"""


def naive_factored(begun: Any, rows: Any) -> Any:
    theta = [t.copy() for t in begun]
    r = [np.zeros((t.shape[0], 1)) for t in theta]
    c = [np.zeros((1, t.shape[1])) for t in theta]
    history = []
    for row in rows:
        for i, g in enumerate(row):
            r[i] = 0.9 * r[i] + 0.1 * (g**2 + 1e-30).mean(1, keepdims=True)
            c[i] = 0.9 * c[i] + 0.1 * (g**2 + 1e-30).mean(0, keepdims=True)
            theta[i] = theta[i] - 0.01 * g / np.sqrt(r[i] * c[i] / r[i].mean())
        history.append([t.copy() for t in theta])
    return history


def naive_normuon(begun: Any, rows: Any) -> Any:
    theta = [t.copy() for t in begun]
    m = [np.zeros_like(t) for t in theta]
    v = [np.zeros((t.shape[0], 1)) for t in theta]
    history = []
    for row in rows:
        for i, g in enumerate(row):
            m[i] = 0.95 * m[i] + 0.05 * g
            o = naive.newton_schulz(m[i], MINIMAX[:5])
            v[i] = 0.95 * v[i] + 0.05 * (o**2).mean(1, keepdims=True)
            theta[i] = theta[i] - 0.02 * o / (np.sqrt(v[i]) + 1e-10)
        history.append([t.copy() for t in theta])
    return history


def naive_schedule_free(begun: Any, rows: Any) -> Any:
    """Defazio et al. 2024, Algorithm 1: y is where gradients are taken."""
    y, z, x = ([t.copy() for t in begun] for _ in range(3))
    total, history = 0.0, []
    for row in rows:
        total += 0.1**2
        for i, g in enumerate(row):
            z[i] = z[i] - 0.1 * g
            x[i] = (1 - 0.1**2 / total) * x[i] + 0.1**2 / total * z[i]
            y[i] = 0.9 * x[i] + 0.1 * z[i]
        history.append([t.copy() for t in y])
    return history


CASES = {
    "factored": (FACTORED, naive_factored),
    "normuon": (NORMUON, naive_normuon),
    "schedule-free": (SCHEDULE_FREE, naive_schedule_free),
}
SLOW = [pytest.param(name, "compiled", marks=pytest.mark.slow) for name in ("factored", "normuon")]


@pytest.mark.parametrize(("name", "mode"), [*((name, "eager") for name in CASES), *SLOW, ("schedule-free", "compiled")])
def test_rule_with_shaped_buffers_is_the_naive_loop_within_1e_12(name, mode):
    spec, loop = CASES[name]
    params = parameters(SHAPES)
    begun, rows = [p.detach().numpy().copy() for p in params], gradients(20, SHAPES)
    optimizer: Any = edsl.compile(spec, params, mode=mode)
    assert worst(walk(optimizer, params, rows), loop(begun, as_numpy(rows))) <= 1e-12


def test_shapes_follow_from_what_is_assigned():
    params = parameters(SHAPES)
    optimizer: Any = edsl.compile(FACTORED, params, mode="eager")
    walk(optimizer, params, gradients(1, SHAPES))
    state = optimizer.state[params[1]]
    assert state["factored.r"].shape == (5, 1)
    assert state["factored.c"].shape == (1, 6)


def test_plan_counts_the_bytes_of_rows_and_columns():
    plan = memory(FACTORED, {"w": (100, 40)}, "float32", None)
    assert plan.state == 4 * (100 + 40)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("return row_mean(u)", "returns one number a row: expected a value for each element"),
        ("return -lr * norm(norm(u)) * u", "norm is over the elements of a layer, got one number a layer"),
        ("return product(u, u)", "the inner dimensions differ"),
        ("return u + transpose(u)", "don't go together"),
        ("return row_mean(row_mean(u)) * u", "row_mean is over the columns of a matrix, got one number a row"),
        ("return ratio(u, theta)", "ratio is of lengths"),
        ("c = c + k\n    return c * 2", "returns one number a layer"),
    ],
)
def test_shapes_that_do_not_go_together_are_refused_with_a_caret(body, said):
    with pytest.raises(edsl.EdslError) as caught:
        edsl.parse(f"@update\ndef a(u, *, lr=1):\n    {body}\na")
    assert said in str(caught.value)
    assert str(caught.value).endswith("^")


def test_products_of_a_matrix_with_itself_have_its_shape():
    rule = "@update\ndef a(u, *, lr=1):\n    return -lr * product(product(u, transpose(u)), u)\na"
    params = parameters([(4, 3)])
    begun = params[0].detach().clone()
    (row,) = gradients(1, [(4, 3)])
    optimizer: Any = edsl.compile(rule, params, mode="eager")
    walk(optimizer, params, [row])
    torch.testing.assert_close(params[0].detach(), begun - row[0] @ row[0].T @ row[0])


ROWS = """
@update
def a(u: vectors_as_rows, *, lr=0.1):
    v = ema(v, row_mean(u * u), 0.5)
    return -lr * u / sqrt(v)

a
"""


@pytest.mark.parametrize("shape", [(), (1,), (5,), (3, 4)])
@pytest.mark.parametrize("mode", ["eager", "compiled"])
def test_to_a_rule_that_says_so_a_vector_is_a_single_row(shape, mode):
    params = parameters([shape])
    begun = params[0].detach().clone()
    (row,) = gradients(1, [shape])
    optimizer: Any = edsl.compile(ROWS, params, mode=mode)
    walk(optimizer, params, [row])
    mean = row[0].square().mean(-1, keepdim=True) if shape else row[0].square()
    torch.testing.assert_close(params[0].detach(), begun - 0.1 * row[0] / (0.5 * mean).sqrt())
    assert optimizer.state[params[0]]["a.v"].shape == (shape[0] if len(shape) > 1 else 1, 1)


def test_what_a_rule_takes_a_vector_for_is_part_of_its_text():
    pipeline = edsl.parse(ROWS)
    assert "def a(u: vectors_as_rows, *, lr=0.1):" in str(pipeline)
    assert edsl.parse(str(pipeline)) == pipeline
    other = edsl.parse(ROWS.replace(": vectors_as_rows", ""))
    assert other != pipeline
    assert other.fingerprint != pipeline.fingerprint
    with pytest.raises(edsl.EdslError, match=r"a takes matrices .* write route\(matrix=a, other=adamw\)"):
        edsl.compile(other, parameters([(5,)]))


@pytest.mark.parametrize(
    ("signature", "body", "said"),
    [
        ("u: vectors_as_rows, *, lr=1", "return -lr * u", "asks about no row or column"),
        ("u: vectors_as_rows, *, lr=1", "return muon(u, lr=lr)", "muon takes matrices alone"),
        ("u: rows, *, lr=1", "return -lr * row_mean(u) * u", "what flows in has no annotation but vectors_as_rows"),
    ],
)
def test_a_rule_that_can_take_no_vector_as_a_row_is_refused_with_a_caret(signature, body, said):
    with pytest.raises(edsl.EdslError) as caught:
        edsl.parse(f"@update\ndef a({signature}):\n    {body}\na")
    assert said in str(caught.value)
    assert str(caught.value).endswith("^")


def test_stages_that_all_take_vectors_as_rows_do_so_within_a_rule():
    within = "@update\ndef both(u, *, lr=0.1):\n    return (adafactor(u, lr=lr) + adam_mini(u, lr=lr)) / 2\n\nboth"
    assert edsl.parse(within).update.takes_vectors
    assert not edsl.parse(within.replace("adafactor", "came")).update.takes_vectors
