"""What training stacks ask of an optimizer beside stepping: climbing, AMP, reordered checkpoints, small state."""

import copy
import inspect
import io

import pytest
import torch
from problem import gradients, parameters, walk, worst
from torch import nn

import edsl

SPECS = [
    "alto",
    "esgd",
    "emuon",
    "eshampoo",
    "hutchinson(every=2) | e | sophia(lr=0.01)",
    "spsa | e | adam",
    "esam_sgd",
]


@pytest.mark.parametrize("bad", [1, "yes", None])
def test_maximize_is_true_or_false(bad):
    with pytest.raises(edsl.EdslError, match="maximize must be True or False"):
        edsl.compile("sgd", parameters(), maximize=bad)


def test_every_way_to_make_an_optimizer_takes_the_same_options():
    def options(function):
        parameters = inspect.signature(function).parameters.values()
        return {one.name for one in parameters if one.kind is inspect.Parameter.KEYWORD_ONLY}

    makers = (edsl.compile, edsl.attach, edsl.PipelineOptimizer)
    assert all(options(maker) == options(edsl.AdamW) - {"batch_size"} for maker in makers)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (
            lambda model: edsl.adamw(model.parameters(), lr=0.1),
            r"edsl.compile\(edsl.adamw\(\), params\) is an optimizer",
        ),
        (lambda model: edsl.eadamw(model), r"edsl.compile\(edsl.eadamw\(\), params\) is an optimizer"),
        (lambda model: edsl.clip(1.0), "edsl.clip takes its arguments by name, got 1.0 without one$"),
        (lambda model: edsl.compile(model, "adamw"), "got Linear; the spec comes first, then the parameters"),
        (lambda model: edsl.attach(model, "adamw"), "got Linear; the spec comes first, then the parameters"),
    ],
)
def test_parameters_in_the_wrong_place_are_an_error_that_says_where_they_go(wrong, said):
    with pytest.raises(edsl.EdslError, match=said):
        wrong(torch.nn.Linear(3, 1))


def test_a_checkpoint_of_another_packages_optimizer_finds_reordered_parameters_by_name():
    names, rows = ["a", "b", "c"], gradients(6)
    order = [2, 0, 1]
    spec = "grad | e | torch.AdamW(lr=0.01)"
    params = parameters()
    optimizer = edsl.compile(spec, list(zip(names, params)), mode="eager")
    walk(optimizer, params, rows[:3])
    saved = copy.deepcopy(optimizer.state_dict())
    twins = copy.deepcopy(params)
    twin = edsl.compile(spec, [(names[i], twins[i]) for i in order], mode="eager")
    twin.load_state_dict(saved)
    assert worst(walk(twin, twins, rows[3:]), walk(optimizer, params, rows[3:])) == 0


@pytest.mark.parametrize("mode", ["eager", "compiled"])
@pytest.mark.parametrize("spec", ["alto", "emuon", "grad | shampoo(every=2)"])
def test_state_has_the_dtype_that_is_asked_for_and_resumes_bit_for_bit(spec, mode):
    shapes = [(4, 3), (5, 2)]
    rows = gradients(8, shapes, dtype=torch.float32)

    def build(params):
        return edsl.compile(spec, params, mode=mode, state_dtype="bfloat16")

    params = parameters(shapes, dtype=torch.float32)
    optimizer = build(params)
    walk(optimizer, params, rows[:4])
    buffers = [b for p in params for name, b in optimizer.state[p].items() if name != "step"]
    assert {b.dtype for b in buffers} == {torch.bfloat16}
    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    file.seek(0)
    twins = copy.deepcopy(params)
    twin = build(twins)
    twin.load_state_dict(torch.load(file, weights_only=True))
    assert worst(walk(twin, twins, rows[4:]), walk(optimizer, params, rows[4:])) == 0
    assert optimizer.fallbacks == []


