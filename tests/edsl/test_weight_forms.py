"""Weights in half precision keep what their steps compute: by stochastic rounding, a compensation, or a low half."""

import copy
import io
import pickle
from dataclasses import dataclass
from itertools import product
from typing import ClassVar

import pytest
import torch
from problem import gradients, parameters, walk
from torch import nn

import edsl
import edsl.stage
from edsl.costs.memory import memory
from edsl.language.registry.stages import STAGES
from edsl.numerics.stochastic_rounding import key_of, nearest, rounded_within, words
from edsl.numerics.weights.forms import FORMS, form_of
from edsl.optim.state import state_bytes

HALVES = (torch.bfloat16, torch.float16)
KEEPING = ("stochastic", "kahan", "split")
RESTS = {"kahan": "weights.compensation", "split": "weights.low"}
# At a constant gradient of 1 the first take steps of lr, the others longer or shorter ones.
LONG = ["sgd", "adam", "adamw(weight_decay=0)", "adan(weight_decay=0)", "lion(weight_decay=0)"]
SCALED = ["sgd(momentum=0.9)", "qhm", "adabelief", "rmsprop", "lamb", "lars", "muon", "shampoo", "soap", "galore"]
SCALED += ["adahessian", "sophia", "psgd_kron"]


def held(optimizer, parameter):
    """The value of weights: with their compensation, or both halves joined."""
    form = form_of(optimizer.param_groups[0]["weights"], parameter.dtype)
    return form.join(parameter.detach(), optimizer.state[parameter].get(form.buffer)).double()


def stepped(spec, weights, steps, *, lr=None, dtype=torch.bfloat16, shape=(64, 64), mode="compiled"):
    """What weights of 1 hold after steps on a gradient of 1, or for who needs a Hessian, on that of Σ θ²/2."""
    theta = nn.Parameter(torch.ones(shape, dtype=dtype))
    optimizer = edsl.compile(spec, [theta], mode=mode, weights=weights, **({} if lr is None else {"lr": lr}))
    for _ in range(steps):
        theta.grad = torch.ones_like(theta)
        if optimizer.pipeline.estimator.needs_closure:
            optimizer.step(lambda: theta.float().square().sum() / 2)
        else:
            optimizer.step()
    return held(optimizer, theta)


def slow_but(quick, cases):
    marked = [(case if isinstance(case, tuple) else (case,), case in quick) for case in cases]
    return [pytest.param(*case, marks=() if is_quick else pytest.mark.slow) for case, is_quick in marked]


@pytest.mark.parametrize("weights", KEEPING)
@pytest.mark.parametrize("spec", slow_but(("sgd",), LONG))
def test_a_hundred_steps_of_1e_4_and_ten_thousand_of_1e_5_do_not_stall(spec, weights):
    assert abs(stepped(spec, weights, 100, lr=1e-4).mean() - 0.990) <= 0.001
    assert abs(stepped(spec, weights, 10_000, lr=1e-5).mean() - 0.900) <= 0.002


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float16], ids=str)
@pytest.mark.parametrize("weights", ["stochastic", "kahan"])
def test_float16_does_not_stall(weights, dtype):
    assert abs(stepped("sgd", weights, 100, lr=1e-4, dtype=dtype).mean() - 0.990) <= 0.001
    assert abs(stepped("sgd", weights, 10_000, lr=1e-5, dtype=dtype).mean() - 0.900) <= 0.002


def test_to_the_nearest_the_same_weights_stall():
    with pytest.warns(edsl.EdslWarning, match="round away"):
        assert (stepped("sgd", "nearest", 100, lr=1e-4) == 1).all()


@pytest.mark.parametrize(("spec", "weights"), slow_but([("lamb", "stochastic")], product(SCALED, KEEPING)))
def test_scaled_steps_go_as_far_as_those_of_float32_weights_within_1_percent(spec, weights):
    first = (1 - stepped(spec, None, 20, lr=1e-4, dtype=torch.float32)).mean()
    lr = 1e-4 * float(0.02 / first)  # 100 steps go some .1
    expected = (1 - stepped(spec, None, 100, lr=lr, dtype=torch.float32)).mean()
    assert abs((1 - stepped(spec, weights, 100, lr=lr)).mean() / expected - 1) <= 0.01


