"""The contract, tensors: every layout, mixed dtypes, and another default dtype."""

import pytest
import torch
from harness import NEED_NONE, build, descend, every_recipe, everything, rows_like, same, take
from problem import parameters
from torch.nn import Parameter

import edsl
from edsl.lab.closure import closure_for


def layouts():
    generator = torch.Generator().manual_seed(5)

    def draw(*shape):
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    return {
        "transposed": draw(5, 3).t(),
        "channels last": draw(2, 3, 4, 4).to(memory_format=torch.channels_last),
        "strided": draw(6, 8)[:, ::2],
        "0-d": draw(),
        "one element": draw(1, 1),
        "empty": draw(0, 3),
        "an empty vector": draw(0),
        "a row of a matrix": draw(4, 6)[1],
        "a column of a matrix": draw(4, 6)[:, 1],
    }


def turned(tensor):
    """The same values with strides of another order."""
    return tensor.t().contiguous().t() if tensor.dim() == 2 else tensor


@every_recipe
def test_every_layout_steps_like_a_contiguous_twin_and_keeps_its_strides(recipe):
    params = [Parameter(tensor) for tensor in layouts().values()]
    twins = [Parameter(p.detach().contiguous().clone()) for p in params]
    before = [(p.stride(), p.untyped_storage().data_ptr()) for p in params]
    _, optimizer = build(recipe, params)
    _, twin = build(recipe, twins)
    for step in range(3):
        for side, changed, turn in ((optimizer, params, turned), (twin, twins, torch.clone)):
            generator = torch.Generator().manual_seed(step)
            row = [torch.randn(p.shape, generator=generator, dtype=p.dtype) for p in changed]

            def loss(changed=changed, row=row):
                return sum((p * g).sum() + p.cosh().sum() / 100 for p, g in zip(changed, row, strict=True))

            if side.pipeline.estimator.needs_closure:
                side.step(closure_for(side.pipeline, side, loss))
                continue
            for p, g in zip(changed, row, strict=True):
                p.grad = turn(g)
            side.step()
    for name, p, q in zip(layouts(), params, twins, strict=True):
        torch.testing.assert_close(p, q, rtol=1e-7, atol=1e-9, msg=lambda said, name=name: f"{name}: {said}")
    assert [(p.stride(), p.untyped_storage().data_ptr()) for p in params] == before


@every_recipe
def test_what_lies_between_a_strided_parameters_elements_is_left_alone(recipe):
    whole = torch.ones(6, 8, dtype=torch.float64)
    params = [Parameter(whole[:, ::2])]
    _, optimizer = build(recipe, params)
    take(optimizer, params, 2)
    assert (whole[:, ::2] != 1).any()
    assert (whole[:, 1::2] == 1).all()


@every_recipe
def test_mixed_dtypes_step_side_by_side_each_in_its_own(recipe):
    dtypes = (torch.float64, torch.float32, torch.bfloat16)
    wide = {"sigma": 0.1} if recipe.startswith("ezo") else {}
    params = [p for seed, dtype in enumerate(dtypes) for p in parameters([(4, 3), (7,)], dtype, seed)]
    before = [p.detach().clone() for p in params]
    _, optimizer = build(recipe, params, lr=0.01, **wide)
    descend(optimizer, params, 3)
    assert [p.dtype for p in params] == [p.dtype for p in before]
    assert all(p.isfinite().all() for p in params)
    for p in params:
        expected = torch.float32 if p.dtype == torch.bfloat16 else p.dtype
        assert {value.dtype for key, value in optimizer.state[p].items() if key != "step"} == {expected}


@pytest.mark.parametrize("recipe", NEED_NONE)
def test_a_parameter_steps_among_other_dtypes_as_it_steps_alone(recipe):
    def each():
        return [parameters([(4, 3)], dtype)[0] for dtype in (torch.float64, torch.float32, torch.bfloat16)]

    together = each()
    named = [(f"p{place}", p) for place, p in enumerate(together)]  # by their names noise is drawn
    take(build(recipe, named, exclude=())[1], together)
    for place, p in enumerate(each()):
        _, alone = build(recipe, [(f"p{place}", p)], exclude=())
        p.grad = rows_like(together, 1)[0][place]
        alone.step()
        assert torch.equal(p, together[place])


@every_recipe
def test_a_default_dtype_of_float64_changes_no_bit(recipe):
    runs = []
    for dtype in (torch.float32, torch.float64):
        torch.set_default_dtype(dtype)
        try:
            params, optimizer = build(recipe, parameters([(4, 3), (7,)], torch.float32))
            descend(optimizer, params, 3)
            runs.append(everything(optimizer, params))
        finally:
            torch.set_default_dtype(torch.float32)
    assert same(*runs)


@every_recipe
@pytest.mark.parametrize(
    "tensor",
    [
        torch.zeros(2, 2, dtype=torch.complex64),
        torch.zeros(1, 3).expand(2, 3),
        torch.zeros(9).as_strided((4, 3), (1, 1)),
        torch.zeros(2, 2).to(torch.float8_e4m3fn),
        torch.zeros(2, 2).to(torch.int32),
    ],
    ids=["complex", "expanded", "overlapping", "float8", "whole numbers"],
)
def test_a_parameter_that_can_not_be_stepped_is_refused_at_once(tensor, recipe):
    with pytest.raises(edsl.EdslError, match=r"a parameter (is|has) "):
        build(recipe, [Parameter(tensor, requires_grad=tensor.dtype != torch.int32)])


@every_recipe
def test_an_empty_parameter_has_state_and_a_step_count(recipe):
    params = [Parameter(torch.zeros(0, 3, dtype=torch.float64)), *parameters()]
    _, optimizer = build(recipe, params)
    take(optimizer, params, 2)
    assert [int(optimizer.state[p]["step"]) for p in params] == [2, 2, 2, 2]
