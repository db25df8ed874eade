"""weights(x) marks the buffer that evaluation_weights() gives, so that schedule-free is one rule."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from problem import as_numpy, gradients, parameters, walk, worst

import edsl

SCHEDULE_FREE = """
@update
def schedule_free(u, *, lr=0.1, beta1: decay = 0.9, beta2: decay = 0.99, eps=1e-8, weight_decay=0.1):
    v = ema(v, u * u, beta2)
    z = first(theta, z) - lr * (u / (sqrt(debias(v, beta2)) + eps) + weight_decay * theta)
    sums = sums + lr * lr
    share = lr * lr / sums
    x = weights((1 - share) * first(theta, x) + share * z)
    return beta1 * x + (1 - beta1) * z - theta

schedule_free
"""


def naive(begun: Any, rows: Any, rates: Any) -> Any:
    """Defazio et al. 2024, Algorithm 1, with Adam's preconditioner: y, where gradients are taken, and x."""
    y, z, x = ([t.copy() for t in begun] for _ in range(3))
    v, total, history = [np.zeros_like(t) for t in begun], 0.0, []
    for k, (row, lr) in enumerate(zip(rows, rates), start=1):
        total += lr**2
        for i, g in enumerate(row):
            v[i] = 0.99 * v[i] + 0.01 * g * g
            z[i] = z[i] - lr * (g / (np.sqrt(v[i] / (1 - 0.99**k)) + 1e-8) + 0.1 * y[i])
            x[i] = (1 - lr**2 / total) * x[i] + lr**2 / total * z[i]
            y[i] = 0.9 * x[i] + 0.1 * z[i]
        history.append([t.copy() for t in (*y, *x)])
    return history


def evaluated(optimizer: Any, params: Any) -> list[Any]:
    with optimizer.evaluation_weights():
        return [p.detach().clone() for p in params]


@pytest.mark.parametrize("mode", ["eager", "compiled"])
def test_schedule_free_is_the_papers_algorithm_in_training_and_evaluation(mode):
    params = parameters()
    begun, rows = [p.detach().numpy().copy() for p in params], gradients(20)
    rates = [0.1 * min(1, k / 5) for k in range(1, 21)]
    optimizer: Any = edsl.compile(SCHEDULE_FREE, params, mode=mode)
    found = []
    for row, lr in zip(rows, rates):
        optimizer.param_groups[0]["lr"] = lr
        trained = walk(optimizer, params, [row])[0]
        found.append([*trained, *evaluated(optimizer, params)])
        assert all(torch.equal(p, t) for p, t in zip(params, trained))
    assert worst(found, naive(begun, as_numpy(rows), rates)) <= 1e-12


def test_a_buffer_that_is_only_marked_is_kept():
    rule = (
        "@wrapper\ndef shadow(delta):\n    average = weights(theta + 2 * delta)\n    return delta\nsgd(lr=1) | shadow"
    )
    params = parameters()
    begun = [p.detach().clone() for p in params]
    optimizer: Any = edsl.compile(rule, params, mode="eager")
    (row,) = gradients(1)
    walk(optimizer, params, [row])
    assert worst([evaluated(optimizer, params)], [[b - 2 * g for b, g in zip(begun, row)]]) <= 1e-15
    assert edsl.parse(str(optimizer.pipeline)) == optimizer.pipeline
    assert "weights(theta + 2 * delta)" in str(optimizer.pipeline)


def test_evaluation_weights_resume_bit_for_bit():
    rows, params = gradients(6), parameters()
    one: Any = edsl.compile(SCHEDULE_FREE, params)
    walk(one, params, rows[:3])
    others = [torch.nn.Parameter(p.detach().clone()) for p in params]
    other: Any = edsl.compile(SCHEDULE_FREE, others)
    other.load_state_dict(one.state_dict())
    walk(one, params, rows[3:])
    walk(other, others, rows[3:])
    for a, b in zip([*params, *evaluated(one, params)], [*others, *evaluated(other, others)]):
        assert torch.equal(a, b)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("@update\ndef a(u, *, lr=1):\n    return -lr * weights(u)\na", "weights marks a buffer: assign it alone"),
        ("@update\ndef a(u, *, lr=1):\n    x = 2 * weights(u)\n    return x\na", "weights marks a buffer"),
        ("@update\ndef a(u, *, lr=1):\n    x = weights(norm(u))\n    return -lr * u\na", "a value for each element"),
        (
            "@update\ndef a(u, *, lr=1):\n    x = weights(u)\n    y = weights(theta)\n    return -lr * u\na",
            "a rule has one buffer of weights to evaluate with, got 2",
        ),
        ("@adaptor\ndef a(u):\n    x = weights(u)\n    return u\ngrad | a | sgd", "an adaptor makes no step"),
        (
            "@update\ndef b(u, *, lr=1):\n    x = weights(theta - u)\n    return -lr * u\n"
            "@update\ndef a(u, *, lr=1):\n    return b(u)\na",
            "b can't run within a rule: it is about the whole step",
        ),
        (SCHEDULE_FREE.replace("\nschedule_free\n", "\nschedule_free | caution\n"), "keeps averages of its own steps"),
    ],
)
def test_weights_that_can_not_be_are_refused_with_a_caret(text, said):
    with pytest.raises(edsl.EdslError) as caught:
        edsl.parse(text)
    assert said in str(caught.value)
    assert str(caught.value).endswith("^")
