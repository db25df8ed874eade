"""The contract, step: what a step reads, what it returns, and what it leaves as it was."""

import copy
import random
import weakref
from typing import ClassVar

import numpy as np
import pytest
import torch
from harness import (
    IGNORE_GRAD,
    NEED_A_CLOSURE,
    NEED_NONE,
    READ_GRAD,
    build,
    estimator,
    every_recipe,
    everything,
    rows_like,
    same,
    take,
    train,
)
from problem import bowl, parameters, worst
from torch import nn

import edsl
from edsl.lab.closure import closure_for


@every_recipe
def test_step_is_a_bound_method_of_the_class(recipe):
    _, optimizer = build(recipe)
    assert optimizer.step.__self__ is optimizer
    assert optimizer.step.__func__ is type(optimizer).step
    assert "step" not in vars(optimizer)


@every_recipe
def test_the_closure_runs_first_and_its_loss_is_returned(recipe):
    params, optimizer = build(recipe)
    before = [p.detach().clone() for p in params]
    row = rows_like(params, 1)[0]
    found = []

    def loss():
        found.append((torch.is_grad_enabled(), worst([[p.detach() for p in params]], [before])))
        return bowl(params, row)

    with torch.no_grad():
        returned = optimizer.step(closure_for(optimizer.pipeline, optimizer, loss))
        expected = bowl(before, row)
    enabled, moved = found[0]
    assert len(found) == optimizer.pipeline.estimator.forwards
    assert enabled == (estimator(recipe).backwards > 0)  # spsa alone wants no graph
    assert moved <= 1.01e-3  # by spsa's own sigma
    assert torch.is_grad_enabled()
    assert abs(returned - expected) <= 1e-5


@pytest.mark.parametrize("recipe", NEED_NONE)
def test_without_a_closure_a_step_returns_none(recipe):
    params, optimizer = build(recipe)
    for p in params:
        p.grad = torch.ones_like(p)
    assert optimizer.step() is None
    assert optimizer.step(closure=None) is None


@pytest.mark.parametrize("recipe", NEED_A_CLOSURE)
def test_without_the_closure_that_it_needs_a_step_is_one_clear_error(recipe):
    params, optimizer = build(recipe)
    for p in params:
        p.grad = torch.ones_like(p)
    before = everything(optimizer, params)
    with pytest.raises(edsl.EdslError, match="evaluates the loss itself: call step\\(closure\\)"):
        optimizer.step()
    assert same(everything(optimizer, params), before)


@pytest.mark.parametrize("recipe", [*READ_GRAD, "eadahessian"])
def test_a_parameter_without_a_gradient_keeps_value_state_and_step_count(recipe):
    params, optimizer = build(recipe)
    moving, resting = params[::2], params[1]
    row = rows_like(moving, 1)[0]
    before = resting.detach().clone()
    closure = closure_for(optimizer.pipeline, optimizer, lambda: bowl(moving, row))
    optimizer.step(closure)
    assert torch.equal(resting, before)
    assert resting not in optimizer.state
    take(optimizer, params)
    assert [int(optimizer.state[p]["step"]) for p in params] == [2, 1, 2]


@every_recipe
def test_a_frozen_parameter_rests_and_goes_on_with_a_step_count_of_its_own(recipe):
    params, optimizer = build(recipe)
    take(optimizer, params)
    params[1].requires_grad_(False)
    params[1].grad = None
    before = everything(optimizer, params)
    row = rows_like(params, 1)[0]
    optimizer.step(closure_for(optimizer.pipeline, optimizer, lambda: bowl(params, row)))
    after = everything(optimizer, params)
    assert same(after[0][1], before[0][1])
    assert not same(after[0][0], before[0][0])
    params[1].requires_grad_(True)
    take(optimizer, params)
    assert [int(optimizer.state[p]["step"]) for p in params] == [3, 2, 3]


