"""One triangle of symmetric and triangular factors, and moments in blocks as codes: what is kept, and the steps."""

import io

import pytest
import torch
from problem import gradients, parameters, walk

import edsl
from edsl.costs.memory import memory
from edsl.lab.benchmarks.parameter_sets import parameter_set
from edsl.numerics.formats.packed import PACKED_FLOAT32, packed, unpacked
from edsl.numerics.structures import SYMMETRIC, TRIANGULAR
from edsl.optim.state import state_bytes

SHAPES = [(20, 30), (33, 16), (3, 5)]
SHAMPOO = "shampoo(lr=0.01, every=2, block=12, grafting='none', eps1=0.01)"
SPECS = [SHAMPOO, "soap(lr=0.01, every=2, block=12)", "psgd_kron(lr=0.01, largest=20)", "galore(lr=0.01, rank=8)"]


def trained(optimizer, params, steps, seed):
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        for parameter in params:
            parameter.grad = torch.randn(parameter.shape, generator=generator).to(parameter.dtype)
        optimizer.step()


@pytest.mark.parametrize("n", range(1, 9))
def test_a_triangle_lies_as_in_lapacks_rectangle_and_opens_to_the_same_bits(n):
    random = torch.randn(2, 3, n, n)
    for structure, x in ((SYMMETRIC, random + random.mT), (TRIANGULAR, random.triu())):
        kept = packed(x, structure)
        assert kept[0, 0].numel() == n * (n + 1) // 2
        assert tuple(kept.shape) == PACKED_FLOAT32.kept_for(structure).shape(x.shape)
        assert torch.equal(unpacked(kept, structure), x)
    # index by index, as LAPACK Working Note 199 draws it for the lower triangle
    x, kept = (random + random.mT)[1, 2], packed(random + random.mT, SYMMETRIC)[1, 2]
    columns, even = (n + 1) // 2, 1 - n % 2
    for i in range(n):
        for j in range(i + 1):
            place = (i + even, j) if j < columns else (j - columns, i - columns + 1 - even)
            assert kept[place] == x[i, j]


