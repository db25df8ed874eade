"""Parameters that are several matrices: heads, fused projections, experts, as if each were a parameter of its own."""

import copy
import gc
import pickle
import weakref

import pytest
import torch
from torch import nn

import edsl
from edsl.costs.memory import memory
from edsl.optim.state import state_bytes

MATRIX = ("muon", "shampoo", "soap")
CUTS = {  # of 12 rows
    "split=('q', 'k', 'v')": (4, 4, 4),
    "split=(6, 3, 3)": (6, 3, 3),
    "heads=4": (3, 3, 3, 3),
    "split=(6, 3, 3), heads=2": (3, 3, 3, 3),
}
AROUND = "grad | clip(norm=1) | e | {}(lr=0.01, weight_decay=0.1{}) | caution | lookahead(every=2)"


class Conv1D(nn.Module):
    """As GPT-2 stores its projections: (inputs, outputs)."""

    def __init__(self, inputs, outputs):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(inputs, outputs))


class Holder(nn.Module):
    """A module of these layers and parameters, by their names."""

    def __init__(self, **own):
        super().__init__()
        for name, value in own.items():
            setattr(self, name, value)


def gradient(parameter, step):
    generator = torch.Generator().manual_seed(step)
    return torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)


def cut_and_apart(whole, alone, cut, steps):
    """Step a parameter and, beside it, its parts as parameters of their own.

    Args:
        cut: of a tensor, its parts.
    """
    for step in steps:
        for optimizer, gradients in ((whole, lambda g: [g]), (alone, cut)):
            (first, *_) = whole.param_groups[0]["params"]
            own = optimizer.param_groups[0]["params"]
            for parameter, given in zip(own, gradients(gradient(first, step)), strict=True):
                parameter.grad = given.clone()
            optimizer.step()


def parts_of(whole, cut):
    return [nn.Parameter(part.clone()) for part in cut(whole.detach())]


def distance(parameter, parts, dim=0):
    return float((parameter - torch.cat(parts, dim)).detach().abs().max())