@pytest.mark.parametrize("recipe", NEED_NONE)
def test_a_parameter_that_the_closure_unfreezes_takes_part_in_that_step(recipe):
    params, optimizer = build(recipe)
    params[1].requires_grad_(False)
    row = rows_like(params, 1)[0]

    def loss():
        params[1].requires_grad_(True)
        return bowl(params, row)

    optimizer.step(closure_for(optimizer.pipeline, optimizer, loss))
    assert int(optimizer.state[params[1]]["step"]) == 1


@every_recipe
def test_parameters_added_midway_start_a_count_of_their_own(recipe):
    params, optimizer = build(recipe)
    take(optimizer, params)
    later = parameters(seed=5)
    optimizer.add_param_group({"params": later, "lr": 0.01})
    take(optimizer, params + later)
    assert [int(optimizer.state[p]["step"]) for p in params + later] == [2, 2, 2, 1, 1, 1]
    assert any((p != q).any() for p, q in zip(later, parameters(seed=5), strict=True))


@pytest.mark.parametrize("maximize", [False, True])
@pytest.mark.parametrize("recipe", NEED_NONE)
def test_gradients_are_neither_changed_nor_replaced(recipe, maximize):
    params, optimizer = build(recipe, maximize=maximize)
    row = rows_like(params, 1)[0]
    for p, g in zip(params, row, strict=True):
        p.grad = g
    values, versions = [g.clone() for g in row], [g._version for g in row]
    optimizer.step()
    assert all(p.grad is g for p, g in zip(params, row, strict=True))
    assert same(row, values)
    assert [g._version for g in row] == versions


def test_gradients_of_the_closures_last_run_are_left_by_sam():
    params, optimizer = build("esam_sgd")
    left = []

    def closure():
        optimizer.zero_grad()
        loss = bowl(params, rows_like(params, 1)[0])
        loss.backward()
        left[:] = [(p.grad, p.grad.clone()) for p in params]
        return loss

    optimizer.step(closure)
    assert all(p.grad is g and torch.equal(g, value) for p, (g, value) in zip(params, left, strict=True))


@pytest.mark.parametrize("recipe", IGNORE_GRAD)
def test_gradients_are_not_touched_by_an_estimator_that_has_no_use_for_them(recipe):
    params, optimizer = build(recipe)
    row = rows_like(params, 1, seed=9)[0]
    for p, g in zip(params, row, strict=True):
        p.grad = g
    values = [g.clone() for g in row]
    take(optimizer, params)
    assert all(p.grad is g for p, g in zip(params, row, strict=True))
    assert same(row, values)


@every_recipe
def test_parameters_stay_the_same_leaves_in_the_same_storage_with_a_new_version(recipe):
    params, optimizer = build(recipe)
    before = [(p.data_ptr(), p.untyped_storage().data_ptr(), p.stride()) for p in params]
    versions = [p._version for p in params]
    take(optimizer, params, 2)
    assert [(p.data_ptr(), p.untyped_storage().data_ptr(), p.stride()) for p in params] == before
    assert all(p.is_leaf and p.requires_grad and p.grad_fn is None for p in params)
    assert all(p._version > version for p, version in zip(params, versions, strict=True))


@every_recipe
def test_a_graph_that_needs_the_old_parameters_refuses_after_the_step(recipe):
    params, optimizer = build(recipe)
    loss = sum((p**3).sum() for p in params)
    take(optimizer, params)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


class Traced(torch.autograd.Function):
    """The identity, whose node in the graph can be seen to die."""

    nodes: ClassVar[list] = []

    @staticmethod
    def forward(ctx, x):
        Traced.nodes.append(weakref.ref(ctx))
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return gradient.clone()


@every_recipe
def test_no_graph_is_kept(recipe):
    Traced.nodes.clear()
    params, optimizer = build(recipe)
    row = rows_like(params, 1)[0]
    optimizer.step(closure_for(optimizer.pipeline, optimizer, lambda: Traced.apply(bowl(params, row))))
    assert not any(value.requires_grad for state in optimizer.state.values() for value in state.values())
    assert Traced.nodes
    assert all(node() is None for node in Traced.nodes)


