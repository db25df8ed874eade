"""The contract, construction: what params may be, and how each mistake is refused."""

import pytest
import torch
from harness import build, every_recipe, take
from problem import parameters, worst
from torch.nn import Parameter

import edsl

SHARED = Parameter(torch.ones(2, 2))


def matrix():
    return Parameter(torch.ones(2, 2))


REFUSED_BY_TORCH = {
    "a bare tensor": matrix,
    "nothing": list,
    "None": lambda: None,
    "a set": lambda: [{"params": {matrix()}}],
    "a number": lambda: [3],
    "a non-leaf": lambda: [matrix() * 2],
    "overlapping groups": lambda: [{"params": [SHARED]}, {"params": [SHARED]}],
    "some names missing": lambda: [("a", matrix()), Parameter(torch.ones(2))],
    "named and unnamed groups": lambda: [{"params": [("a", matrix())]}, {"params": [matrix()]}],
    "unnamed and named groups": lambda: [{"params": [matrix()]}, {"params": [("a", matrix())]}],
    "a group without params": lambda: [{"lr": 0.1}],
    "a group that is no dict": lambda: [{"params": [matrix()]}, [matrix()]],
}


@every_recipe
@pytest.mark.parametrize("name", REFUSED_BY_TORCH)
def test_what_torch_refuses_is_refused_with_its_type_and_text(name, recipe):
    with pytest.raises(Exception) as torchs:  # noqa: PT011
        torch.optim.AdamW(REFUSED_BY_TORCH[name]())
    with pytest.raises(type(torchs.value)) as ours:
        edsl.compile(recipe, REFUSED_BY_TORCH[name](), mode="eager")
    assert type(ours.value) is type(torchs.value)
    assert str(ours.value) == str(torchs.value)


@every_recipe
def test_a_parameter_twice_in_a_group_is_torchs_warning(recipe):
    with pytest.warns(UserWarning, match="optimizer contains a parameter group with duplicate parameters"):
        build(recipe, [SHARED, SHARED])


@every_recipe
def test_a_bad_learning_rate_is_a_value_error_in_torchs_words(recipe):
    for lr, said in {
        -0.1: "Invalid learning rate: -0.1",
        float("nan"): "Invalid learning rate: nan",
        torch.ones(2): "Tensor lr must be 1-element",
    }.items():
        with pytest.raises(ValueError, match=said):
            build(recipe, lr=lr)
        with pytest.raises(ValueError, match=said):
            build(recipe, [{"params": parameters(), "lr": lr}])


@every_recipe
def test_hyper_parameters_are_checked_before_params_are_iterated(recipe):
    def never():
        raise AssertionError("params were iterated")
        yield

    with pytest.raises(edsl.EdslError, match="lr must lie in"):
        build(recipe, never(), lr=-1.0)


@every_recipe
def test_a_learning_rate_of_0_is_legal_and_moves_nothing(recipe):
    rates = {key: 0.0 for key in edsl.parse(recipe).keys if key.endswith("lr")}
    params, optimizer = build(recipe, **rates)
    before = [p.detach().clone() for p in params]
    assert worst(take(optimizer, params, 3), [before] * 3) == 0


@every_recipe
def test_every_key_of_defaults_is_in_each_group(recipe):
    _, optimizer = build(recipe, [{"params": parameters()}, {"params": []}])
    optimizer.add_param_group({"params": parameters(seed=5)})
    assert all(optimizer.defaults.keys() <= group.keys() for group in optimizer.param_groups)


@every_recipe
def test_a_group_may_override_every_number_of_its_recipe(recipe):
    _, optimizer = build(recipe, alpha=-0.5)
    for group in optimizer.param_groups:
        branch = optimizer.pipeline.branch(group.get("route", ""))
        for key in branch.hyperparameters.keys() - set(optimizer.pipeline.estimator.live_fields()):
            other = group[key] / 2
            _, with_own = build(recipe, [{"params": group["params"], key: other}], alpha=-0.5)
            assert with_own.param_groups[0][key] == other


@every_recipe
def test_repr_shows_each_groups_learning_rate(recipe):
    _, optimizer = build(recipe, lr=0.0625)
    assert "Parameter Group 0" in repr(optimizer)
    assert "lr: 0.0625" in repr(optimizer)


@every_recipe
def test_an_empty_group_is_legal_and_steps(recipe):
    params, optimizer = build(recipe)
    alone = take(optimizer, params, 2)
    params = parameters()
    _, optimizer = build(recipe, [{"params": params}, {"params": []}])
    assert worst(take(optimizer, params, 2), alone) == 0


@every_recipe
def test_an_optimizer_of_empty_groups_alone_steps(recipe):
    _, optimizer = build(recipe, [{"params": []}])
    optimizer.step(lambda: torch.zeros((), requires_grad=True))
    assert not optimizer.state


@every_recipe
def test_module_named_and_bare_parameters_are_taken(recipe):
    net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 1))
    for params in (net, net.named_parameters(), list(net.named_parameters()), net.parameters()):
        _, optimizer = build(recipe, params)
        assert isinstance(optimizer, torch.optim.Optimizer)
        assert sum(len(group["params"]) for group in optimizer.param_groups) == 6
