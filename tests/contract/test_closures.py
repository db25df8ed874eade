"""The contract, closures: what one may do inside, and that a mistake there leaves nothing half done."""

import threading

import pytest
import torch
from harness import build, descend, every_recipe, everything, rows_like, same, take
from problem import bowl, parameters, worst

import edsl
from edsl.lab.closure import closure_for


def loss_of(params, seed=2):
    row = rows_like(params, 1, seed)[0]
    return lambda: bowl(params, row)


@every_recipe
def test_a_closure_may_zero_the_gradients_in_either_way(recipe):
    histories = []
    for set_to_none in (True, False):
        params, optimizer = build(recipe)
        loss = loss_of(params)

        def closure(optimizer=optimizer, loss=loss, set_to_none=set_to_none):
            optimizer.zero_grad(set_to_none=set_to_none)
            value = loss()
            if optimizer.pipeline.estimator.calls_backward:
                value.backward()
            return value

        optimizer.step(closure)
        optimizer.step(closure)
        histories.append([p.detach() for p in params])
    assert worst(histories[:1], histories[1:]) == 0


@every_recipe
def test_a_closure_may_step_another_optimizer(recipe):
    params, optimizer = build(recipe)
    alone = descend(optimizer, params, 2)
    params, optimizer = build(recipe)
    others, other = build("alto", parameters(seed=8))
    for row in rows_like(params, 2):

        def loss(row=row):
            with torch.enable_grad():
                take(other, others)
            return bowl(params, row)

        optimizer.step(closure_for(optimizer.pipeline, optimizer, loss))
    assert worst([[p.detach() for p in params]], [alone]) == 0
    assert int(other.state[others[0]]["step"]) == 2 * optimizer.pipeline.estimator.forwards


@every_recipe
def test_a_closure_that_calls_its_own_step_is_one_clear_error_and_moves_nothing(recipe):
    params, optimizer = build(recipe)
    take(optimizer, params)
    before = everything(optimizer, params)
    loss = loss_of(params)

    def closure():
        optimizer.step(loss)
        return loss()

    with pytest.raises(edsl.EdslError, match=r"step\(\) called from its own closure"):
        optimizer.step(closure_for(optimizer.pipeline, optimizer, closure))
    assert same(everything(optimizer, params), before)
    take(optimizer, params)


def test_a_step_of_another_thread_meanwhile_is_refused_in_its_own_words():
    params, optimizer = build("eadamw")
    said = []

    def step():
        try:
            optimizer.step()
        except edsl.EdslError as error:
            said.append(str(error))

    def closure():
        other = threading.Thread(target=step)
        other.start()
        other.join()
        return loss_of(params)()

    optimizer.step(closure_for(optimizer.pipeline, optimizer, closure))
    assert len(said) == 1
    assert "another thread" in said[0]
    assert "closure" not in said[0]
    assert int(optimizer.state[params[0]]["step"]) == 1


@every_recipe
def test_a_closure_that_raises_leaves_parameters_and_state_as_they_were(recipe):
    params, optimizer = build(recipe)
    take(optimizer, params)
    before = everything(optimizer, params)
    calls = []

    def loss():
        calls.append(1)
        if len(calls) == optimizer.pipeline.estimator.forwards:  # in the last of a step's evaluations
            raise KeyError("the batch")
        return bowl(params, rows_like(params, 1)[0])

    with pytest.raises(KeyError, match="the batch"):
        optimizer.step(closure_for(optimizer.pipeline, optimizer, loss))
    assert same(everything(optimizer, params), before)
    take(optimizer, params)


@every_recipe
def test_a_closure_may_change_the_learning_rate_of_its_step(recipe):
    params, optimizer = build(recipe)
    before = [p.detach().clone() for p in params]
    loss = loss_of(params)

    def closure():
        for group in optimizer.param_groups:
            group["lr"] = 0.0
        return loss()

    optimizer.step(closure_for(optimizer.pipeline, optimizer, closure))
    assert worst([[p.detach() for p in params]], [before]) == 0


@every_recipe
def test_a_closure_may_run_under_no_grad_outside(recipe):
    params, optimizer = build(recipe)
    expected = descend(optimizer, params)
    params, optimizer = build(recipe)
    with torch.no_grad():
        assert worst([descend(optimizer, params)], [expected]) == 0


@every_recipe
def test_a_wrong_closure_for_the_recipe_is_one_clear_error_or_the_loss(recipe):
    params, optimizer = build(recipe)
    before = everything(optimizer, params)
    if optimizer.pipeline.estimator.needs_closure:
        with pytest.raises(edsl.EdslError, match="closure"):
            optimizer.step(lambda: None)
    else:
        assert optimizer.step(lambda: None) is None
    assert same(everything(optimizer, params), before)
