"""Rules that run stages: against naive loops, eager and compiled; their state, refreshes and hidden numbers."""
# ruff: noqa: E501 (rules in a line)

from __future__ import annotations

import copy
import pickle
from typing import Any

import naive_updates as naive
import numpy as np
import pytest
import torch
from problem import as_numpy, gradients, parameters, walk, worst

import edsl
from edsl.numerics.newton_schulz import MINIMAX

SHAPES = [(4, 4), (3, 3)]
RULES = """
@update
def soap_then_muon(u, *, lr=0.02, momentum: decay = 0.95, every: whole = 5):
    return muon(direction(soap(u, every=every)), lr=lr, momentum=momentum)

@update
def grafted(u, *, lr=0.001):
    d, length = direction(shampoo(u, grafting="none", every=5)), direction(adam(u))
    return -lr * ratio(norm(length), norm(d)) * d

@wrapper
def hyperball(delta):
    moved = theta + delta
    return ratio(norm(theta), norm(moved)) * moved - theta

"""


def steps_of(history: Any, start: Any) -> list[list[Any]]:
    """Δθ of each step."""
    before = start
    found = []
    for row in history:
        found.append([now - then for now, then in zip(row, before)])
        before = row
    return found


def directions(update: Any, rows: Any, **options: Any) -> list[list[Any]]:
    """−Δθ at lr 1 of a naive update, from 0."""
    zeros = [np.zeros(shape) for shape in SHAPES]
    made = steps_of(update(zeros, rows, lr=1.0, **options), zeros)
    return [[-step for step in row] for row in made]


def naive_adam(zeros: Any, rows: Any, lr: float) -> Any:
    m = [np.zeros_like(zero) for zero in zeros]
    v = [np.zeros_like(zero) for zero in zeros]
    theta = [zero.copy() for zero in zeros]
    history = []
    for k, row in enumerate(rows, start=1):
        for i, g in enumerate(row):
            m[i] = 0.9 * m[i] + 0.1 * g
            v[i] = 0.999 * v[i] + 0.001 * g**2
            theta[i] = theta[i] - lr * (m[i] / (1 - 0.9**k)) / (np.sqrt(v[i] / (1 - 0.999**k)) + 1e-8)
        history.append([t.copy() for t in theta])
    return history


def naive_soap_then_muon(begun: Any, rows: Any) -> Any:
    found = directions(naive.soap, rows, every=5)[1:]  # its first step sets the bases and is 0, and so is muon's
    return [begun, *naive.muon(begun, found, quintics=MINIMAX[:5], lr=0.02)]


def naive_grafted(begun: Any, rows: Any) -> Any:
    d = directions(naive.shampoo, rows, grafting="none", every=5)
    length = directions(naive_adam, rows)
    theta, history = [t.copy() for t in begun], []
    for one, other in zip(d, length):
        for i in range(len(theta)):
            theta[i] = theta[i] - 0.01 * np.linalg.norm(other[i]) / np.linalg.norm(one[i]) * one[i]
        history.append([t.copy() for t in theta])
    return history


def naive_hyperball(begun: Any, rows: Any) -> Any:
    theta, history = [t.copy() for t in begun], []
    for row in rows:
        for i, g in enumerate(row):
            moved = theta[i] - 0.1 * g
            theta[i] = moved * np.linalg.norm(theta[i]) / np.linalg.norm(moved)
        history.append([t.copy() for t in theta])
    return history


CASES = {
    "soap_then_muon": (f"{RULES}soap_then_muon(lr=0.02)", naive_soap_then_muon),
    "direction | muon": ("grad | direction(soap(every=5)) | muon(lr=0.02)", naive_soap_then_muon),
    "grafted": (f"{RULES}grafted(lr=0.01)", naive_grafted),
    "hyperball": (f"{RULES}sgd(lr=0.1) | hyperball", naive_hyperball),
}


def trajectory(spec: Any, mode: str, steps: int = 23) -> tuple[Any, Any, Any]:
    params = parameters(SHAPES)
    begun = [p.detach().numpy().copy() for p in params]
    rows = gradients(steps, SHAPES)
    optimizer: Any = edsl.compile(spec, params, mode=mode)
    return begun, as_numpy(rows), walk(optimizer, params, rows)


@pytest.mark.parametrize("name", CASES)
def test_rule_that_runs_stages_is_the_naive_loop_within_1e_12(name):
    spec, loop = CASES[name]
    begun, rows, history = trajectory(spec, "eager")
    assert worst(history, loop(begun, rows)) <= 1e-12


SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in ("soap_then_muon", "grafted")]


