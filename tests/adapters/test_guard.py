"""`guard`: a gradient that is not finite does no harm, is counted, or is refused."""

import copy
import io

import pytest
import torch
from problem import gradients, parameters, walk, worst

import edsl


def spoiled(row, value=float("nan")):
    return [row[0].index_fill(0, torch.tensor([1]), value), *row[1:]]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("mode", ["eager", "compiled"])
def test_skip_leaves_parameters_state_and_count_as_they_are(value, mode):
    rows = gradients(4)
    params, others = parameters(), parameters()
    guarded = edsl.compile("grad | guard | e | lamb", params, mode=mode)
    plain = edsl.compile("grad | e | lamb", others, mode=mode)
    walk(guarded, params, rows[:2])
    before = copy.deepcopy(guarded.state_dict()["state"])
    walk(guarded, params, [spoiled(rows[2], value)])
    after = guarded.state_dict()["state"]
    assert all(torch.equal(before[i][key], after[i][key]) for i in before for key in before[i])
    assert worst(walk(guarded, params, rows[2:])[-1:], walk(plain, others, rows)[-1:]) == 0
    assert guarded.param_groups[0]["nonfinite_steps"] == 1


def test_raise_names_the_parameter_and_changes_nothing():
    names, params = ["a", "b", "c"], parameters()
    optimizer = edsl.compile("grad | guard(nonfinite='raise') | alto", list(zip(names, params)), mode="eager")
    walk(optimizer, params, gradients(2))
    before = [p.detach().clone() for p in params]
    params[1].grad.fill_(float("inf"))
    with pytest.raises(edsl.EdslError, match="the gradient of parameter b is not finite"):
        optimizer.step()
    assert all(torch.equal(p, b) for p, b in zip(params, before, strict=True))
    assert int(optimizer.state[params[0]]["step"]) == 2


@pytest.mark.parametrize("mode", ["eager", "compiled"])
def test_zero_drops_the_elements_alone_and_leaves_the_gradient_itself(mode):
    theta = torch.nn.Parameter(torch.zeros(3))
    optimizer = edsl.compile("grad | guard(nonfinite='zero') | sgd(lr=1.0)", [theta], mode=mode)
    theta.grad = torch.tensor([1.0, float("nan"), float("inf")])
    optimizer.step()
    assert theta.tolist() == [-1, 0, 0]
    assert theta.grad.isnan().any()
    assert optimizer.param_groups[0]["nonfinite_steps"] == 1


def test_the_count_is_saved():
    params = parameters()
    optimizer = edsl.compile("grad | guard | sgd", params, mode="eager")
    walk(optimizer, params, [spoiled(row) for row in gradients(3)])
    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    file.seek(0)
    twin = edsl.compile("grad | guard | sgd", parameters(), mode="eager")
    twin.load_state_dict(torch.load(file, weights_only=True))
    assert twin.param_groups[0]["nonfinite_steps"] == 3


@pytest.mark.parametrize(
    "spec", ["spsa | guard | adam", "hutchinson | guard | adahessian", "grad | guard | torch.Adam()"]
)
def test_guard_stands_behind_every_estimator_and_before_another_packages_update(spec):
    theta = torch.nn.Parameter(torch.ones(3))
    optimizer = edsl.compile(spec, [theta], mode="eager")
    factor = float("nan")

    def closure():
        loss = (factor * theta).square().sum()
        if optimizer.pipeline.estimator.calls_backward:
            optimizer.zero_grad()
            loss.backward()
        return loss

    optimizer.step(closure)
    assert torch.equal(theta, torch.ones(3))
    factor = 1.0
    optimizer.step(closure)
    assert theta.isfinite().all()
    assert (theta != 1).any()
    assert optimizer.param_groups[0]["nonfinite_steps"] == 1


def test_an_accumulation_with_a_bad_micro_batch_is_skipped_as_a_whole_and_the_next_is_clean():
    theta = torch.nn.Parameter(torch.zeros(2))
    optimizer = edsl.compile("grad(accumulate=2) | guard | sgd(lr=1.0)", [theta], mode="eager")
    for value in (float("nan"), 1.0, 1.0, 3.0):
        theta.grad = torch.full((2,), value)
        optimizer.step()
    assert theta.tolist() == [-2, -2]


def test_guard_is_no_obstacle_to_theory():
    from edsl.theory.systems.linearise import linearise

    assert linearise(edsl.parse("grad | guard | e | sgd")).A == linearise(edsl.parse("grad | e | sgd")).A
