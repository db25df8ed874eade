"""The contract, hooks: in order, once each, and under the profiler's name."""

import copy

import pytest
import torch
from harness import build, descend, every_recipe, everything, rows_like, same, take
from problem import bowl, parameters, worst
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

from edsl.lab.closure import closure_for


@every_recipe
def test_step_hooks_run_once_each_in_torchs_order(recipe):
    params, optimizer = build(recipe)
    seen = []
    everywhere = [
        register_optimizer_step_pre_hook(lambda *_: seen.append("pre, global")),
        register_optimizer_step_post_hook(lambda *_: seen.append("post, global")),
    ]
    try:
        optimizer.register_step_post_hook(lambda *_: seen.append("post"))
        optimizer.register_step_pre_hook(lambda *_: seen.append("pre"))
        take(optimizer, params, 2)
    finally:
        for handle in everywhere:
            handle.remove()
    assert seen == ["pre, global", "pre", "post", "post, global"] * 2


@every_recipe
def test_hooks_of_a_subclass_run_once_each(recipe):
    params, optimizer = build(recipe)
    optimizer.__class__ = type("Mine", (type(optimizer),), {})
    seen = []
    optimizer.register_step_pre_hook(lambda *_: seen.append("pre"))
    optimizer.register_step_post_hook(lambda *_: seen.append("post"))
    take(optimizer, params)
    assert seen == ["pre", "post"]


@every_recipe
def test_a_step_pre_hook_may_replace_the_closure(recipe):
    params, optimizer = build(recipe)
    expected = descend(optimizer, params)
    params, optimizer = build(recipe)
    row = rows_like(params, 1)[0]
    closure = closure_for(optimizer.pipeline, optimizer, lambda: bowl(params, row))
    optimizer.register_step_pre_hook(lambda its, args, kwargs: ((its, closure), {}))
    optimizer.step(None)
    assert worst([[p.detach() for p in params]], [expected]) == 0


@every_recipe
def test_step_hooks_see_parameters_before_and_after(recipe):
    params, optimizer = build(recipe)
    seen = []
    optimizer.register_step_pre_hook(lambda *_: seen.append([p.detach().clone() for p in params]))
    optimizer.register_step_post_hook(lambda *_: seen.append([p.detach().clone() for p in params]))
    take(optimizer, params)
    take(optimizer, params)
    assert worst(seen[1:2], seen[2:3]) == 0
    assert worst(seen[2:3], seen[3:4]) > 0


@every_recipe
def test_removed_hooks_run_no_more(recipe):
    params, optimizer = build(recipe)
    seen = []
    optimizer.register_step_pre_hook(lambda *_: seen.append("pre")).remove()
    take(optimizer, params)
    assert not seen


@every_recipe
def test_state_dict_hooks_run_in_order_and_a_post_hook_may_replace_the_dict(recipe):
    params, optimizer = build(recipe)
    take(optimizer, params)
    seen = []
    optimizer.register_state_dict_pre_hook(lambda _: seen.append("second"))
    optimizer.register_state_dict_pre_hook(lambda _: seen.append("first"), prepend=True)
    optimizer.register_state_dict_post_hook(lambda _, saved: {**saved, "mine": 2})
    optimizer.register_state_dict_post_hook(lambda _, saved: {**saved, "mine": 1}, prepend=True)
    assert optimizer.state_dict()["mine"] == 2
    assert seen == ["first", "second"]


@every_recipe
def test_load_hooks_run_in_order_and_a_pre_hook_may_replace_the_dict(recipe):
    params, optimizer = build(recipe)
    take(optimizer, params)
    saved, seen = optimizer.state_dict(), []

    def double(_, checkpoint):
        seen.append("second")
        checkpoint = copy.deepcopy(checkpoint)
        for state in checkpoint["state"].values():
            state["e.mean"] *= 2
        return checkpoint

    twins, twin = build(recipe)
    twin.register_load_state_dict_pre_hook(double)
    twin.register_load_state_dict_pre_hook(lambda *_: seen.append("first"), prepend=True)
    twin.register_load_state_dict_post_hook(lambda _: seen.append("fourth"))
    twin.register_load_state_dict_post_hook(lambda _: seen.append("third"), prepend=True)
    twin.load_state_dict(saved)
    assert seen == ["first", "second", "third", "fourth"]
    for p, q in zip(params, twins, strict=True):
        assert torch.equal(twin.state[q]["e.mean"], 2 * optimizer.state[p]["e.mean"])


@every_recipe
def test_a_load_post_hook_sees_the_state_as_it_will_be_and_may_change_it(recipe):
    wide = {"sigma": 0.1} if recipe.startswith("ezo") else {}
    params, optimizer = build(recipe, parameters([(4, 3), (7,)], torch.bfloat16), **wide)
    take(optimizer, params)
    twins, twin = build(recipe, parameters([(4, 3), (7,)], torch.bfloat16), **wide)
    seen = []

    def look(loaded):
        seen.extend(copy.deepcopy(loaded.state[q]) for q in twins)
        loaded.state[twins[0]]["e.mean"].zero_()

    twin.register_load_state_dict_post_hook(look)
    twin.load_state_dict(optimizer.state_dict())
    assert same(seen, [optimizer.state[p] for p in params])
    assert not twin.state[twins[0]]["e.mean"].any()


@every_recipe
def test_a_load_hook_that_raises_leaves_all_as_it_was(recipe):
    params, optimizer = build(recipe)
    take(optimizer, params)
    before = everything(optimizer, params)

    def refuse(*_):
        raise KeyError("not today")

    optimizer.register_load_state_dict_pre_hook(refuse)
    with pytest.raises(KeyError, match="not today"):
        optimizer.load_state_dict(optimizer.state_dict())
    assert same(everything(optimizer, params), before)


@every_recipe
def test_the_profiler_names_steps_and_zero_grad_by_the_class(recipe):
    params, optimizer = build(recipe)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        take(optimizer, params)
        optimizer.zero_grad()
    counts = {event.key: event.count for event in profile.key_averages()}
    assert counts[f"Optimizer.step#{type(optimizer).__name__}.step"] == 1
    assert counts[f"Optimizer.zero_grad#{type(optimizer).__name__}.zero_grad"] >= 1
