"""State in codes of 8 and 4 bits: right on average, alike in every mode, resumed bit for bit, in a byte a buffer."""

import io

import pytest
import torch
from problem import gradients, parameters, walk
from transformers.pytorch_utils import Conv1D

import edsl
from edsl.costs.memory import memory
from edsl.lab.benchmarks.parameter_sets import parameter_set
from edsl.numerics.formats.catalogue import FORMATS
from edsl.numerics.formats.layout import BLOCK
from edsl.optim.state import state_bytes

SHAPES = [(20, 300), (3, 70), (1000,), (7,), (300, 5), (8, 7, 3, 3)]
FORM = pytest.mark.parametrize("name", FORMATS)


def random_words(count, seed):
    return torch.randint(0, 1 << 32, (count,), generator=torch.Generator().manual_seed(seed), dtype=torch.int64)


def kept(form, x, seed):
    """Values after they were codes once."""
    rows = form.shape(tuple(x.shape))[0]
    packed = form.packed(x.reshape(-1), rows, random_words(x.numel(), seed))
    assert tuple(packed.shape) == form.shape(tuple(x.shape))
    return form.unpacked(packed, x.numel(), x.dtype).view(x.shape)


@FORM
@pytest.mark.parametrize("shape", [(4, 300), (1000,), (33, 10)])
def test_codes_are_right_on_average_within_5_standard_errors(name, shape):
    generator = torch.Generator().manual_seed(0)
    magnitudes = torch.logspace(-9, 3, 1 + torch.Size(shape).numel() // BLOCK).repeat_interleave(BLOCK)
    magnitudes = magnitudes[: torch.Size(shape).numel()].view(shape)
    for values in (torch.randn(shape, generator=generator), 0.1 + torch.rand(shape, generator=generator)):
        values = values * magnitudes
        draws = torch.stack([kept(FORMATS[name], values, seed) for seed in range(100)]).double()
        error = (draws.mean(0) - values).sum() / draws.var(0).div(100).sum().sqrt()
        assert abs(float(error)) < 5


@FORM
def test_every_value_of_a_code_stays_as_it_is_and_zero_is_exact(name):
    form = FORMATS[name]
    codes = torch.arange(1 << form.bits, dtype=torch.int32)
    for is_unsigned in (True, False):
        flag = torch.tensor(is_unsigned)
        values = form.value(codes, flag)
        inside = (values.abs() <= form.tops[0 if is_unsigned else 1]) & ((values >= 0) | (not is_unsigned))
        assert float(form.value(torch.zeros(1, dtype=torch.int32), flag)) == 0
        for word in (0, 1 << 31, (1 << 32) - 1):
            again = form.value(form.code(values, torch.full(codes.shape, word, dtype=torch.int64), flag), flag)
            assert torch.equal(again[inside], values[inside])
    assert torch.equal(kept(form, torch.zeros(3, 300), 1), torch.zeros(3, 300))


@pytest.mark.parametrize("name", ["float8_e4m3fn", "float8_e5m2"])
def test_codes_of_8_bit_floats_are_those_of_torch(name):
    codes = torch.arange(256, dtype=torch.int32)
    theirs = codes.to(torch.uint8).view(getattr(torch, name)).float() * 2.0 ** -FORMATS[name].top
    ours = FORMATS[name].value(codes, torch.tensor(False))
    assert torch.equal(ours[theirs.isfinite()], theirs[theirs.isfinite()])


@FORM
def test_a_positive_second_moment_never_becomes_0_and_what_is_not_finite_stays_so(name):
    x = torch.logspace(-40, 0, 600)
    assert (kept(FORMATS[name], x, 0) > 0).all()
    for strange in (float("inf"), float("nan")):
        spoilt = x.clone()
        spoilt[3] = strange
        found = kept(FORMATS[name], spoilt, 0)
        assert found[:BLOCK].isnan().all()
        assert found[BLOCK:].isfinite().all()


@pytest.mark.parametrize("scale", [1e-37, 1e-30, 1e30, 8e37])
def test_blocks_of_any_magnitude_keep_their_values_within_an_eighth(scale):
    x = torch.linspace(0.1, 1, 512) * scale
    ratio = kept(FORMATS["int8"], x, 0) / x
    assert (ratio - 1).abs().max() < 0.125


def biases(decay, steps, seeds, name):
    """The relative bias of an EMA's mean over blocks from 10⁻¹² to 10³, one for each seed."""
    found = []
    magnitudes = torch.logspace(-12, 3, 16).repeat_interleave(BLOCK)
    for seed in range(seeds):
        weight = torch.nn.Parameter(torch.zeros(magnitudes.shape))
        spec = f"sgd(lr=0, momentum={decay}, average='ema')"
        optimizer = edsl.compile(spec, [weight], state_dtype=name)
        generator, exact = torch.Generator().manual_seed(seed), torch.zeros(magnitudes.shape, dtype=torch.float64)
        for _ in range(steps):
            weight.grad = magnitudes * (1 + torch.randn(magnitudes.shape, generator=generator))
            exact = decay * exact + (1 - decay) * weight.grad.double()
            optimizer.step()
        (m,) = (value for key, value in edsl.decoded_state(optimizer, weight).items() if key != "step")
        found.append(float(((m.double() - exact) / magnitudes).mean() / (exact / magnitudes).mean()))
    return torch.tensor(found)


@pytest.mark.parametrize(
    ("decay", "steps", "seeds"),
    [
        (0.999, 1500, 1),
        *(pytest.param(decay, 10_000, 5, marks=pytest.mark.slow) for decay in (0.9, 0.99, 0.999, 0.9999)),
    ],
)
def test_an_average_in_int8_is_biased_by_less_than_1_percent(decay, steps, seeds):
    assert abs(float(biases(decay, steps, seeds, "int8").mean())) < 0.01


@pytest.mark.parametrize(
    ("decay", "mean", "documented"),
    [
        (0.9, 0.0, 0.044),
        (0.99, 0.0, 0.134),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in ((0.99, 1.0, 0.113), (0.999, 0.0, 0.436), (0.999, 1.0, 0.131))
        ),
    ],
)
def test_the_noise_of_an_average_in_int8_is_what_is_documented_within_a_tenth(decay, mean, documented):
    form, generator = FORMATS["int8"], torch.Generator().manual_seed(0)
    exact, coded, noise, size = torch.zeros(4, BLOCK), torch.zeros(4, BLOCK), [], []
    steps = round(6 / (1 - decay)) + 300
    for k in range(steps):
        gradient = mean + torch.randn(exact.shape, generator=generator)
        exact = decay * exact + (1 - decay) * gradient
        coded = kept(form, decay * coded + (1 - decay) * gradient, k)
        if k >= steps // 2:
            noise.append((coded - exact).square().mean())
            size.append(exact.square().mean())
    assert (sum(noise) / sum(size)) ** 0.5 == pytest.approx(documented, rel=0.1)