def naive_shampoo(theta, found, lr, steps_between, block):
    """Shampoo without grafting in float64: block by block, each factor whole, its root by an eigendecomposition."""
    theta, blocks = theta.double().clone(), {}
    rows, columns = theta.shape
    high, wide = (-(-size // -(-size // block)) for size in (rows, columns))
    for k, gradient in enumerate(found, 1):
        for top in range(0, rows, high):
            for first in range(0, columns, wide):
                g = torch.zeros(high, wide, dtype=torch.float64)
                piece = gradient[top : top + high, first : first + wide].double()
                g[: piece.shape[0], : piece.shape[1]] = piece
                own = blocks.setdefault((top, first), {"m": 0, "factors": [0, 0], "roots": [None, None]})
                own["m"] = 0.9 * own["m"] + 0.1 * g
                own["factors"] = [0.99 * old + 0.01 * x @ x.T for old, x in zip(own["factors"], (g, g.T))]
                if (k - 1) % steps_between == 0:
                    for side, factor in enumerate(own["factors"]):
                        values, vectors = torch.linalg.eigh(factor / (1 - 0.99**k))
                        values = values.clamp(min=0)
                        values = values + 0.01 * values[-1]
                        own["roots"][side] = vectors @ torch.diag(values**-0.25) @ vectors.T
                d = own["roots"][0] @ (own["m"] / (1 - 0.9**k)) @ own["roots"][1]
                theta[top : top + high, first : first + wide] -= lr * d[: piece.shape[0], : piece.shape[1]]
    return theta


def test_steps_on_packed_factors_are_those_of_a_naive_loop_up_to_rounding():
    steps = 6
    found = gradients(steps, SHAPES[:2], torch.float32)
    start = [parameter.detach().clone() for parameter in parameters(SHAPES[:2], torch.float32)]
    exact = [naive_shampoo(x, [step[i] for step in found], 0.01, 2, 12) for i, x in enumerate(start)]
    way = {}
    for kept in ("packed_float32", "bfloat16", "packed_bfloat16", "int8"):
        chosen = kept if kept == "int8" else dict.fromkeys(["left", "right", "left_root", "right_root"], kept)
        chosen = chosen if kept == "int8" else {f"shampoo.{name}": value for name, value in chosen.items()}
        params = parameters(SHAPES[:2], torch.float32)
        ends = walk(edsl.compile(SHAMPOO, params, state_dtype=chosen, mode="eager"), params, found)[-1]
        way[kept] = max(
            float((end.double() - there).norm() / (there - x).norm()) for end, there, x in zip(ends, exact, start)
        )
    assert way["packed_float32"] < 1e-4
    assert way["packed_bfloat16"] < 2 * way["bfloat16"] < 0.04  # 8 bits of mantissa, in factors and in roots
    assert way["int8"] < 0.2


@pytest.mark.parametrize("spec", SPECS)
def test_packed_state_steps_as_whole_state_and_alike_compiled(spec):
    found, ends = gradients(4, SHAPES, torch.float32), {}
    for kept, mode in ((None, "eager"), ("packed_float32", "eager"), ("int8", "eager"), ("int8", "compiled")):
        params = parameters(SHAPES, torch.float32)
        optimizer = edsl.compile(spec, params, mode=mode, state_dtype=kept)
        ends[kept, mode] = walk(optimizer, params, found)[-1]
    assert "C++ and BLAS" in str(optimizer.paths())
    pairs = [(ends["packed_float32", "eager"], ends[None, "eager"]), (ends["int8", "compiled"], ends["int8", "eager"])]
    for ours, theirs in (one for pair in pairs for one in zip(*pair)):
        # BLAS may round x xᵀ otherwise on both sides of its diagonal; where sums round otherwise, a code may be next
        assert float((ours - theirs).norm() / theirs.norm()) < 1e-4


@pytest.mark.parametrize("spec", ["soap(split=(11, 9), every=2)", "shampoo(split=(10, 10))", "psgd_kron(heads=2)"])
@pytest.mark.parametrize("kept", ["int8", "packed_float32"])
def test_factors_of_several_matrices_resume_bit_for_bit_and_open_to_what_reformat_makes(spec, kept):
    params = parameters([(20, 30)], torch.float32)
    optimizer = edsl.compile(spec, params, state_dtype=kept)
    trained(optimizer, params, 3, 1)
    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    file.seek(0)
    checkpoint = torch.load(file, weights_only=True)
    values = edsl.decoded_state(optimizer, params[0])
    others, whole = ([params[0].detach().clone().requires_grad_()] for _ in range(2))
    resumed = edsl.compile(spec, others, state_dtype=kept)
    resumed.load_state_dict(checkpoint)
    loaded = edsl.compile(spec, whole, reformat=True)
    loaded.load_state_dict(checkpoint)
    assert all(torch.equal(loaded.state[whole[0]][name], value.to(torch.float32)) for name, value in values.items())
    trained(optimizer, params, 2, 2)
    trained(resumed, others, 2, 2)
    assert torch.equal(params[0], others[0])
    with pytest.raises(edsl.EdslError, match=r"keeps \S+ in (packed_)?\w+, this optimizer in bfloat16"):
        edsl.compile(spec, others, state_dtype="bfloat16").load_state_dict(checkpoint)


@pytest.mark.parametrize(
    ("name", "kept", "said"),
    [
        ("left_basis", "packed_bfloat16", "soap.left_basis isn't made of symmetric or triangular matrices"),
        ("m", "packed_float32", "packed_float32 can't keep it: choose float32, .* or float8_e5m2"),
        ("left", "int8", "soap.left has not one value an element .*: choose .* packed_bfloat16 or packed_float32"),
    ],
)
def test_a_form_that_can_t_keep_a_buffer_is_one_line(name, kept, said):
    with pytest.raises(edsl.EdslError, match=said):
        edsl.compile("soap", [torch.nn.Parameter(torch.ones(4, 4))], state_dtype={f"soap.{name}": kept})


@pytest.mark.parametrize("spec", ["esoap", "eshampoo", "grad | e | psgd_kron"])
def test_bytes_held_in_packed_state_are_those_planned(spec):
    shapes = {"a.weight": (24, 72), "b.weight": (33, 16), "c.bias": (300,)}
    named = [(name, torch.nn.Parameter(torch.randn(shape))) for name, shape in shapes.items()]
    for kept in ("int8", "packed_float32"):
        optimizer = edsl.compile(spec, named, mode="eager", state_dtype=kept)
        trained(optimizer, [parameter for _, parameter in named], 1, 0)
        assert state_bytes(optimizer) == memory(spec, shapes, "float32", kept).state


def test_packed_factors_take_few_bytes_on_gpt2s_shapes():
    for spec, most in (("esoap", 7.3), ("eshampoo", 5.9)):
        found = memory(spec, parameter_set("gpt2"), "float32", "int8")
        assert found.state / found.parameters <= most
