"""The contract, learning rates: every scheduler of torch, and lr as a number or a tensor."""

import inspect

import pytest
import torch
from harness import build, every_recipe, everything, same, take
from problem import parameters, worst
from torch.optim import lr_scheduler as schedulers
from torch.optim.swa_utils import SWALR

import edsl
from edsl.language.registry.recipes import RECIPES

CYCLING = ("CyclicLR", "OneCycleLR")
MAKERS = {
    "LambdaLR": lambda o: schedulers.LambdaLR(o, lambda step: 1 / (1 + step)),
    "MultiplicativeLR": lambda o: schedulers.MultiplicativeLR(o, lambda step: 0.9),
    "StepLR": lambda o: schedulers.StepLR(o, step_size=1),
    "MultiStepLR": lambda o: schedulers.MultiStepLR(o, milestones=[1, 2]),
    "ConstantLR": lambda o: schedulers.ConstantLR(o, factor=0.5, total_iters=2),
    "LinearLR": lambda o: schedulers.LinearLR(o, start_factor=0.5, total_iters=4),
    "ExponentialLR": lambda o: schedulers.ExponentialLR(o, gamma=0.9),
    "CosineAnnealingLR": lambda o: schedulers.CosineAnnealingLR(o, T_max=5),
    "CosineAnnealingWarmRestarts": lambda o: schedulers.CosineAnnealingWarmRestarts(o, T_0=3),
    "CyclicLR": lambda o: schedulers.CyclicLR(o, base_lr=0.001, max_lr=0.01, step_size_up=2, cycle_momentum=False),
    "OneCycleLR": lambda o: schedulers.OneCycleLR(o, max_lr=0.01, total_steps=9, cycle_momentum=False),
    "PolynomialLR": lambda o: schedulers.PolynomialLR(o, total_iters=5),
    "ReduceLROnPlateau": lambda o: schedulers.ReduceLROnPlateau(o, patience=0),
    "SequentialLR": lambda o: schedulers.SequentialLR(
        o, [schedulers.ConstantLR(o, factor=0.1), schedulers.ExponentialLR(o, gamma=0.9)], milestones=[2]
    ),
    "ChainedScheduler": lambda o: schedulers.ChainedScheduler(
        [schedulers.LinearLR(o, start_factor=0.5), schedulers.ExponentialLR(o, gamma=0.9)]
    ),
    "SWALR": lambda o: SWALR(o, swa_lr=0.0005, anneal_epochs=3),
}


def test_every_scheduler_of_torch_is_among_these():
    base = schedulers.LRScheduler
    known = {
        name
        for name, cls in inspect.getmembers(schedulers, inspect.isclass)
        if issubclass(cls, base) and cls.__module__ == schedulers.__name__ and not name.startswith("_")
    }
    assert known - {"LRScheduler"} == MAKERS.keys() - {"SWALR"}


@every_recipe
@pytest.mark.parametrize("scheduler", MAKERS)
def test_a_scheduler_of_torch_drives_lr_as_it_drives_torchs(scheduler, recipe):
    params, optimizer = build(recipe, lr=0.002)
    theirs = torch.optim.SGD([{"params": [torch.zeros(1)]} for _ in optimizer.param_groups], lr=0.002)
    for group, other in zip(optimizer.param_groups, theirs.param_groups, strict=True):
        other["lr"] = group["lr"]
    ours, expected = MAKERS[scheduler](optimizer), MAKERS[scheduler](theirs)
    seen = set()
    for _ in range(5):
        take(optimizer, params)
        theirs.step()
        for schedule in (ours, expected):
            schedule.step(1.0) if scheduler == "ReduceLROnPlateau" else schedule.step()
        rates = [group["lr"] for group in optimizer.param_groups]
        assert rates == [group["lr"] for group in theirs.param_groups]
        seen.add(rates[0])
    assert len(seen) > 1


@pytest.mark.parametrize("scheduler", MAKERS)
def test_a_scheduler_of_torch_on_a_key_with_a_schedule_is_refused_in_one_line(scheduler):
    params, optimizer = build("adamw(lr=cosine(0.001, warmup=3))", total_steps=9)
    ours = MAKERS[scheduler](optimizer)

    def steps():
        for _ in range(4):
            take(optimizer, params)
            ours.step(1.0) if scheduler == "ReduceLROnPlateau" else ours.step()

    with pytest.raises(edsl.EdslError, match=r"^param group 0: lr follows cosine.*remove one of the two[^\n]*$"):
        steps()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["linear", "cosine", "constant_with_warmup", "warmup_stable_decay"])