@pytest.mark.parametrize(
    ("spec", "name"),
    [
        *(("alto", name) for name in FORMATS),
        ("emuon", "int8"),
        *(pytest.param(spec, "int8", marks=pytest.mark.slow) for spec in ("lion", "esoap")),
    ],
)
def test_codes_are_alike_compiled_and_eager(spec, name):
    for dtype in (torch.float32, torch.float64, torch.bfloat16)[: 3 if name == "int8" else 1]:
        ends = []
        for mode in ("compiled", "eager"):
            params = parameters(SHAPES, dtype)
            optimizer = edsl.compile(spec, params, mode=mode, state_dtype=name)
            ends.append(walk(optimizer, params, gradients(3, SHAPES, dtype))[-1])
            if mode == "compiled":
                assert all("eager" not in str(path) for paths in optimizer.paths().values() for path in paths)
        for ours, theirs in zip(*ends, strict=True):
            assert (
                float((ours - theirs).norm() / theirs.norm()) < 1e-4
            )  # where sums round otherwise, a code may be next


@FORM
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_codes_of_any_magnitude_are_the_same_bytes_compiled_and_eager(name, dtype):
    """m = g/2, where nothing is rounded but by codes: subnormal numbers, the largest, zeros of both signs, NaN."""
    generator = torch.Generator().manual_seed(0)
    wide = torch.logspace(-45, 38.5, BLOCK, dtype=torch.float64)[torch.randperm(BLOCK, generator=generator)]
    sign = torch.where(torch.rand(BLOCK, generator=generator) < 0.5, -1.0, 1.0)
    few = torch.tensor([0.0, 1e-42, 3e-45, 1e-38], dtype=torch.float64).repeat(BLOCK // 4)
    zeros = torch.zeros(BLOCK, dtype=torch.float64)
    blocks = [wide, wide * sign, few, few * sign, zeros, -zeros, wide.clamp(max=1e30), wide.clamp(max=1e-36) * sign]
    spoilt = [torch.where(torch.arange(BLOCK) == 200, strange, wide) for strange in (torch.inf, -torch.inf, torch.nan)]
    found = []
    for mode in ("compiled", "eager"):
        weight = torch.nn.Parameter(torch.zeros(len(blocks) + len(spoilt), BLOCK, dtype=dtype))
        optimizer = edsl.compile("sgd(lr=0, momentum=0.5, average='ema')", [weight], mode=mode, state_dtype=name)
        weight.grad = torch.stack(blocks + spoilt).to(dtype)
        optimizer.step()
        (codes,) = (value for value in optimizer.state[weight].values() if value.dtype is torch.uint8)
        found.append(codes)
    compiled, eager = found
    assert torch.equal(compiled[: len(blocks)], eager[: len(blocks)])
    header = FORMATS[name].layout(BLOCK).code_bytes
    assert torch.equal(compiled[len(blocks) :, header:], eager[len(blocks) :, header:])


def trained(optimizer, params, steps, seed):
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        for parameter in params:
            parameter.grad = torch.randn(parameter.shape, generator=generator)
        optimizer.step()


def as_file(checkpoint):
    file = io.BytesIO()
    torch.save(checkpoint, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


@pytest.mark.parametrize("choice", ["int8", "int4", "float8_e4m3fn", {"e.mean": "int8", "lamb.m": "bfloat16"}])
def test_codes_of_every_size_resume_bit_for_bit(choice):
    shapes = [*SHAPES, (33, 67), (259,)]  # odd ones, too
    params = parameters(shapes, torch.float32)
    optimizer = edsl.compile("alto", params, state_dtype=choice)
    trained(optimizer, params, 3, 1)
    checkpoint = as_file(optimizer.state_dict())
    others = [torch.nn.Parameter(parameter.detach().clone()) for parameter in params]
    resumed = edsl.compile("alto", others, state_dtype=choice)
    resumed.load_state_dict(checkpoint)
    trained(optimizer, params, 3, 2)
    trained(resumed, others, 3, 2)
    assert all(map(torch.equal, params, others))


def test_another_format_is_refused_with_both_named_and_loaded_with_reformat():
    params = parameters(SHAPES, torch.float32)
    optimizer = edsl.compile("alto", params, state_dtype="int8")
    trained(optimizer, params, 3, 1)
    values = edsl.decoded_state(optimizer, params[0])
    checkpoint = as_file(optimizer.state_dict())
    for other in (None, "bfloat16", "int4", {"e.mean": "int8"}):
        with pytest.raises(edsl.EdslError, match=r"keeps \S+ in int8, this optimizer in (float32|bfloat16|int4)"):
            edsl.compile("alto", parameters(SHAPES, torch.float32), state_dtype=other).load_state_dict(checkpoint)
        again = parameters(SHAPES, torch.float32)
        loaded = edsl.compile("alto", again, state_dtype=other, reformat=True)
        loaded.load_state_dict(checkpoint)
        if other is None:
            assert all(torch.equal(loaded.state[again[0]][name], value) for name, value in values.items())
        trained(loaded, again, 2, 3)
        assert loaded.param_groups[0].get("state_dtype") == {None: None, "bfloat16": "bfloat16", "int4": "int4"}.get(
            other if not isinstance(other, dict) else "", "e.mean=int8"
        )
    others = parameters(SHAPES, torch.float32)
    plain = edsl.compile("alto", others)
    trained(plain, others, 1, 1)
    with pytest.raises(edsl.EdslError, match=r"keeps e\.mean in float32, this optimizer in int8"):
        optimizer.load_state_dict(plain.state_dict())


def test_codes_whose_format_a_checkpoint_does_not_say_are_refused():
    params = parameters([(20, 30)], torch.float32)
    optimizer = edsl.compile("adam", params, state_dtype="int8")
    trained(optimizer, params, 1, 1)
    checkpoint = optimizer.state_dict()
    del checkpoint["param_groups"][0]["state_dtype"]
    with pytest.raises(edsl.EdslError, match="is in codes, and its group's state_dtype doesn't say in which"):
        optimizer.load_state_dict(checkpoint)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("int7", "state_dtype must be float32, .* int8, int4, .* packed_bfloat16 or packed_float32, got 'int7'"),
        ({"e.mean": "int9"}, "got 'int9'"),
        ({"x": "int8"}, "there is no buffer 'x'"),
        ({"soap.left": "int8"}, "soap.left has not one value an element .* can't be kept in int8"),
    ],
)
def test_a_format_or_buffer_that_is_not_there_is_one_line(value, said):
    with pytest.raises(edsl.EdslError, match=said):
        edsl.compile("grad | e | soap", [torch.nn.Parameter(torch.ones(4, 4))], state_dtype=value)