@pytest.mark.parametrize("recipe", NEED_NONE)
def test_gradients_with_a_graph_of_their_own_step_like_plain_ones(recipe):
    params, optimizer = build(recipe)
    expected = take(optimizer, params)
    params, optimizer = build(recipe)
    for p, g in zip(params, rows_like(params, 1)[0], strict=True):
        p.grad = g.requires_grad_() * 1
    optimizer.step()
    assert worst([[p.detach() for p in params]], expected) == 0
    assert not any(value.requires_grad for state in optimizer.state.values() for value in state.values())


@every_recipe
def test_the_global_generators_are_left_alone(recipe):
    params, optimizer = build(recipe)
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()
    take(optimizer, params, 3)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]
    assert (np.random.get_state()[1] == before[2]).all()


@every_recipe
def test_the_same_seed_gives_the_same_bits_twice(recipe):
    runs = []
    for noise in (0, 17):
        torch.manual_seed(noise)
        params, optimizer = build(recipe)
        take(optimizer, params, 6)
        runs.append(everything(optimizer, params))
    assert same(*runs)


@every_recipe
@pytest.mark.parametrize("set_to_none", [True, False])
def test_zero_grad_clears_gradients_as_torch_does(set_to_none, recipe):
    params, optimizer = build(recipe)
    for p in params:
        p.grad = torch.ones_like(p)
    kept = [p.grad for p in params]
    optimizer.zero_grad(set_to_none=set_to_none)
    if set_to_none:
        assert all(p.grad is None for p in params)
    else:
        assert all(p.grad is g and not g.any() for p, g in zip(params, kept, strict=True))
    take(optimizer, params)


@every_recipe
def test_maximize_climbs_where_minimizing_the_negative_descends(recipe):
    def run(sign, maximize):
        params, optimizer = build(recipe, maximize=maximize)
        for row in rows_like(params, 3):
            loss = closure_for(optimizer.pipeline, optimizer, lambda row=row: sign * bowl(params, row))
            optimizer.step(loss)
        return [p.detach().clone() for p in params]

    assert worst([run(1, True)], [run(-1, False)]) <= 1e-13


@pytest.mark.parametrize("recipe", [*NEED_NONE, "eadahessian"])
def test_maximize_of_one_group_turns_that_group_alone(recipe):
    def run(groups, rows):
        params = [p for group in groups for p in group["params"]]
        _, optimizer = build(recipe, groups)
        for row in rows:
            optimizer.step(closure_for(optimizer.pipeline, optimizer, lambda row=row: bowl(params, row)))
        return [p.detach() for p in params]

    up, down = {"params": parameters(), "maximize": True}, {"params": parameters(seed=5)}
    rows = rows_like(up["params"] + down["params"], 2)
    together = run(copy.deepcopy([up, down]), rows)
    apart = run([up], [row[:3] for row in rows]) + run([down], [row[3:] for row in rows])
    assert worst([together], [apart]) <= 1e-13


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(6, 4)
        self.head = nn.Linear(4, 6, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, tokens):
        return self.head(self.embed(tokens))


@every_recipe
def test_a_tied_weight_is_one_parameter(recipe):
    model = Tied().double()
    _, optimizer = build(recipe, model)
    before = model.head.weight.detach().clone()
    train(optimizer, model, lambda model: model(torch.arange(6)).square().mean(), 2)
    assert model.head.weight is model.embed.weight
    assert (model.head.weight != before).any()
    assert [int(state["step"]) for state in optimizer.state.values()] == [2]


@pytest.mark.parametrize("recipe", READ_GRAD)
def test_a_sparse_gradient_is_an_error_that_names_the_parameter_and_moves_nothing(recipe):
    model = nn.ModuleDict({"plain": nn.Linear(2, 2), "table": nn.Embedding(5, 2, sparse=True)})
    _, optimizer = build(recipe, model)
    before = everything(optimizer, list(model.parameters()))
    with pytest.raises(edsl.EdslError, match="sparse"):
        train(optimizer, model, lambda m: m["plain"](m["table"](torch.tensor([1]))).sum())
    assert same(everything(optimizer, list(model.parameters()))[0], before[0])