def test_a_scheduler_of_transformers_on_a_key_with_a_schedule_is_refused_in_one_line(name):
    get_scheduler = pytest.importorskip("transformers").get_scheduler
    params, optimizer = build("adamw(lr=cosine(0.001, warmup=3))", total_steps=9)
    own = {"scheduler_specific_kwargs": {"num_decay_steps": 3}} if name == "warmup_stable_decay" else {}
    schedule = get_scheduler(name, optimizer, num_warmup_steps=2, num_training_steps=9, **own)

    def steps():
        for _ in range(4):
            take(optimizer, params)
            schedule.step()

    with pytest.raises(edsl.EdslError, match=r"^param group 0: lr follows cosine.*remove one of the two[^\n]*$"):
        steps()


def test_a_scheduler_that_writes_back_what_is_there_is_none():
    class Unchanged(schedulers.LRScheduler):
        def get_lr(self):
            return [group["lr"] for group in self.optimizer.param_groups]

    params, optimizer = build("adamw(lr=cosine(0.001, warmup=3))", total_steps=9)
    alone, other = build("adamw(lr=cosine(0.001, warmup=3))", total_steps=9)
    schedule = Unchanged(optimizer)
    for _ in range(6):
        assert worst(take(optimizer, params), take(other, alone)) == 0
        schedule.step()
    saved = schedule.state_dict()
    schedule.load_state_dict(saved)
    assert worst(take(optimizer, params), take(other, alone)) == 0


@every_recipe
@pytest.mark.parametrize("scheduler", CYCLING)
def test_a_cycling_scheduler_cycles_momentum_or_says_that_there_is_none(scheduler, recipe):
    params, optimizer = build(recipe, lr=0.002)
    make = {
        "CyclicLR": lambda: schedulers.CyclicLR(optimizer, base_lr=0.001, max_lr=0.01, step_size_up=4),
        "OneCycleLR": lambda: schedulers.OneCycleLR(optimizer, max_lr=0.01, total_steps=10),
    }[scheduler]
    if "momentum" not in optimizer.defaults:
        with pytest.raises(ValueError, match="must support momentum"):
            make()
        return
    schedule, seen = make(), set()
    for _ in range(4):
        take(optimizer, params)
        schedule.step()
        seen.add(optimizer.param_groups[0]["momentum"])
    assert len(seen) > 2


@every_recipe
@pytest.mark.parametrize("shape", [(), (1,)], ids=["0-d", "one element"])
def test_lr_as_a_tensor_is_read_at_each_step_and_not_changed(shape, recipe):
    lr = torch.full(shape, 0.25)
    params, optimizer = build(recipe, lr=lr)
    plain, with_number = build(recipe, lr=0.25)
    assert optimizer.param_groups[0]["lr"] is lr
    for value in (0.25, 0.5, 0.0625):
        lr.fill_(value)
        with_number.param_groups[0]["lr"] = value
        assert worst(take(optimizer, params), take(with_number, plain)) == 0
        assert lr.shape == shape
        assert (lr == value).all()
    assert optimizer.param_groups[0]["lr"] is lr


@every_recipe
def test_a_scheduler_fills_a_tensor_lr_in_place(recipe):
    lr = torch.tensor(0.25)
    params, optimizer = build(recipe, lr=lr)
    schedule = schedulers.ExponentialLR(optimizer, gamma=0.5)
    take(optimizer, params)
    schedule.step()
    assert optimizer.param_groups[0]["lr"] is lr
    assert lr == 0.125


@every_recipe
def test_lr_0_after_warm_up_from_0_moves_as_if_built_with_the_value(recipe):
    params, optimizer = build(recipe)
    schedule = schedulers.LambdaLR(optimizer, lambda step: float(step > 0))
    before = [p.detach().clone() for p in params]
    assert worst(take(optimizer, params), [before]) <= (0 if "lr" in optimizer.defaults else 1)
    schedule.step()
    assert worst(take(optimizer, params), [before]) > 0


@every_recipe
def test_group_values_are_read_again_at_every_step(recipe):
    params, optimizer = build(recipe)
    twins, twin = build(recipe)
    take(optimizer, params)
    take(twin, twins)
    for group in optimizer.param_groups:
        group["lr"], group["alpha"] = 0.25, -0.5
    for position, group in enumerate(twin.param_groups):
        twin.param_groups[position] = {**group, "lr": 0.25, "alpha": -0.5}
    assert worst(take(optimizer, params), take(twin, twins)) == 0
    assert same(everything(optimizer, params), everything(twin, twins))


@every_recipe
def test_a_value_scheduled_out_of_its_domain_is_an_error_before_anything_moves(recipe):
    params, optimizer = build(recipe)
    take(optimizer, params)
    before = everything(optimizer, params)
    good = optimizer.param_groups[0]["lr"]
    for bad in (-1.0, float("nan"), None, "fast", torch.ones(2)):
        optimizer.param_groups[0]["lr"] = bad
        with pytest.raises(edsl.EdslError, match="lr"):
            take(optimizer, params)
    optimizer.param_groups[0]["lr"] = good
    assert same(everything(optimizer, params), before)


def test_schedulers_see_each_route_as_a_group_of_its_own():
    assert {len(build(recipe, parameters())[1].param_groups) for recipe in RECIPES} == {1, 2}
