"""The contract, mixed precision: GradScaler, autocast, and half-precision parameters."""

import pytest
import torch
from harness import NEED_A_CLOSURE, NEED_NONE, build, every_recipe, everything, rows_like, same, take, train
from problem import bowl, gradients, parameters
from torch import nn

import edsl
from edsl.lab.closure import closure_for
from edsl.language.registry.recipes import RECIPES

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


@pytest.mark.parametrize("unscaled", [False, True])
@pytest.mark.parametrize("recipe", NEED_A_CLOSURE)
def test_a_grad_scaler_that_hands_on_a_closure_is_refused_and_a_step_without_it_is_as_ever(recipe, unscaled):
    params, optimizer = build(recipe)
    row = rows_like(params, 1)[0]
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    closure = closure_for(optimizer.pipeline, optimizer, lambda: scaler.scale(bowl(params, row)))
    scaler.scale(bowl(params, row)).backward()
    if unscaled:
        scaler.unscale_(optimizer)
    before = everything(optimizer, params)
    with pytest.raises(edsl.EdslError, match="a GradScaler can't unscale"):
        scaler.step(optimizer, closure)
    assert same(everything(optimizer, params), before)
    take(optimizer, params)
    others, other = build(recipe)
    take(other, others)
    assert same([p.detach() for p in params], [p.detach() for p in others])


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


@pytest.mark.parametrize("weights", ["nearest", None])
@pytest.mark.parametrize("recipe", NEED_NONE)
def test_a_half_precision_step_is_the_fp32_step_rounded_to_the_nearest_or_to_a_neighbour(recipe, weights):
    halves, optimizer = half(recipe, torch.bfloat16, weights=weights)
    singles, other = build(recipe, [nn.Parameter(p.detach().float()) for p in halves])
    row = gradients(1, [(4, 3), (7,)], torch.bfloat16)[0]
    for p, q, g in zip(halves, singles, row, strict=True):
        p.grad, q.grad = g, g.float()
    optimizer.step()
    other.step()
    for p, q in zip(halves, singles, strict=True):
        bits = q.detach().view(torch.int32) & -0x10000
        below, above = bits.view(torch.float32), (bits + 0x10000).view(torch.float32)
        near = (p == q.bfloat16()) if weights else (p == below) | (p == above)
        assert near.all()


@pytest.mark.parametrize(
    ("recipe", "mode"), [*((recipe, "eager") for recipe in RECIPES), ("alto", "compiled"), ("elion", "inductor")]
)
def test_a_step_inside_autocast_gives_the_bits_of_one_outside(recipe, mode):
    wide = {"sigma": 0.1} if recipe.startswith("ezo") else {}
    histories = []
    for inside in (False, True):
        params, optimizer = build(recipe, parameters([(4, 3), (5,)], torch.float32), mode=mode, **wide)
        x = torch.linspace(-1, 1, 24).view(6, 4)

        def loss(params=params, x=x):
            with torch.autocast("cpu", torch.bfloat16):  # of the closure, in both
                return (x @ params[0]).tanh().square().mean() + params[1].cosh().mean()

        closure = closure_for(optimizer.pipeline, optimizer, loss)
        for _ in range(3):
            with torch.autocast("cpu", torch.bfloat16, enabled=inside):
                optimizer.step(closure)
        histories.append([p.detach() for p in params])
    assert same(*histories)


def test_a_closure_inside_autocast_runs_under_it_and_sees_the_weights_of_now():
    (weight,) = params = parameters([(4, 3)], torch.float32)
    optimizer = edsl.compile("spsa(sigma=0.5) | sgd(lr=1)", params, mode="eager")
    x = torch.ones(2, 4)
    seen = []

    def loss():
        product = x @ weight
        seen.append((product.dtype, torch.equal(product, x.bfloat16() @ weight.bfloat16())))
        return product.square().mean()

    with torch.autocast("cpu", torch.bfloat16):
        for _ in range(2):
            optimizer.step(loss)
            loss()  # torch's own step would leave the old weight in autocast's cache
    assert seen == [(torch.bfloat16, True)] * 6


@pytest.mark.parametrize("name", ["torch.Muon(lr=0.1)", "torch.AdamW(lr=0.1)"])
def test_another_packages_optimizer_steps_inside_autocast_as_it_does_alone(name):
    histories = []
    for spec in (name, f"grad | e(alpha=0) | {name}"):
        params = parameters([(4, 3), (5, 4)], torch.float32)
        optimizer = edsl.compile(spec, params, mode="eager")
        for row in rows_like(params, 3):
            for p, g in zip(params, row, strict=True):
                p.grad = g
            with torch.autocast("cpu", torch.float16):
                optimizer.step()
        histories.append([p.detach() for p in params])
    assert same(*histories)


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
