"""Values that differ from layer to layer: by a layer's width, and by its depth."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.init import _calculate_fan_in_and_fan_out

import edsl
from edsl.errors import EdslError, SpecError
from edsl.groups.layers import inputs_of, layer_numbers
from edsl.groups.routing import kinds_in_module


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.up, self.down = nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x: Any) -> Any:
        return x + self.down(torch.tanh(self.up(self.norm(x))))


class Transformer(nn.Module):
    """What a transformer has around its attention: embeddings, blocks, a norm and a head, named as timm names them."""

    def __init__(self, width: int = 8, blocks: int = 3) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.pos_embed = nn.Parameter(torch.randn(5, width))
        self.embed = nn.Embedding(11, width)
        self.blocks = nn.ModuleList(Block(width) for _ in range(blocks))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, 4)
        self.double()

    def forward(self, tokens: Any) -> Any:
        x = self.embed(tokens) + self.pos_embed
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


def trained(optimizer: Any, model: Any, steps: int, begin: int = 0) -> dict[str, Any]:
    for number in range(begin, begin + steps):
        tokens = torch.randint(0, 11, (6, 5), generator=torch.Generator().manual_seed(number))
        optimizer.zero_grad()
        model(tokens).square().mean().backward()
        optimizer.step()
    return {name: p.detach().clone() for name, p in model.named_parameters()}


def rates(optimizer: Any, key: str = "lr") -> dict[str, float]:
    return {name: group[key] for group in optimizer.param_groups for name in group["param_names"]}


def timm_rates(model: Any, lr: float, decay: float) -> dict[str, float]:
    """As timm.optim.param_groups_layer_decay: stem 0, block i as i + 1, all behind them last."""
    last = len(model.blocks) + 1

    def number(name: str) -> int:
        if name.startswith(("embed", "pos_embed")):
            return 0
        return int(name.split(".")[1]) + 1 if name.startswith("blocks") else last

    return {name: lr * decay ** (last - number(name)) for name, _ in model.named_parameters()}


def width_rates(model: Any, lr: float, base: int) -> dict[str, float]:
    """As μP has Adam's: 1/fan-in of matrices; embeddings and vectors keep theirs."""
    found = {}
    for name, parameter in model.named_parameters():
        is_matrix = parameter.dim() > 1 and "embed" not in name
        found[name] = lr * base / _calculate_fan_in_and_fan_out(parameter)[0] if is_matrix else lr
    return found


CASES = {
    "depth(0.01, by=0.8)": lambda model: timm_rates(model, 0.01, 0.8),
    "width(0.01, base=4)": lambda model: width_rates(model, 0.01, 4),
    "depth(width(0.01, base=4), by=0.5)": lambda model: {
        name: a * b / 0.01
        for (name, a), b in zip(width_rates(model, 0.01, 4).items(), timm_rates(model, 0.01, 0.5).values())
    },
}


@pytest.mark.parametrize("mode", ["eager", "compiled"])
@pytest.mark.parametrize("value", CASES)
def test_layers_step_at_rates_computed_by_hand_for_each_parameter(value: str, mode: str) -> None:
    model, other = Transformer(), Transformer()
    expected = CASES[value](other)
    groups = [
        {"params": [p], "lr": expected[name], "weight_decay": 0.1 if p.dim() > 1 else 0.0}
        for name, p in other.named_parameters()
    ]
    theirs = torch.optim.AdamW(groups)
    ours: Any = edsl.compile(f"adamw(lr={value}, weight_decay=0.1)", model, mode=mode)
    assert rates(ours) == pytest.approx(expected, rel=1e-14)
    found, same = trained(ours, model, 20), trained(theirs, other, 20)
    for name in found:
        assert (found[name] - same[name]).abs().max() <= 1e-12, name


def test_layers_without_a_schedule_compile_what_one_group_does() -> None:
    model = Transformer()
    one: Any = edsl.compile("adamw(lr=0.01)", model)
    several: Any = edsl.compile("adamw(lr=depth(0.01, by=0.8))", Transformer())
    trained(one, model, 2)
    trained(several, Transformer(), 2)
    assert len(several.param_groups) == 5
    assert several.compiled_graphs <= one.compiled_graphs


NAMES = {
    "gpt2": ("wte.weight h.0.ln.bias h.1.mlp.c_fc.weight ln_f.bias", [0, 1, 2, 3]),
    "resnet": ("conv1.weight layer1.0.conv1.weight layer1.1.bn.0.bias layer2.0.conv.weight fc.weight", [0, 1, 2, 3, 4]),
    "sequential": ("0.weight 0.bias 2.weight", [1, 1, 2]),
    "unnumbered": ("conv.weight conv.bias hidden.weight out.weight", [1, 1, 2, 3]),
    "t5": ("shared.weight encoder.block.0.w encoder.norm.w decoder.block.0.w decoder.norm.w", [0, 1, 1, 2, 3]),
}


