"""The contract, mixed precision: GradScaler, autocast, and half-precision parameters."""

import pytest
import torch
from harness import NEED_A_CLOSURE, NEED_NONE, build, every_recipe, everything, rows_like, same, take, train
from problem import bowl, gradients, parameters
from torch import nn

import edsl

HALVES = pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])


def half(recipe, dtype, **options):
    """Matrices and vectors in half precision; spsa with a sigma that their rounding does not lose."""
    wide = {"sigma": 0.1} if recipe.startswith("ezo") else {}
    return build(recipe, parameters([(4, 3), (7,)], dtype), **wide, **options)


@pytest.mark.parametrize("recipe", NEED_NONE)
def test_a_grad_scaler_that_finds_an_infinity_skips_the_step_and_its_count(recipe):
    params, optimizer = build(recipe)
    row = rows_like(params, 1)[0]
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    for bad in (False, True, False):
        optimizer.zero_grad()
        scaler.scale(bowl(params, row) * (float("inf") if bad else 1.0)).backward()
        before = everything(optimizer, params)
        scaler.step(optimizer)
        scaler.update()
        assert same(everything(optimizer, params), before) == bad
    assert [int(optimizer.state[p]["step"]) for p in params] == [2, 2, 2]


@pytest.mark.parametrize("recipe", NEED_NONE)
def test_a_grad_scaler_unscales_before_the_step(recipe):
    histories = []
    for scale in (None, 1024.0):
        params, optimizer = build(recipe)
        for row in rows_like(params, 3):
            optimizer.zero_grad()
            loss = bowl(params, row)
            if scale is None:
                loss.backward()
                optimizer.step()
            else:
                scaler = torch.amp.GradScaler("cpu", init_scale=scale)
                scaler.scale(loss).backward()
                scaler.step(optimizer)
        histories.append([p.detach().clone() for p in params])
    assert same(*histories)


@pytest.mark.parametrize("recipe", NEED_A_CLOSURE)
def test_a_recipe_that_needs_a_closure_refuses_a_grad_scaler_in_one_line(recipe):
    params, optimizer = build(recipe)
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    scaler.scale(bowl(params, rows_like(params, 1)[0])).backward()
    before = everything(optimizer, params)
    with pytest.raises(edsl.EdslError, match="evaluates the loss itself"):
        scaler.step(optimizer)
    assert same(everything(optimizer, params), before)


@every_recipe
@HALVES
def test_half_precision_parameters_keep_their_dtype_and_have_fp32_state(dtype, recipe):
    params, optimizer = half(recipe, dtype)
    take(optimizer, params, 3)
    assert all(p.dtype == dtype and p.isfinite().all() for p in params)
    buffers = [value for state in optimizer.state.values() for name, value in state.items() if name != "step"]
    assert all(buffer.dtype == torch.float32 for buffer in buffers)


@every_recipe
@HALVES
def test_state_has_the_half_precision_that_is_asked_for(dtype, recipe):
    params, optimizer = half(recipe, torch.float32, state_dtype=dtype)
    take(optimizer, params, 3)
    for state in optimizer.state.values():
        assert {value.dtype for key, value in state.items() if key != "step"} == {dtype}
        assert state["step"].dtype == torch.int64
    assert all(p.isfinite().all() for p in params)


@pytest.mark.parametrize("recipe", NEED_NONE)
def test_a_half_precision_step_is_the_fp32_step_rounded(recipe):
    halves, optimizer = half(recipe, torch.bfloat16)
    singles, other = build(recipe, [nn.Parameter(p.detach().float()) for p in halves])
    row = gradients(1, [(4, 3), (7,)], torch.bfloat16)[0]
    for p, q, g in zip(halves, singles, row, strict=True):
        p.grad, q.grad = g, g.float()
    optimizer.step()
    other.step()
    for p, q in zip(halves, singles, strict=True):
        assert torch.equal(p, q.bfloat16())


@every_recipe
def test_autocast_around_the_loss_trains(recipe):
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    wide = {"sigma": 0.1} if recipe.startswith("ezo") else {}
    _, optimizer = build(recipe, model, **wide)
    before = [p.detach().clone() for p in model.parameters()]

    def loss(model):
        with torch.autocast("cpu", torch.bfloat16):
            return model(torch.ones(5, 3)).square().mean()

    train(optimizer, model, loss, 2)
    after = [p.detach() for p in model.parameters()]
    assert not same(after, before)
    assert all(p.dtype == torch.float32 and p.isfinite().all() for p in after)