@pytest.mark.parametrize("name", [*SLOW, "hyperball"])
def test_compiled_rule_that_runs_stages_is_the_naive_loop_within_1e_12(name):
    spec, loop = CASES[name]
    begun, rows, history = trajectory(spec, "compiled")
    assert worst(history, loop(begun, rows)) <= 1e-12


def test_direction_in_a_pipeline_equals_the_composition_in_one_rule_bit_for_bit():
    _, _, ours = trajectory(CASES["direction | muon"][0], "eager")
    _, _, theirs = trajectory(CASES["soap_then_muon"][0], "eager")
    assert worst(ours, theirs) == 0


def test_stage_within_has_the_bits_of_the_stage_alone():
    wrapped = {
        "adamw": "@update\ndef own(u, *, lr=0.01, decay=0.1):\n    return adamw(u, lr=lr, weight_decay=decay)\nown",
        "lion": "@update\ndef own(u, *, lr=0.01):\n    return caution(lion(u, lr=lr))\nown",
        "e": "@adaptor\ndef own(u, *, alpha=-3.0):\n    return e(u, alpha=alpha)\ngrad | own | lamb",
    }
    alone = {
        "adamw": "adamw(lr=0.01, weight_decay=0.1)",
        "lion": "lion(lr=0.01) | caution",
        "e": "grad | e(alpha=-3) | lamb",
    }
    for name, spec in wrapped.items():
        assert worst(trajectory(spec, "eager")[2], trajectory(alone[name], "eager")[2]) == 0, name


def test_wrapper_within_reads_the_rate_of_its_rule():
    rule = "@update\ndef own(u, *, lr=0.1):\n    return decay(sgd(u, lr=1), rate=0.5)\nown(lr=0.2) | decay(rate=0.25)"
    params = [torch.nn.Parameter(torch.ones(2, dtype=torch.float64))]
    params[0].grad = torch.zeros(2, dtype=torch.float64)
    optimizer: Any = edsl.compile(rule, params, mode="eager")
    optimizer.step()
    assert params[0].detach().tolist() == pytest.approx([1 - 0.2 * 0.5 - 0.2 * 0.25] * 2, abs=1e-15)


def test_each_stage_within_refreshes_at_its_own_period():
    rule = "@update\ndef own(u, *, lr=0.02):\n    return muon(direction(soap(direction(shampoo(u, every=4)), every=6)), lr=lr)\n"
    pipeline = "grad | direction(shampoo(every=4)) | direction(soap(every=6)) | muon(lr=0.02)"
    (stage,) = edsl.parse(f"{rule}own").stages[1:]
    assert stage.refresh_every == 2
    assert worst(trajectory(f"{rule}own", "eager")[2], trajectory(pipeline, "eager")[2]) <= 1e-13


def test_second_stage_of_a_name_has_a_state_of_its_own():
    rule = "@update\ndef own(u, *, lr=0.1):\n    return -lr * (direction(adam(u)) + direction(adam(u, beta2=0.5)))\nown"
    params = parameters(SHAPES)
    optimizer: Any = edsl.compile(rule, params, mode="eager")
    walk(optimizer, params, gradients(3, SHAPES))
    state = optimizer.state[params[0]]
    assert set(state) == {"step", "own.adam.m", "own.adam.v", "own.adam_2.m", "own.adam_2.v"}
    assert not torch.equal(state["own.adam.m"], state["own.adam_2.m"])


def test_numbers_of_stages_within_follow_a_schedule_and_compile_nothing():
    rule = (
        "@update\ndef own(u, *, lr=0.1, momentum: decay = 0.9):\n    return sgd(u, lr=lr, momentum=momentum / 2)\nown"
    )
    params, others = parameters(SHAPES), parameters(SHAPES)
    ours: Any = edsl.compile(rule, params)
    theirs: Any = edsl.compile("sgd(lr=0.1, momentum=0.45)", others)
    for k, row in enumerate(gradients(6, SHAPES)):
        ours.param_groups[0].update(lr=0.1 / (k + 1), momentum=0.9 - 0.1 * k)
        theirs.param_groups[0].update(lr=0.1 / (k + 1), momentum=(0.9 - 0.1 * k) / 2)
        assert worst(walk(ours, params, [row]), walk(theirs, others, [row])) == 0
    assert ours.compiled_graphs == 1