def test_every_update_is_among_those_that_are_tried():
    named = {spec.split("(")[0] for spec in (*LONG, *SCALED)}
    assert named == {name for name, place in STAGES.items() if ".updates." in place} - {"route"}  # which is several


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_rounding_at_random_is_right_on_average_among_normal_and_subnormal_numbers(dtype):
    for exact in (1.0003, -77.7, 1e-5, 3e-7, 4e-8):
        draws = rounded_within(torch.full((1 << 18,), exact), words((1 << 18,), torch.tensor(key_of("w", 3)), 1), dtype)
        draws = draws.double()
        assert len(draws.unique()) == 2
        single = float(torch.tensor(exact))
        assert abs(draws.mean() - single) <= 4 * draws.std() / 2**9, exact


ODD = [0.0, -0.0, float("inf"), -float("inf"), float("nan"), 65504.0, 65519.0, 65520.0, 7e4, 1e-45, -1e-40, 2.0**-25]
ODD += [3.3895e38, 3.3961e38, 3.4028e38, -3.3895e38, -3.4028e38, 1 + 2**-9, 1 + 2**-8, -(1 + 3 * 2**-9), 6e-8]


def some_floats():
    bits = torch.randint(-(2**31), 2**31, (200_000,), generator=torch.Generator().manual_seed(1))
    return torch.cat([torch.tensor(ODD), bits.to(torch.int32).view(torch.float32), torch.randn(10_000)])


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_rounding_is_infinite_where_the_nearest_is_and_keeps_signs_and_nan(dtype):
    x = some_floats()
    theirs = x.to(dtype)
    ours = rounded_within(x, words(x.shape, torch.tensor(9), 0), dtype)
    assert torch.equal(ours.isnan(), theirs.isnan())
    assert not (ours.isinf() & ~theirs.isinf()).any()
    known = ~x.isnan()
    assert torch.equal(ours[known].signbit(), x[known].signbit())
    again = nearest(x, dtype)
    assert torch.equal(again[known], theirs[known].float())
    assert torch.equal(again[known].signbit(), x[known].signbit())


def test_split_weights_are_exactly_float32():
    x = some_floats()
    theta, low = FORMS["split"].cut(x, torch.bfloat16, None)
    assert (theta.dtype, low.dtype) == (torch.bfloat16, torch.int16)
    joined = FORMS["split"].join(theta, low)
    known = ~x.isnan()
    assert torch.equal(joined[known].view(torch.int32), x[known].view(torch.int32))
    assert joined[~known].isnan().all()


@pytest.mark.parametrize(
    "spec", ["alto", "grad | clip(norm=0.1) | e | adamw | lookahead(every=2) | ema_weights", "emuon"]
)
def test_a_run_with_split_weights_is_that_of_float32_weights_bit_for_bit(spec):
    shapes = [(6, 5), (9,)]
    halves = parameters(shapes, torch.bfloat16)
    singles = [nn.Parameter(p.detach().float()) for p in halves]
    rows = [[g.bfloat16() for g in row] for row in gradients(5, shapes, torch.float32)]
    ours, theirs = (edsl.compile(spec, side, mode="eager", weights="split") for side in (halves, singles))
    walk(ours, halves, rows)
    walk(theirs, singles, [[g.float() for g in row] for row in rows])
    for p, q in zip(halves, singles, strict=True):
        assert torch.equal(FORMS["split"].join(p.detach(), ours.state[p]["weights.low"]), q)
        for name, buffer in theirs.state[q].items():
            assert torch.equal(ours.state[p][name], buffer), name


SPECS = [
    "grad | e | adamw(lr=0.01) | caution | decay",
    "alto",
    "grad | clip(norm=0.1) | sgd(momentum=0.9) | ema_weights",
]
CASES = [(form, torch.bfloat16) for form in FORMS] + [("stochastic", torch.float16), ("kahan", torch.float16)]


@pytest.mark.filterwarnings("ignore:.* round away")
@pytest.mark.parametrize(("weights", "dtype"), slow_but([CASES[1], CASES[4]], CASES), ids=str)
@pytest.mark.parametrize("mode", ["compiled", pytest.param("inductor", marks=pytest.mark.slow)])
def test_every_mode_keeps_the_same_bits_of_a_step(mode, weights, dtype):
    shapes = [(70, 50), (7,)]
    for spec in SPECS[1:] if weights == "kahan" else SPECS[:1]:
        sides = []
        for one in (mode, "eager"):
            params = parameters(shapes, dtype)
            optimizer = edsl.compile(spec, params, mode=one, weights=weights)
            walk(optimizer, params, gradients(3, shapes, dtype))
            sides.append((optimizer, params))
        for p, q in zip(*(params for _, params in sides), strict=True):
            same = (p == q).float().mean()
            assert same >= 0.99, (spec, "one bit of the arithmetic may tip a rounding over")
            torch.testing.assert_close(held(sides[0][0], p), held(sides[1][0], q), rtol=1e-2, atol=1e-3)