def test_state_takes_a_byte_a_buffer_on_gpt2s_shapes():
    shapes = parameter_set("gpt2")

    def bytes_of(spec, state_dtype, **options):
        found = memory(spec, shapes, "bfloat16", state_dtype, **options)
        return found.state / found.parameters

    assert bytes_of("alto", "int8") <= 3.1
    assert bytes_of("eadamw", "int8") <= 3.1
    assert bytes_of("alto", "int4") <= 1.7
    assert bytes_of("alto", "int8", weights="split") <= 5.1
    assert bytes_of("esoap", "int8") <= 23
    assert bytes_of("eshampoo", "int8") <= 23


@pytest.mark.parametrize("spec", ["alto", "emuon", "esoap"])
def test_bytes_held_are_those_planned(spec):
    shapes = {f"w{i}.weight": shape for i, shape in enumerate(SHAPES)}
    named = [(name, torch.nn.Parameter(torch.randn(shape))) for name, shape in shapes.items()]
    optimizer = edsl.compile(spec, named, mode="eager", state_dtype="int8")
    trained(optimizer, [parameter for _, parameter in named], 1, 0)
    assert state_bytes(optimizer) == memory(spec, shapes, "float32", "int8").state


def test_codes_are_the_same_for_any_number_of_threads():
    ends, before = [], torch.get_num_threads()
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            params = parameters([(700, 300), (40, 50)], torch.float32)
            optimizer = edsl.compile("alto", params, state_dtype="int8")
            trained(optimizer, params, 3, 1)
            ends.append([value for parameter in params for value in optimizer.state[parameter].values()])
    finally:
        torch.set_num_threads(before)
    assert all(map(torch.equal, *ends))