def test_stage_within_checks_the_numbers_that_it_is_given():
    rule = "@adaptor\ndef own(u, *, alpha=-5.0):\n    return e(u, alpha=alpha * 2)\n"
    with pytest.raises(edsl.EdslError, match=r"own: e: \|alpha\| must be less than"):
        edsl.parse(f"{rule}grad | own(alpha=-70) | sgd")
    optimizer: Any = edsl.compile(f"{rule}grad | own | sgd", parameters(SHAPES), mode="eager")
    optimizer.param_groups[0]["alpha"] = -80.0
    with pytest.raises(edsl.EdslError, match=r"\|alpha\| must be less than"):
        walk(optimizer, optimizer.param_groups[0]["params"], gradients(1, SHAPES))


def test_spared_parameters_are_spared_by_stages_within():
    rule = "@update\ndef own(u, *, lr=0.1):\n    return lamb(u, lr=lr, weight_decay=0.5)\n"
    histories = []
    for spec in (f"{rule}own", "lamb(lr=0.1, weight_decay=0.5)"):
        torch.manual_seed(0)
        model = torch.nn.Linear(4, 3).double()
        optimizer: Any = edsl.compile(spec, model)
        model(torch.ones(2, 4).double()).square().sum().backward()
        optimizer.step()
        histories.append([model.weight.detach(), model.bias.detach()])
    for ours, theirs in zip(*histories):
        assert torch.equal(ours, theirs)


def test_state_resumes_bit_for_bit_and_pipelines_travel():
    spec = CASES["soap_then_muon"][0]
    rows = gradients(14, SHAPES)
    params, later = parameters(SHAPES), parameters(SHAPES)
    optimizer: Any = edsl.compile(spec, params, mode="eager")
    expected = walk(optimizer, params, rows)
    first: Any = edsl.compile(spec, later, mode="eager")
    walk(first, later, rows[:6])
    resumed: Any = edsl.compile(spec, later, mode="eager")
    resumed.load_state_dict(copy.deepcopy(first.state_dict()))
    assert worst(walk(resumed, later, rows[6:]), expected[6:]) == 0
    for copied in (copy.deepcopy(optimizer.pipeline), pickle.loads(pickle.dumps(optimizer.pipeline))):
        assert copied == optimizer.pipeline
        assert type(copied.update) is type(optimizer.pipeline.update)


MATRICES = {
    "muon": """
@update
def muon(u, *, lr=0.02, momentum: decay = 0.95, weight_decay=0.0, steps: whole = 5):
    m = ema(m, u, momentum)
    d = (1 - momentum) * u + momentum * m
    o = sqrt(maximum(rows / columns, 1)) * orthogonal(d, steps, "minimax", "working")
    return -lr * (o + weight_decay * theta)

""",
    "soap": "@update\ndef whitened(u, *, lr=0.003, every: whole = 5):\n    return soap(u, lr=lr, every=every)\n\n",
}


@pytest.mark.parametrize(
    ("name", "own", "ruled"),
    [
        ("muon", "muon(lr=0.02, weight_decay=0.1)", "muon(lr=0.02, weight_decay=0.1)"),
        ("soap", "soap(lr=0.01, every=5)", "whitened(lr=0.01)"),
    ],
)
def test_updates_of_matrices_written_as_rules_are_the_classes_within_1e_12(name, own, ruled):
    _, _, expected = trajectory(own, "eager")
    _, _, found = trajectory(f"{MATRICES[name]}{ruled}", "eager")
    assert worst(found, expected) <= 1e-12


SCHEDULED = """
@update
def inner(u, *, lr=0.1):
    return sgd(u, lr=lr)

@update
def outer(u, *, lr=0.1):
    return inner(u, lr=2 * lr) / 2

"""


@pytest.mark.parametrize("mode", ["eager", "compiled"])
def test_stage_within_follows_the_schedule_of_the_rule(mode):
    parameter = torch.nn.Parameter(torch.zeros(3, dtype=torch.float64))
    optimizer = edsl.compile(f"{SCHEDULED}outer(lr=linear(1, to=0))", [parameter], mode=mode, total_steps=4)
    passed = []
    for _ in range(5):
        before = parameter.detach().clone()
        parameter.grad = torch.ones(3, dtype=torch.float64)
        optimizer.step()
        passed.append(float((before - parameter.detach())[0]))
    assert passed == pytest.approx([0.75, 0.5, 0.25, 0, 0], abs=1e-12)


def test_stage_within_checks_a_schedule_at_its_knots():
    rule = "@update\ndef own(u, *, lr=0.1, b: number = 0.25):\n    return sgd(u, lr=lr, momentum={})\n\nown(b=linear(0.25, to=0.9))"
    assert edsl.parse(rule.format("b"))
    with pytest.raises(edsl.EdslError, match=r"momentum must lie in \[0, 1\), got 1.8"):
        edsl.parse(rule.format("2 * b"))