@pytest.mark.parametrize("arguments", CUTS)
@pytest.mark.parametrize("update", MATRIX)
@pytest.mark.parametrize("mode", ["eager", pytest.param("compiled", marks=pytest.mark.slow)])
def test_parts_step_as_matrices_of_their_own_and_resume_bit_for_bit(update, arguments, mode):
    def cut(tensor):
        return tensor.split(CUTS[arguments])

    start = torch.randn(12, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    parameter, parts = nn.Parameter(start.clone()), parts_of(start, cut)
    spec, plain = AROUND.format(update, f", {arguments}"), AROUND.format(update, "")
    whole, alone = edsl.compile(spec, [parameter], mode=mode), edsl.compile(plain, parts, mode="eager")
    cut_and_apart(whole, alone, cut, range(4))
    again = nn.Parameter(parameter.detach().clone())
    resumed = edsl.compile(spec, [again], mode=mode)
    resumed.load_state_dict(copy.deepcopy(whole.state_dict()))
    cut_and_apart(whole, alone, cut, range(4, 8))
    cut_and_apart(resumed, edsl.compile(plain, parts_of(start, cut), mode="eager"), cut, range(4, 8))
    assert distance(parameter, parts) <= 1e-12
    assert whole.state[parameter]["step"] == 8
    assert torch.equal(again, parameter)
    assert whole.fallbacks == []


def test_compiled_parts_step_as_eager_ones():
    test_parts_step_as_matrices_of_their_own_and_resume_bit_for_bit("muon", "split=(6, 3, 3), heads=2", "compiled")


@pytest.mark.parametrize("mode", ["eager", pytest.param("compiled", marks=pytest.mark.slow)])
def test_what_lies_in_columns_is_cut_in_columns(mode):
    def cut(tensor):
        return tensor.chunk(3, 1)

    model = Holder(c_attn=Conv1D(4, 12)).double()
    parts = parts_of(model.c_attn.weight, cut)
    spec = "grad | e | muon(lr=0.1, weight_decay=0.1) | lookahead(every=2)"
    whole, alone = edsl.compile(spec, model, mode=mode), edsl.compile(spec, parts, mode="eager")
    assert whole.matrices == {"c_attn.weight": "3 of 4 × 4: q, k, v"}
    cut_and_apart(whole, alone, cut, range(5))
    assert distance(model.c_attn.weight, parts, 1) <= 1e-12


@pytest.mark.parametrize("layout", ["transposed", "offset"])
def test_a_parameter_of_any_memory_layout_is_cut(layout):
    def cut(tensor):
        return tensor.split(4)

    start = torch.randn(12, 5, dtype=torch.float64)
    lies = start.T.contiguous().T if layout == "transposed" else torch.cat([start[:1], start])[1:]
    parameter, parts = nn.Parameter(lies), parts_of(start, cut)
    spec = "grad | e | shampoo(lr=0.01, split=('q', 'k', 'v'))"
    whole, alone = (
        edsl.compile(spec, [parameter], mode="eager"),
        edsl.compile("grad | e | shampoo(lr=0.01)", parts, mode="eager"),
    )
    cut_and_apart(whole, alone, cut, range(3))
    assert parameter.stride() == lies.stride()
    assert distance(parameter, parts) <= 1e-12


@pytest.mark.parametrize("rank", [3, 6])
def test_each_experts_step_has_the_singular_values_of_the_guide(rank):
    experts = nn.Parameter(torch.zeros(4, 6, 8))
    optimizer = edsl.compile("muon(lr=1, scale='none', split='experts')", [experts], mode="eager")
    scales = 10.0 ** torch.arange(-4, 4).view(4, 2)[:, :1, None]
    experts.grad = scales * torch.randn(4, 6, rank) @ torch.randn(4, rank, 8)
    given = torch.linalg.svdvals(experts.grad)
    optimizer.step()
    made = torch.linalg.svdvals(experts.detach())
    counts = given >= 2e-3 * given.square().sum(-1, keepdim=True).sqrt()
    assert counts.sum() > 4 * (rank - 1)
    assert made[counts].min() >= 0.877
    assert made[counts].max() <= 1.123


def test_one_expert_is_a_matrix_and_none_is_nothing():
    expert, none = nn.Parameter(torch.randn(1, 4, 5)), nn.Parameter(torch.zeros(0, 4, 5))
    alone = nn.Parameter(expert.detach()[0].clone())
    stack = edsl.compile("grad | e | shampoo(split='experts')", [expert, none], mode="eager")
    matrix = edsl.compile("grad | e | shampoo", [alone], mode="eager")
    assert stack.matrices == {"0.0": "1 of 4 × 5: 0", "0.1": "0 × 20"}
    for step in range(3):
        none.grad = torch.zeros(0, 4, 5)
        expert.grad = gradient(expert, step)
        alone.grad = expert.grad[0].clone()
        stack.step()
        matrix.step()
    assert torch.equal(expert[0], alone)


def test_modules_tell_which_parameters_are_several_matrices_and_which_one():
    class Mixture(Holder):
        pass

    model = Holder(
        attention=nn.MultiheadAttention(8, 2),
        crossed=nn.MultiheadAttention(8, 2, kdim=4, vdim=4),
        qkv=nn.Linear(8, 24, bias=False),
        qkv_proj=nn.Linear(8, 16),  # grouped queries: nothing tells where they end
        query_key_value=nn.Linear(8, 24),  # by head in GPT-NeoX and BLOOM
        in_proj=nn.Linear(8, 32),  # Mamba's
        experts=Mixture(w1=nn.Parameter(torch.zeros(3, 4, 5))),
        kernel=nn.Conv1d(4, 6, 3),
        plane=nn.Conv2d(4, 6, (3, 1)),
        c_proj=Conv1D(8, 24),
        last=nn.Linear(4, 2),
    )
    taken = edsl.compile("emuon", model).matrices
    fused = "3 of 8 × 8: q, k, v"
    assert taken == {
        "attention.in_proj_weight": fused,
        "attention.out_proj.weight": "8 × 8",
        "crossed.q_proj_weight": "8 × 8",
        "crossed.k_proj_weight": "8 × 4",
        "crossed.v_proj_weight": "8 × 4",
        "crossed.out_proj.weight": "8 × 8",
        "qkv.weight": fused,
        "qkv_proj.weight": "16 × 8",
        "query_key_value.weight": "24 × 8",
        "in_proj.weight": "32 × 8",
        "experts.w1": "3 of 4 × 5: 0, 1, 2",
        "kernel.weight": "6 × 12",
        "plane.weight": "6 × 12",
        "c_proj.weight": "8 × 24",
    }
    for again in (
        pickle.loads(pickle.dumps(edsl.compile("emuon", model))),
        copy.deepcopy(edsl.compile("emuon", model)),
    ):
        assert again.matrices == taken
    one = edsl.compile("emuon(split='none')", model).matrices
    assert (one["qkv.weight"], one["experts.w1"]) == ("24 × 8", "3 × 20")
    named = edsl.compile("emuon(split='experts')", model.named_parameters()).matrices
    assert (named["qkv.weight"], named["experts.w1"]) == ("24 × 8", "3 of 4 × 5: 0, 1, 2")


@pytest.mark.parametrize("recipe", ["emuon", "eshampoo", "esoap"])
def test_recipes_leave_embeddings_heads_and_vectors_of_a_module_to_the_other_update(recipe):
    model = Holder(wte=nn.Embedding(9, 8), qkv=nn.Linear(8, 24), norm=nn.LayerNorm(8), lm_head=nn.Linear(8, 9))
    optimizer = edsl.compile(recipe, model, mode="eager")
    assert list(optimizer.matrices) == ["qkv.weight"]
    with pytest.raises(edsl.EdslError, match=r"parameter qkv.bias has shape .*route\(matrix="):
        edsl.compile(recipe.removeprefix("e"), model)


REFUSED = {
    "muon(heads=5)": "muon: heads=5 cuts equal blocks; parameter a.weight has 12 rows, which 5 does not divide",
    "soap(heads=24)": "parameter a.weight has 12 rows, which 24 does not divide",
    "muon(split=(8, 3, 1), heads=4)": r"12 rows, 3 of them in part 1, which can't be cut in blocks of 2",
    "shampoo(split=(8, 2, 3))": r"shampoo: split=\(8, 2, 3\) adds up to 13; parameter a.weight has 12 rows",
    "muon(split=('a', 'b', 'c', 'd', 'e'))": r"has 12 rows, which 5 does not divide: give the size of each part",
}


@pytest.mark.parametrize("spec", REFUSED)
def test_what_can_not_be_cut_so_is_refused_by_its_name(spec):
    model = Holder(a=nn.Linear(4, 12, bias=False))
    for build in (lambda: edsl.compile(spec, model), lambda: memory(spec, {"a.weight": (12, 4)})):
        with pytest.raises(edsl.EdslError, match=REFUSED[spec]) as caught:
            build()
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "value", ["'qkv'", "('q',)", "('q', 'q')", "('q', 3)", "(3, 0)", "(3, True)", "3", "None", "()", "('a b', 'c')"]
)
def test_a_split_that_is_none_is_refused_with_what_it_may_be(value):
    with pytest.raises(edsl.EdslError, match="split must be 'auto', 'none', 'experts', names of equal parts"):
        edsl.parse(f"muon(split={value})")