@pytest.mark.parametrize("mode", ["compiled", "eager"])
def test_parameters_of_any_layout_keep_codes_in_logical_order(mode):
    ends = []
    for lay in (lambda x: x, lambda x: x.t().contiguous().t(), lambda x: torch.stack([x, x], -1)[..., 0]):
        weight = torch.nn.Parameter(lay(parameters([(40, 50)], torch.float32)[0].detach()))
        optimizer = edsl.compile("alto", [weight], mode=mode, state_dtype="int8")
        trained(optimizer, [weight], 3, 1)
        ends.append(weight.detach().clone(memory_format=torch.contiguous_format))
    for other in ends[1:]:
        assert float((other - ends[0]).abs().max()) < 1e-6


@pytest.mark.parametrize("cut", ["rows", "columns", "experts"])
@pytest.mark.parametrize("mode", ["compiled", "eager"])
def test_matrices_of_one_parameter_step_on_their_codes(cut, mode):
    built = {
        "rows": lambda: torch.nn.MultiheadAttention(32, 4, bias=False),
        "columns": lambda: torch.nn.ModuleDict({"c_attn": Conv1D(96, 32)}),
        "experts": lambda: torch.nn.ParameterDict({"experts": torch.nn.Parameter(torch.randn(9, 40, 7))}),
    }[cut]
    update = "muon(lr=0.01, split='experts')" if cut == "experts" else "muon(lr=0.01)"
    ends = []
    for kept_as in ("int8", None):
        torch.manual_seed(0)
        module = built()
        spec = f"route(matrix={update}, other=sgd(lr=0.01))"
        optimizer = edsl.compile(spec, module, state_dtype=kept_as, mode=mode)
        params = list(module.parameters())
        assert any(" q" in text or "experts" in text or "9 of" in text for text in optimizer.matrices.values())
        trained(optimizer, params, 3, 1)
        ends.append(params[0].detach().clone())
        if kept_as:
            assert optimizer.state[params[0]]["muon.m"].dtype == torch.uint8
    assert float((ends[0] - ends[1]).norm() / ends[1].norm()) < 0.05


def test_averaged_weights_in_codes_are_evaluated_decoded():
    model = torch.nn.Linear(40, 50)
    optimizer = edsl.compile("sgd(lr=0.1) | ema_weights(decay=0.5)", model, state_dtype="int8")
    trained(optimizer, list(model.parameters()), 2, 1)
    own = model.weight.detach().clone()
    with optimizer.evaluation_weights():
        inside = model.weight.detach().clone()
    assert torch.equal(model.weight, own)
    assert torch.equal(inside, edsl.decoded_state(optimizer, model.weight)["ema_weights.average"])
