"""Costly refreshes of shampoo and soap that are spread over steps."""

import copy
from itertools import pairwise

import pytest
import torch
from problem import gradients, parameters

import edsl
from edsl.step.plan import GroupPlan

COUNT, EVERY = 24, 6
SHAPES = [(5, 4)] * COUNT
FACTORS = {"shampoo": ("left_root", "right_root"), "soap": ("left_basis", "right_basis")}


def build(spec, params):
    return edsl.compile(spec, [(f"layers.{place}.weight", parameter) for place, parameter in enumerate(params)])


def step(optimizer, params, row):
    for parameter, gradient in zip(params, row, strict=True):
        parameter.grad = gradient
    optimizer.step()


def renewed(optimizer, params, row, kind):
    """The places of the parameters whose factors a step changes."""
    before = [copy.deepcopy(optimizer.state[parameter]) for parameter in params]
    step(optimizer, params, row)
    name = f"{kind}.{FACTORS[kind][0]}"
    return {
        place
        for place, (parameter, old) in enumerate(zip(params, before, strict=True))
        if not old or not torch.equal(old[name], optimizer.state[parameter][name])
    }


@pytest.mark.parametrize("kind", FACTORS)
def test_each_matrix_refreshes_at_its_first_step_and_then_once_in_a_period_at_a_step_of_its_own(kind):
    params = parameters(SHAPES, torch.float32)
    optimizer = build(f"{kind}(every={EVERY}, stagger=True)", params)
    found = [renewed(optimizer, params, row, kind) for row in gradients(1 + 2 * EVERY, SHAPES, torch.float32)]
    assert found[0] == set(range(COUNT))
    assert sum(map(len, found[1 : 1 + EVERY])) == COUNT == len(set().union(*found[1 : 1 + EVERY]))
    assert found[1 : 1 + EVERY] == found[1 + EVERY :]
    assert max(map(len, found[1:])) <= COUNT // 2


@pytest.mark.parametrize("kind", FACTORS)
def test_without_it_all_refresh_at_once(kind):
    params = parameters(SHAPES[:4], torch.float32)
    optimizer = build(f"{kind}(every={EVERY})", params)
    found = [len(renewed(optimizer, params, row, kind)) for row in gradients(1 + EVERY, SHAPES[:4], torch.float32)]
    assert found == [4, *[0] * (EVERY - 1), 4]


@pytest.mark.parametrize("kind", FACTORS)
def test_a_resumed_run_refreshes_at_the_same_steps_to_the_same_bits(kind):
    rows = gradients(11, SHAPES[:6], torch.float32)
    spec = f"{kind}(every={EVERY}, stagger=True)"
    whole, cut = parameters(SHAPES[:6], torch.float32), parameters(SHAPES[:6], torch.float32)
    optimizer, begun = build(spec, whole), build(spec, cut)
    for row in rows:
        step(optimizer, whole, row)
    for row in rows[:4]:
        step(begun, cut, row)
    resumed = build(spec, cut)
    resumed.load_state_dict(copy.deepcopy(begun.state_dict()))
    for row in rows[4:]:
        step(resumed, cut, row)
    for a, b in zip(whole, cut, strict=True):
        assert torch.equal(a, b)


def test_the_name_alone_tells_the_steps():
    pipeline = edsl.parse("soap(stagger=True, every=7)")
    (segment,) = GroupPlan(pipeline, False, dict(pipeline.hyperparameters)).segments
    for name in ("a", "layers.3.weight"):
        due = [k for k in range(1, 60) if segment.refreshes(k, name)]
        assert due[0] == 1
        assert due[1] <= 8
        assert {b - a for a, b in pairwise(due[1:])} == {7}