def test_bfloat16_state_stays_near_float32_state():
    rows = gradients(50, dtype=torch.float32)
    histories = []
    for dtype in (None, torch.bfloat16):
        params = parameters(dtype=torch.float32)
        optimizer = edsl.compile("grad | e(beta1=0.9) | adamw(lr=0.01, beta3=0.9)", params, state_dtype=dtype)
        histories.append(walk(optimizer, params, rows))
    for a, b in zip(histories[0][-1], histories[1][-1], strict=True):
        assert 0 < (a - b).norm() <= 0.05 * a.norm()


@pytest.mark.parametrize("bad", ["int16", torch.int32, "half-float", 16, "bf16"])
def test_a_state_dtype_that_is_none_is_an_edsl_error(bad):
    with pytest.raises(edsl.EdslError, match="state_dtype must be float32"):
        edsl.compile("sgd", parameters(), state_dtype=bad)


def test_options_of_edsl_are_refused_for_another_packages_optimizer():
    with pytest.raises(edsl.EdslError, match="own arguments"):
        edsl.compile("torch.AdamW(lr=0.1)", parameters(), maximize=True)
    with pytest.raises(edsl.EdslError, match="own arguments"):
        edsl.compile("grad | e | torch.AdamW(lr=0.1)", parameters(), state_dtype="bfloat16")


def test_a_tied_weight_takes_one_route():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = nn.Embedding(6, 4)
            self.head = nn.Linear(4, 6, bias=False)
            self.head.weight = self.embed.weight

        def forward(self, tokens):
            return self.head(self.embed(tokens))

    model = Tied()
    optimizer = edsl.compile("route(embedding=adamw, other=muon)", model, mode="eager")
    assert [group["param_names"] for group in optimizer.param_groups] == [["embed.weight"]]
    model(torch.arange(6)).square().mean().backward()
    before = model.head.weight.detach().clone()
    optimizer.step()
    assert (model.head.weight != before).any()


@pytest.mark.parametrize("spec", ["grad | e | torch.AdamW(lr=0.1)", "grad(accumulate=2) | sgd | ema_weights"])
def test_a_checkpoint_with_more_than_buffers_loads_again_and_into_copies(spec):
    params = parameters()
    optimizer = edsl.compile(spec, params, mode="eager")
    walk(optimizer, params, gradients(2))
    saved = copy.deepcopy(optimizer.state_dict())
    for _ in range(2):
        optimizer.load_state_dict(copy.deepcopy(saved))
    copy.deepcopy(optimizer).load_state_dict(copy.deepcopy(saved))


@pytest.mark.parametrize(
    "spec", ["grad(accumulate=2) | torch.AdamW(lr=0.1)", "grad(accumulate=3) | e | torch.SGD(lr=0.1)"]
)
def test_a_checkpoint_from_before_the_first_whole_step_loads(spec):
    params = parameters()
    optimizer = edsl.compile(spec, params, mode="eager")
    walk(optimizer, params, gradients(1))
    twins = copy.deepcopy(params)
    twin = edsl.compile(spec, twins, mode="eager")
    twin.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    rows = gradients(5)
    assert worst(walk(twin, twins, rows), walk(optimizer, params, rows)) == 0


@pytest.mark.parametrize("calls", [3, 7, 2**70, -1, 1.5])
def test_a_checkpoint_with_impossible_calls_is_refused(calls):
    params = parameters()
    optimizer = edsl.compile("grad(accumulate=3) | sgd", params, mode="eager")
    walk(optimizer, params, gradients(1))
    saved = copy.deepcopy(optimizer.state_dict())
    saved["param_groups"][0]["calls"] = calls
    with pytest.raises(edsl.EdslError, match="calls must be"):
        optimizer.load_state_dict(saved)


def test_a_pipelines_own_text_parses_back_whatever_its_patterns_hold():
    routes = [(f"blk{i}.#*" + "(" * 25, edsl.adamw(lr=0.001 * (i + 1))) for i in range(200)]
    pipeline = edsl.grad() | edsl.route(*routes, other=edsl.sgd())
    assert len(str(pipeline)) > 10_000
    assert edsl.parse(str(pipeline)) == pipeline
