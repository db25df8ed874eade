"""The contract, training stacks: what Lightning, Accelerate and torch.distributed.checkpoint do to an optimizer."""

import copy

import pytest
import torch
from harness import NEED_A_CLOSURE, build, every_recipe, same, take
from problem import parameters, worst
from torch import nn

import edsl


def initialise_as_dcp(optimizer, params):
    """torch.distributed.checkpoint's way to have all state made before it loads."""
    for p in params:
        p.grad = torch.zeros_like(p)
    rates = [group["lr"] for group in optimizer.param_groups]
    for group in optimizer.param_groups:
        group["lr"] = torch.tensor(0.0) if isinstance(group["lr"], torch.Tensor) else 0.0
    optimizer.step(closure=None)
    for group, rate in zip(optimizer.param_groups, rates, strict=True):
        group["lr"] = rate
    optimizer.zero_grad(set_to_none=True)


@every_recipe
@pytest.mark.parametrize("as_tensor", [False, True])
def test_dcps_first_step_makes_all_state_and_moves_nothing(as_tensor, recipe):
    lr = torch.tensor(0.25) if as_tensor else 0.25
    params, optimizer = build(recipe, lr=lr)
    before = [p.detach().clone() for p in params]
    initialise_as_dcp(optimizer, params)
    assert worst([[p.detach() for p in params]], [before]) == 0
    others, stepped = build(recipe)
    take(stepped, others)
    for p, q in zip(params, others, strict=True):
        assert optimizer.state[p].keys() == stepped.state[q].keys()
        assert all(optimizer.state[p][key].shape == value.shape for key, value in stepped.state[q].items())
        assert all(value.isfinite().all() for value in optimizer.state[p].values())


@every_recipe
def test_after_dcps_first_step_a_checkpoint_resumes_bit_for_bit(recipe):
    params, optimizer = build(recipe)
    take(optimizer, params, 2)
    twins, twin = build(recipe, copy.deepcopy(params))
    initialise_as_dcp(twin, twins)
    twin.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    assert worst(take(twin, twins, 2, seed=7), take(optimizer, params, 2, seed=7)) == 0


@pytest.mark.parametrize("recipe", NEED_A_CLOSURE)
def test_after_dcps_first_step_training_begins_as_if_it_had_not_been(recipe):
    params, optimizer = build(recipe)
    initialise_as_dcp(optimizer, params)
    fresh, undisturbed = build(recipe)
    assert worst(take(optimizer, params, 3), take(undisturbed, fresh, 3)) == 0


@pytest.mark.parametrize("recipe", NEED_A_CLOSURE)
@pytest.mark.parametrize("rest", ["a gradient", "a rate", "no gradient"])
def test_without_a_closure_nothing_less_than_dcps_first_step_passes(rest, recipe):
    params, optimizer = build(recipe, lr=0.0 if rest != "a rate" else 0.1)
    for group in optimizer.param_groups:
        group["lr"] = 0.0 if rest != "a rate" else 0.1
    for p in params:
        p.grad = None if rest == "no gradient" else torch.zeros_like(p)
    if rest == "a gradient":
        params[0].grad += 1
    with pytest.raises(edsl.EdslError, match="evaluates the loss itself"):
        optimizer.step(closure=None)
    assert not optimizer.state


class Wrapper:
    """Lightning Fabric's: it takes over an optimizer's attributes, class and all, and steps the inner one."""

    def __init__(self, optimizer):
        self.__dict__ = {key: value for key, value in vars(optimizer).items() if key not in ("state_dict", "step")}
        self.__class__ = type("Lightning" + type(optimizer).__name__, (type(self), type(optimizer)), {})
        self._optimizer = optimizer

    def step(self, closure=None):
        return self._optimizer.step(closure)


@every_recipe
def test_lightnings_subclass_of_wrapper_and_class_works(recipe):
    params, optimizer = build(recipe)
    wrapped = Wrapper(optimizer)
    assert isinstance(wrapped, type(optimizer))
    assert wrapped.defaults is optimizer.defaults
    schedule = torch.optim.lr_scheduler.ExponentialLR(wrapped, gamma=0.5)
    twins, twin = build(recipe)
    plain = torch.optim.lr_scheduler.ExponentialLR(twin, gamma=0.5)
    for seed in (3, 4):
        assert worst(take(wrapped, params, seed=seed), take(twin, twins, seed=seed)) == 0
        schedule.step()
        plain.step()
    assert same(wrapped.state_dict(), twin.state_dict())


@every_recipe
def test_lightning_may_move_state_tensors_between_steps(recipe):
    params, optimizer = build(recipe)
    twins, twin = build(recipe)
    take(optimizer, params)
    take(twin, twins)
    for p, state in list(optimizer.state.items()):
        optimizer.state[p] = {key: value.to("cpu", copy=True) for key, value in state.items()}
    assert worst(take(optimizer, params, 2), take(twin, twins, 2)) == 0


@every_recipe
def test_parameters_may_be_swapped_for_placeholders_and_back(recipe):
    params, optimizer = build(recipe)
    own = [list(group["params"]) for group in optimizer.param_groups]
    for group in optimizer.param_groups:  # as Accelerate does, before it shards a model
        group["params"] = [nn.Parameter(torch.empty(1)) for _ in group["params"]]
    moved = {p: nn.Parameter(p.detach().clone()) for p in params}
    for group, before in zip(optimizer.param_groups, own, strict=True):
        group["params"] = [moved[p] for p in before]
    twins, twin = build(recipe)
    assert worst(take(optimizer, list(moved.values()), 3), take(twin, twins, 3)) == 0
    assert set(map(id, optimizer.state)) == set(map(id, moved.values()))


@every_recipe
def test_groups_of_one_parameter_and_of_none_as_zero_builds_them_step(recipe):
    params = parameters()
    groups = [{"params": [p], "lr": 0.01} for p in params] + [{"params": [], "lr": 0.01}]
    _, optimizer = build(recipe, groups)
    take(optimizer, params, 2)
    assert [int(optimizer.state[p]["step"]) for p in params] == [2, 2, 2]