def test_a_step_of_plain_numbers_has_the_same_bits_natively_and_eagerly():
    for weights, dtype in CASES[:3] + CASES[4:]:
        ends = []
        for mode in ("compiled", "eager"):
            params = parameters([(70, 50)], dtype)
            optimizer = edsl.compile("sgd(lr=0.001)", params, mode=mode, weights=weights)
            walk(optimizer, params, gradients(4, [(70, 50)], dtype))
            ends.append([params[0].detach(), *optimizer.state[params[0]].values()])
        assert all(map(torch.equal, *ends)), (weights, dtype)


@pytest.mark.parametrize("spec", ["muon", "shampoo(every=2)", "muon(split=('q', 'k', 'v'))"])
@pytest.mark.parametrize("weights", slow_but(("kahan",), KEEPING))
def test_stacks_and_parts_of_matrices_step_as_alone(spec, weights):
    sides = []
    for mode in ("compiled", "eager"):
        params = parameters([(12, 4)] * 3, torch.bfloat16)
        optimizer = edsl.compile(spec, params, mode=mode, weights=weights)
        walk(optimizer, params, gradients(3, [(12, 4)] * 3, torch.bfloat16))
        sides.append([held(optimizer, p) for p in params])
    for ours, theirs in zip(*sides, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("weights", KEEPING)
def test_repeated_steps_draw_new_noise_and_are_general_ones_bit_for_bit(weights):
    ends = []
    for repeated in (True, False):
        params = parameters([(40, 30), (7,)], torch.bfloat16)
        optimizer = edsl.compile("sgd(lr=1e-3)", params, weights=weights)
        for row in gradients(6, [(40, 30), (7,)], torch.bfloat16):
            for parameter, gradient in zip(params, row, strict=True):
                parameter.grad = gradient
            if not repeated:
                optimizer.engine.forget_plans()
            optimizer.step()
        assert optimizer.engine.can_replay == repeated
        ends.append([*params, *(value for p in params for value in optimizer.state[p].values())])
    assert all(map(torch.equal, *ends))


@pytest.mark.parametrize("weights", ["stochastic", "kahan"])
def test_any_number_of_threads_gives_the_same_bits(weights):
    ends, before = [], torch.get_num_threads()
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            params = parameters([(300, 250)], torch.bfloat16)
            optimizer = edsl.compile("alto", params, weights=weights)
            walk(optimizer, params, gradients(2, [(300, 250)], torch.bfloat16))
            ends.append([params[0].detach(), *optimizer.state[params[0]].values()])
    finally:
        torch.set_num_threads(before)
    assert all(map(torch.equal, *ends))


@dataclass(frozen=True)
class Seen(edsl.stage.Adaptor):
    """Lets the value of θ itself flow on."""

    name: ClassVar[str] = "seen"

    def step(self, g, memory, at):
        return at.theta + 0 * g, memory


@pytest.mark.parametrize(("mode", "weights"), [("compiled", "kahan"), ("eager", "split")])
def test_stages_before_and_behind_a_norm_see_the_joined_value(mode, weights):
    theta = nn.Parameter(torch.ones(4096, dtype=torch.bfloat16))
    optimizer = edsl.compile(
        edsl.grad() | Seen() | edsl.clip(norm=1e9) | edsl.sgd(lr=1e-4), [theta], mode=mode, weights=weights
    )
    for _ in range(100):
        theta.grad = torch.ones_like(theta)
        optimizer.step()
    assert abs(held(optimizer, theta).mean() - (1 - 1e-4) ** 100) <= 2e-5


def through_a_file(checkpoint):
    file = io.BytesIO()
    torch.save(checkpoint, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


@pytest.mark.parametrize("weights", KEEPING)
def test_model_and_optimizer_resume_bit_for_bit_from_a_file_a_copy_and_a_pickle(weights):
    shapes = [(6, 5), (9,)]
    rows = gradients(6, shapes, torch.bfloat16)
    params = parameters(shapes, torch.bfloat16)
    optimizer = edsl.compile("alto", params, mode="eager", weights=weights)
    walk(optimizer, params, rows[:3])
    saved = through_a_file({"model": [p.detach() for p in params], "optimizer": optimizer.state_dict()})
    assert saved["optimizer"]["param_groups"][0]["weights"] == weights
    others = [copy.deepcopy((params, optimizer)), pickle.loads(pickle.dumps((params, optimizer)))]
    twins = [nn.Parameter(value) for value in saved["model"]]
    twin = edsl.compile("alto", twins, mode="eager", weights=weights)
    twin.load_state_dict(saved["optimizer"])
    walk(optimizer, params, rows[3:])
    for side, one in [*others, (twins, twin)]:
        walk(one, side, rows[3:])
        for p, q in zip(params, side, strict=True):
            assert torch.equal(p, q)
            assert all(torch.equal(value, one.state[q][name]) for name, value in optimizer.state[p].items())


def trained(weights, dtype=torch.bfloat16, **options):
    params = parameters(dtype=dtype)
    optimizer = edsl.compile("adamw", params, mode="eager", weights=weights, **options)
    walk(optimizer, params, gradients(2, dtype=dtype))
    return params, optimizer


@pytest.mark.filterwarnings("ignore:.* round away")
def test_a_checkpoint_of_another_form_is_refused_with_both_named_or_reformatted():
    for theirs in FORMS:
        saved = trained(theirs)[1].state_dict()
        for ours in FORMS:
            params, optimizer = trained(ours)
            before = copy.deepcopy(optimizer.state_dict())
            if ours == theirs:
                optimizer.load_state_dict(saved)
                continue
            with pytest.raises(edsl.EdslError, match=f"keeps weights as '{theirs}', this optimizer as '{ours}'"):
                optimizer.load_state_dict(saved)
            assert before["param_groups"] == optimizer.state_dict()["param_groups"]
            optimizer.reformat = True
            optimizer.load_state_dict(saved)
            assert optimizer.param_groups[0]["weights"] == ours
            walk(optimizer, params, gradients(1, dtype=torch.bfloat16))
            rests = set(RESTS.values()).intersection(optimizer.state[params[0]])
            assert rests == ({RESTS[ours]} if ours in RESTS else set())


def test_old_checkpoints_load_and_lost_rests_are_told():
    _, optimizer = trained("stochastic")
    saved = copy.deepcopy(optimizer.state_dict())
    del saved["param_groups"][0]["weights"]
    trained(None)[1].load_state_dict(saved)
    with pytest.raises(edsl.EdslError, match=r"has no weights.low; with reformat=True it begins at 0"):
        trained("split")[1].load_state_dict(saved)
    params, optimizer = trained("split", reformat=True)
    optimizer.load_state_dict(saved)
    walk(optimizer, params, gradients(1, dtype=torch.bfloat16))
    bad = copy.deepcopy(optimizer.state_dict())
    bad["state"][0]["weights.low"] = bad["state"][0]["weights.low"].float()
    with pytest.raises(edsl.EdslError, match=r"weights.low must be a dense torch.int16 tensor"):
        optimizer.load_state_dict(bad)


@pytest.mark.parametrize(("theirs", "ours"), [HALVES, HALVES[::-1]])
def test_a_compensation_of_other_half_precision_is_refused_with_both_named_or_begins_at_0(theirs, ours):
    saved = trained("kahan", theirs)[1].state_dict()
    params, optimizer = trained("kahan", ours)
    with pytest.raises(edsl.EdslError, match=f"keeps weights.compensation of {theirs} weights, these are {ours}; with"):
        optimizer.load_state_dict(saved)
    optimizer.reformat = True
    optimizer.load_state_dict(saved)
    assert "weights.compensation" not in optimizer.state[params[0]]
    walk(optimizer, params, gradients(1, dtype=ours))
    assert optimizer.state[params[0]]["weights.compensation"].dtype is ours


def test_the_form_does_not_matter_to_float32_weights():
    saved = trained("kahan", torch.float32)[1].state_dict()
    params, optimizer = trained("split", torch.float32)
    optimizer.load_state_dict(saved)
    assert optimizer.param_groups[0]["weights"] == "split"
    assert set(optimizer.state[params[0]]) == {"step", "adamw.m", "adamw.v"}


@pytest.mark.parametrize("weights", ["kahan", "split"])
@pytest.mark.parametrize("change", [torch.zero_, lambda p: p.fill_(0.001), lambda p: p.clamp_(max=0.1)])
def test_weights_that_somebody_sets_between_steps_are_taken_up_to_half_of_their_last_bit(weights, change):
    theta = nn.Parameter(torch.full((512,), 100.0, dtype=torch.bfloat16))
    optimizer = edsl.compile("sgd(lr=0.01)", [theta], weights=weights)
    for _ in range(7):
        theta.grad = torch.ones_like(theta)
        optimizer.step()
    change(theta.data)
    value = held(optimizer, theta)
    assert ((value - theta.double()).abs() <= 2.0**-8 * theta.double().abs() + 1e-40).all()
    theta.grad = torch.zeros_like(theta)
    before = theta.detach().clone()
    optimizer.step()
    assert torch.equal(theta, before)


def test_groups_and_dtypes_may_mix():
    halves, singles = parameters(dtype=torch.bfloat16), parameters([(4,)], torch.float32)
    groups = [{"params": [halves[0], *singles]}, {"params": halves[1:], "weights": "kahan"}]
    optimizer = edsl.compile("alto", groups, weights="split")
    walk(
        optimizer,
        [halves[0], *singles, *halves[1:]],
        [[torch.ones_like(p) for p in (halves[0], *singles, *halves[1:])]],
    )
    names = [set(optimizer.state[p]) & set(RESTS.values()) for p in (halves[0], singles[0], halves[1])]
    assert names == [{"weights.low"}, set(), {"weights.compensation"}]
    assert "weights: kahan" in repr(optimizer)
    optimizer.param_groups[1]["weights"] = "stochastic"
    walk(optimizer, [halves[1]], [[torch.ones_like(halves[1])]])
    assert not set(optimizer.state[halves[1]]) & set(RESTS.values())


def test_views_that_are_not_dense_keep_a_rest_too():
    whole = torch.ones(64, 128, dtype=torch.bfloat16)
    theta = nn.Parameter(whole[:, ::2])
    optimizer = edsl.compile("sgd(lr=1e-4)", [theta], weights="split")
    for _ in range(100):
        theta.grad = torch.ones_like(theta)
        optimizer.step()
    assert abs(held(optimizer, theta).mean() - 0.990) <= 1e-5
    assert (whole[:, 1::2] == 1).all()


BAD = [
    ("sgd", {"weights": "fp8"}, "weights must be stochastic, kahan, split or nearest, got 'fp8'"),
    ("sgd", {"weights": 3}, "weights must be"),
    ("sgd", {"reformat": 1}, "reformat must be True or False, got 1"),
    ("torch.SGD(lr=0.1)", {"weights": "kahan"}, "torch.SGD moves the weights itself"),
    ("grad | e | torch.SGD(lr=0.1)", {"weights": "kahan"}, "torch.SGD moves the weights itself"),
]


@pytest.mark.parametrize(("spec", "options", "said"), BAD)
def test_what_can_not_be_kept_is_one_line(spec, options, said):
    with pytest.raises(edsl.EdslError, match=said) as told:
        edsl.compile(spec, parameters(dtype=torch.bfloat16), **options)
    assert "\n" not in str(told.value)


def test_no_stage_is_called_as_what_is_kept_beside_weights():
    rule = "@update\ndef weights(u, *, lr=0.1):\n    low = low + u\n    return -lr * low\n\nweights"
    with pytest.raises(edsl.EdslError, match="can't be called weights"):
        edsl.parse(rule)


def test_split_of_float16_is_refused_by_name():
    with pytest.raises(edsl.EdslError, match="weights='split' takes bfloat16; parameter w is float16: use"):
        edsl.compile("sgd", [("w", *parameters([(3,)], torch.float16))], weights="split")


@pytest.mark.parametrize(("weights", "extra"), [("stochastic", 0), ("kahan", 2), ("split", 2)])
@pytest.mark.parametrize("spec", ["alto", "emuon"])
def test_planned_state_is_that_of_an_optimizer(spec, weights, extra):
    shapes = {"a.weight": (6, 4), "b.bias": (5,)}
    params = [(name, nn.Parameter(torch.ones(shape, dtype=torch.bfloat16))) for name, shape in shapes.items()]
    optimizer = edsl.compile(spec, params, mode="eager", weights=weights)
    walk(optimizer, [p for _, p in params], gradients(1, list(shapes.values()), torch.bfloat16))
    planned = memory(spec, shapes, "bfloat16", weights=weights)
    assert planned.state == state_bytes(optimizer) == memory(spec, shapes, "bfloat16").state + extra * 29
