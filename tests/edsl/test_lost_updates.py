"""Updates that rounding to the nearest loses are told once, and no others are."""

import warnings

import pytest
import torch
from torch.nn import Parameter

import edsl

STEPS = 9


def told(spec, params, gradient=torch.ones_like, steps=STEPS, mode="eager", **options):
    """What is warned of, with the line it points at."""
    optimizer = edsl.compile(spec, params, mode=mode, **{"weights": "nearest", **options})
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(steps):
            for group in optimizer.param_groups:
                for p in group["params"]:
                    p.grad = gradient(p)
            optimizer.step()
    return [warning for warning in caught if issubclass(warning.category, edsl.errors.EdslWarning)]


def ones(*shapes, dtype=torch.bfloat16):
    return [Parameter(torch.ones(shape, dtype=dtype)) for shape in shapes]


@pytest.mark.parametrize("mode", ["compiled", pytest.param("inductor", marks=pytest.mark.slow), "eager"])
def test_weights_that_stay_as_they_are_are_told_at_the_users_line_in_every_mode(mode):
    (weight,) = params = ones((40, 30))
    (warning,) = told("adamw(lr=1e-4)", [("w", weight)], mode=mode)
    said = str(warning.message)
    assert said.startswith(
        "adamw: 100% of the updates of 1 of the 1 parameters in half precision that step 1 would move (w)"
    )
    assert "bfloat16" in said
    assert "Let weights='stochastic', 'kahan' or 'split' keep them" in said
    assert warning.filename == __file__
    assert (params[0] == 1).all(), "the premise: nothing has moved"


@pytest.mark.parametrize(
    "spec",
    [
        "lion(lr=1e-4)",
        "alto(lr=1e-4)",
        "sgd(lr=1e-4, momentum=0.9)",
        "grad(accumulate=3) | adamw(lr=1e-4)",
        "grad | clip(norm=1) | noise | adamw(lr=1e-4) | caution",
        "route(matrix=muon(lr=1e-4), other=adamw(lr=1e-4))",
        "shampoo(lr=1e-4)",
    ],
)
@pytest.mark.parametrize("shape", [(40, 30), (400, 300)])
def test_it_is_told_of_whatever_pipeline_and_size(spec, shape):
    assert len(told(spec, [("w", *ones(shape))])) == 1


@pytest.mark.parametrize("form", [None, "stochastic", "kahan", "split"])
def test_nothing_is_told_of_weights_that_keep_what_a_step_computes(form):
    assert told("adamw(lr=1e-4)", ones((40, 30)), weights=form) == []


def test_the_share_is_that_of_the_elements_that_stay():
    small = Parameter(torch.cat([torch.full((300,), 1.0), torch.full((100,), 1e-3)]).bfloat16())
    before = small.detach().clone()
    (warning,) = told("sgd(lr=1e-4)", [("w", small)], steps=1)
    assert (small == before).float().mean() == 0.75
    assert "75% of the updates" in str(warning.message)


@pytest.mark.parametrize("mode", ["compiled", "eager"])
@pytest.mark.parametrize(
    ("spec", "gradient"),
    [
        ("adamw(lr=1e-4, weight_decay=0)", torch.zeros_like),
        ("adamw(lr=0)", torch.ones_like),
        ("adamw(lr=0.1)", torch.ones_like),
        ("grad | guard | adamw(lr=1e-4)", lambda p: p.detach() * float("nan")),
        ("soap(lr=0.1)", torch.ones_like),
        ("adamw(lr=1e-12)", torch.ones_like),  # float32 would not move either
    ],
)
def test_nothing_is_told_of_weights_that_have_nowhere_to_go_or_move(spec, gradient, mode):
    if "soap" in spec and mode == "compiled":
        pytest.skip("its first step, which moves nothing, is the same uncompiled")
    assert told(spec, ones((20, 3)), gradient, steps=2, mode=mode) == []


def test_nothing_is_told_of_float32_and_of_an_element_in_two_that_moves():
    assert told("adamw(lr=1e-4)", ones((20, 3), dtype=torch.float32)) == []
    halves = Parameter(torch.tensor([1.0, 1e-3] * 50).bfloat16())
    assert told("adamw(lr=1e-4, weight_decay=0)", [halves], steps=1) == []


def test_updates_that_round_away_later_are_found_at_steps_twice_as_far_each_time():
    (weight,) = ones((20,))
    optimizer = edsl.compile("sgd(lr=0.1)", [weight], weights="nearest")
    said = []
    for k in range(1, 17):
        weight.grad = torch.ones_like(weight)
        optimizer.param_groups[0]["lr"] = 0.1 if k < 6 else 1e-6
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            optimizer.step()
        said += [k for _ in caught]
    assert said == [8], "once, at the first of the steps 1, 2, 4, 8, 16 that lose"


def test_a_look_changes_no_bit():
    histories = []
    for seen in (True, False):
        params = ones((40, 30), (7,))
        spec = "grad | e | noise | alto(lr=1e-3) | caution"
        optimizer = edsl.compile(spec, params, state_dtype="bfloat16", weights="nearest")
        optimizer._steps.warned = not seen
        for k in range(5):
            for p in params:
                p.grad = torch.full_like(p, 0.1 + k)
            optimizer.step()
        state = [value for p in params for value in optimizer.state[p].values()]
        histories.append([*(p.detach() for p in params), *state])
    assert all(torch.equal(a, b) for a, b in zip(*histories, strict=True))