@pytest.mark.parametrize("model", NAMES)
def test_layers_are_counted_by_names(model: str) -> None:
    names, numbers = NAMES[model]
    assert list(layer_numbers(names.split(), {}).values()) == numbers


def test_modules_tell_embeddings_heads_and_inputs() -> None:
    class Conv1D(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(6, 18))

    model = nn.ModuleDict(
        {
            "lm_head": nn.Linear(6, 9),
            "h": nn.ModuleList([Conv1D(), nn.Conv2d(3, 5, 2)]),
            "late": nn.Embedding(9, 6),
        }
    )
    kinds = kinds_in_module(model)
    numbers = layer_numbers([name for name, _ in model.named_parameters()], kinds)
    assert numbers["lm_head.weight"] == 3
    assert numbers["late.weight"] == 0
    found = {name: inputs_of(p.shape, kinds.get(name, ())) for name, p in model.named_parameters()}
    own = {"lm_head.weight": 6, "h.0.weight": 6, "h.1.weight": 3, "late.weight": None}
    assert {name: found[name] for name in own} == own


def test_groups_of_ones_own_give_the_value_of_their_layers() -> None:
    model = Transformer()
    named = list(model.named_parameters())
    groups = [{"params": named[:6], "lr": 0.5}, {"params": named[6:]}]
    optimizer: Any = edsl.compile("adamw(lr=depth(0.01, by=0.8))", groups)
    expected = timm_rates(model, 0.01, 0.8)
    expected |= {name: 50 * expected[name] for name, _ in named[:6]}
    assert rates(optimizer) == pytest.approx(expected, rel=1e-14)
    assert edsl.compile("adamw(lr=depth(0.01, by=0.8))", model, lr=1.0).param_groups[-1]["lr"] == 1.0


def test_routes_have_layers_of_the_whole_model() -> None:
    model = Transformer()
    spec = "route(matrix=muon(lr=width(0.02, base=4, exponent=0.5)), other=adamw(lr=depth(0.01, by=0.5)))"
    optimizer: Any = edsl.compile(spec, model)
    found = rates(optimizer)
    assert found["blocks.1.down.weight"] == pytest.approx(0.02 * (4 / 16) ** 0.5)
    assert found["blocks.1.down.bias"] == pytest.approx(0.01 * 0.5**2)
    assert found["embed.weight"] == pytest.approx(0.01 * 0.5**4)
    trained(optimizer, model, 2)


def test_schedules_run_in_every_layer_and_resume_bit_for_bit() -> None:
    spec = "adamw(lr=depth(linear(0.1, to=0.01, warmup=3), by=0.5))"

    def built() -> tuple[Any, Any]:
        model = Transformer()
        return model, edsl.compile(spec, model, total_steps=12)

    model, optimizer = built()
    trained(optimizer, model, 5)
    factors = timm_rates(model, 1, 0.5)
    now = 0.01 + 0.09 * (1 - 3 / 9)
    assert rates(optimizer) == pytest.approx({name: now * factor for name, factor in factors.items()}, rel=1e-12)
    saved, weights = pickle.loads(pickle.dumps(optimizer.state_dict())), copy.deepcopy(model.state_dict())
    expected = trained(optimizer, model, 7, 5)
    other, resumed = built()
    other.load_state_dict(weights)
    resumed.load_state_dict(saved)
    found = trained(resumed, other, 7, 5)
    assert all(torch.equal(found[name], expected[name]) for name in found)
    assert [group["scales"] for group in resumed.param_groups] == [group["scales"] for group in optimizer.param_groups]
    assert rates(copy.deepcopy(optimizer)) == rates(optimizer)


def test_what_is_added_later_is_of_its_layer() -> None:
    model = Transformer()
    optimizer: Any = edsl.compile("adamw(lr=depth(0.01, by=0.8))", model)
    for group in optimizer.param_groups:
        group["lr"] = 1.0
    late = copy.deepcopy(model)
    optimizer = edsl.compile("adamw(lr=depth(0.01, by=0.8))", [*late.named_parameters()])
    assert rates(optimizer) == pytest.approx(timm_rates(late, 0.01, 0.8))
    model.blocks.append(Block(8).double())
    optimizer = edsl.compile("adamw(lr=depth(0.01, by=0.8))", model)
    del optimizer.param_groups[1:]
    optimizer.add_param_group({"params": list(model.blocks[3].parameters())})
    assert rates(optimizer)["blocks.3.up.weight"] == pytest.approx(0.01 * 0.8)