@pytest.mark.parametrize("update", MATRIX)
@pytest.mark.parametrize("written", ["split='none'", "split=('q', 'k', 'v')", "split=(768, 256, 256), heads=12"])
def test_the_canonical_text_says_how_matrices_are_cut(update, written):
    pipeline = edsl.parse(f"grad | e | route(matrix={update}({written}), other=adamw)")
    assert written in str(pipeline)
    assert edsl.parse(str(pipeline)) == pipeline
    assert "split" not in str(edsl.parse(f"{update}(split='auto', heads=1)"))
    assert getattr(edsl, update)(split=["q", "k"]).cut == (("q", "k"), 1)


@pytest.mark.parametrize("update", ["shampoo", "soap"])
def test_state_of_another_cut_is_refused_in_one_line(update):
    model = Holder(qkv=nn.Linear(4, 12, bias=False))
    whole, cut = (edsl.compile(update, given, mode="eager") for given in (model.parameters(), model))
    model.qkv.weight.grad = torch.ones(12, 4)
    whole.step()
    with pytest.raises(edsl.EdslError, match=f"{update}.v? ?.*has shape .* taken as 3 of 4 × 4: q, k, v") as caught:
        cut.load_state_dict(whole.state_dict())
    assert "\n" not in str(caught.value)
    with pytest.raises(edsl.EdslError, match="this checkpoint is of"):
        edsl.compile(f"{update}(split=(4, 8))", model, mode="eager").load_state_dict(whole.state_dict())


@pytest.mark.parametrize("arguments", ["", "heads=4", "split=(6, 3, 3)", "split='none'"])
@pytest.mark.parametrize("update", MATRIX)
def test_planned_state_is_that_of_a_real_optimizer(update, arguments):
    model = Holder(qkv=nn.Linear(4, 12, bias=False))
    optimizer = edsl.compile(f"{update}({arguments})", model, mode="eager")
    model.qkv.weight.grad = torch.ones(12, 4)
    optimizer.step()
    assert memory(f"{update}({arguments})", {"qkv.weight": (12, 4)}).state == state_bytes(optimizer)


@pytest.mark.parametrize("spec", ["grad | e | muon(heads=3)", "soap(split=(6, 6))"])
def test_an_optimizer_at_rest_holds_no_tensor_of_its_parts(spec):
    parameter = nn.Parameter(torch.randn(12, 4))
    optimizer = edsl.compile(spec, [parameter], mode="eager")
    for _ in range(3):
        parameter.grad = torch.randn(12, 4)
        optimizer.step()
    gone = [weakref.ref(parameter.grad), *map(weakref.ref, optimizer.state[parameter].values()), weakref.ref(parameter)]
    parameter.grad = None
    optimizer.state.clear()
    optimizer.param_groups.clear()
    del parameter
    gc.collect()
    assert [reference() for reference in gone] == [None] * len(gone)


def test_noise_of_parts_and_state_in_bfloat16_resume_and_do_not_repeat():
    spec = "grad | noise(std=1) | muon(split=('a', 'b'))"
    parameter = nn.Parameter(torch.zeros(6, 4))
    optimizer = edsl.compile(spec, [parameter], mode="eager", state_dtype="bfloat16")
    parameter.grad = torch.zeros(6, 4)
    optimizer.step()
    upper, lower = optimizer.state[parameter]["muon.m"].chunk(2)
    assert upper.count_nonzero() == lower.count_nonzero() == 12
    assert not torch.equal(upper, lower)