def test_rules_hand_layers_on_to_what_they_run() -> None:
    rule = "@update\ndef own(u, *, lr=0.1, beta: decay = 0.9):\n    return adamw(u, lr=2 * lr, beta2=beta)\n"
    model, other = Transformer(), Transformer()
    ruled: Any = edsl.compile(f"{rule}own(lr=depth(0.005, by=0.8))", model, mode="eager")
    plain: Any = edsl.compile("adamw(lr=depth(0.01, by=0.8))", other, mode="eager")
    found, expected = trained(ruled, model, 5), trained(plain, other, 5)
    assert all((found[name] - expected[name]).abs().max() <= 1e-14 for name in found)


@pytest.mark.parametrize(
    ("spec", "said", "under"),
    [
        ("adamw(lr=cosine(width(0.01, base=256)))", r"width stands around a schedule: width\(cosine\(…\)", "width("),
        ("adamw(lr=width(0.01))", "base= is missing, as in width", "width("),
        ("adamw(lr=depth('a', by=1))", "the value must be a number or a schedule, got 'a'", "'a'"),
        ("adamw(lr=depth(depth(1, by=1), by=1))", "depth stands twice", "depth("),
        ("spsa(sigma=depth(1, by=0.5)) | sgd", "sigma is one for all layers", "sigma"),
        ("muon(nesterov=depth(1, by=1))", "nesterov is fixed once built", "nesterov"),
        ("torch.AdamW(lr=depth(1, by=0.5))", "takes no schedule", "lr"),
        ("adamw(lr=dept(1, by=0.5))", "did you mean 'depth'", "dept"),
        ("adamw(lr=width(0.01, base=0))", "base must be a whole number above 0, got 0", "base"),
        ("adamw(lr=depth(0.01, by=-1))", r"by must be a number in \[0, ∞\), got -1", "by"),
        ("adamw(lr=depth(-0.01, by=1))", "lr must lie in", "lr"),
    ],
)
def test_bad_input_is_one_line_with_a_caret(spec: str, said: str, under: str) -> None:
    with pytest.raises(SpecError, match=said) as caught:
        edsl.parse(spec)
    assert "\n" not in caught.value.message
    assert spec[caught.value.place :].startswith(under)


def test_bad_layers_are_one_line() -> None:
    model = Transformer()
    with pytest.raises(EdslError, match=r"^lr=depth\(0.01, by=0.5\) needs names: pass the module[^\n]*$"):
        edsl.compile("adamw(lr=depth(0.01, by=0.5))", list(model.parameters()))
    with pytest.raises(EdslError, match=r"beta2 must lie in \[0, 1\), got 1.8"):
        edsl.compile("adamw(beta2=width(0.9, base=16))", model)
    for huge in ("width(0.01, base=2, exponent=-1e9)", "depth(0.01, by=1e300)", "depth(linear(0.01), by=1e300)"):
        with pytest.raises(EdslError, match="must be a finite number, got inf"):
            edsl.compile(f"adamw(lr={huge})", model, total_steps=9)
    edsl.compile("adamw(lr=width(0.01, base=4))", list(model.parameters()))
    optimizer: Any = edsl.compile("adamw(lr=depth(0.01, by=0.5))", list(model.named_parameters()))
    with pytest.raises(EdslError, match="no layer is known of new; build the optimizer from the module"):
        optimizer.add_param_group({"params": [("new", nn.Parameter(torch.zeros(2)))]})


def test_text_is_canonical_and_theory_takes_a_layer_of_factor_1() -> None:
    from edsl.cli.show import describe
    from edsl.theory.systems.linearise import NotLinear, linearise
    from edsl.theory.text.schedules import at_step

    pipeline = edsl.parse("adamw(lr=depth(width(cosine(0.01), exponent=1, base=256), by=0.80))")
    assert "lr=depth(width(cosine(0.01), base=256), by=0.8)" in str(pipeline)
    assert edsl.parse(str(pipeline)) == pipeline == pickle.loads(pickle.dumps(pipeline))
    assert pipeline.structure == edsl.parse("adamw").structure
    assert str(edsl.parse("sgd(lr=depth(-0.0, by=1.0))")) == str(edsl.parse("sgd(lr=depth(0, by=1))"))
    assert " · 0.8^(L − l) · (256/n) " in describe(pipeline)["notes"][0]
    assert str(at_step(edsl.parse("sgd(lr=depth(0.1, by=0.5))"), None)) == str(edsl.parse("sgd(lr=0.1)"))
    with pytest.raises(NotLinear, match="constant numbers"):
        linearise(edsl.parse("sgd(lr=depth(0.1, by=0.5))")).at()
