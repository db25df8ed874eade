"""Odd parameters, groups and checkpoints: one message, nothing half done."""

import copy
import pickle
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
import torch
from problem import gradients, parameters, walk, worst

import edsl
from edsl.errors import CompilerFailed, FieldError, OrderError, SpecError
from edsl.language.context import Branching
from edsl.language.domain import Number, field
from edsl.language.schedules.schedule import ArgumentError
from edsl.stage import BaseUpdate


@dataclass(frozen=True)
class Halving(BaseUpdate):
    """A stage that is not registered."""

    name: ClassVar[str] = "halving"
    lr: float = field(0.1, Number(0), "η")

    def step(self, x, memory, at):
        return -self.lr * x / 2, memory


def test_stage_that_is_not_registered_steps_copies_and_resumes():
    params = parameters()
    pipeline = edsl.grad() | edsl.e() | Halving(lr=0.3)
    optimizer = edsl.compile(pipeline, params, mode="eager")
    walk(optimizer, params, gradients(2))
    twins = copy.deepcopy(params)
    twin = edsl.compile(edsl.grad() | edsl.e() | Halving(lr=0.9), twins, mode="eager")
    twin.load_state_dict(optimizer.state_dict())
    copied_params, copied = copy.deepcopy((params, optimizer))
    expected = walk(optimizer, params, gradients(3))
    assert worst(walk(twin, twins, gradients(3)), expected) == 0
    assert worst(walk(copied, copied_params, gradients(3)), expected) == 0


def test_gradient_with_the_negative_bit_has_the_right_sign():
    for mode in ("eager", "compiled"):
        p = torch.nn.Parameter(torch.tensor(1.0))
        z = torch.complex(torch.tensor(0.0), p)
        (z.conj() * torch.tensor(1 + 2j)).real.backward()
        assert p.grad is not None
        assert p.grad.is_neg()
        edsl.compile("sgd(lr=0.1)", [p], mode=mode).step()
        assert p.item() == pytest.approx(1 - 0.1 * 2)


def test_shape_changed_after_state_was_made_is_an_error_before_anything_moves():
    params = parameters([(3,), (4,)])
    optimizer = edsl.compile("alto", params, mode="eager")
    walk(optimizer, params, gradients(1, [(3,), (4,)]))
    params[1].data = torch.zeros(2, 4, dtype=torch.float64)
    before, step = params[0].detach().clone(), optimizer.state[params[0]]["step"].clone()
    params[0].grad, params[1].grad = torch.ones(3, dtype=torch.float64), torch.ones(2, 4, dtype=torch.float64)
    with pytest.raises(edsl.EdslError, match=r"parameter 0.1 has shape \(2, 4\), its state"):
        optimizer.step()
    assert torch.equal(params[0], before)
    assert torch.equal(optimizer.state[params[0]]["step"], step)


@pytest.mark.parametrize(
    "group",
    [
        {"layerwise": False},
        {"buffers": 2},
        {"norm": None},
        {"pipeline": "grad | sgd"},
        {"beta2": 0.5, "betas": (0.1, 0.2)},
        {"weight_dcay": 0.1},
        {"exclude": 3},
        {"lr": torch.tensor([1.0, 2.0])},
        {"lr": torch.tensor(1j)},
        {"lr": np.bool_(True)},
    ],
    ids=str,
)
def test_group_key_that_can_not_be_honoured_is_an_error(group):
    spec = "grad | clip(norm=1) | alto"
    with pytest.raises(edsl.EdslError):
        edsl.compile(spec, [{"params": parameters(), **group}])
    optimizer = edsl.compile(spec, parameters())
    with pytest.raises(edsl.EdslError):
        optimizer.add_param_group({"params": parameters(), **group})
    assert len(optimizer.param_groups) == 1


@pytest.mark.parametrize(
    "spoil",
    [
        lambda g: g.update(lr=None),
        lambda g: g.update(lr="fast"),
        lambda g: g.update(lr=float("nan")),
        lambda g: g.update(lr=torch.tensor([1.0, 2.0])),
        lambda g: g.update(norm=None),
        lambda g: g.pop("lr"),
        lambda g: g.pop("exclude"),
        lambda g: g.update(beta2=1.0),
    ],
)
def test_group_value_spoilt_while_training_is_an_edsl_error(spoil):
    params = parameters()
    optimizer = edsl.compile("grad | clip(norm=1) | alto", params, mode="eager")
    walk(optimizer, params, gradients(1))
    before = [p.detach().clone() for p in params]
    spoil(optimizer.param_groups[0])
    with pytest.raises(edsl.EdslError):
        walk(optimizer, params, gradients(1))
    assert worst([[p.detach() for p in params]], [before]) == 0


def test_state_of_another_precision_is_taken_over_in_the_own_one():
    doubles, floats = parameters(), parameters(dtype=torch.float32)
    saved = edsl.compile("alto", doubles, mode="eager")
    walk(saved, doubles, gradients(1))
    optimizer = edsl.compile("alto", floats, mode="eager")
    optimizer.load_state_dict(saved.state_dict())
    assert all(optimizer.state[p]["lamb.m"].dtype == torch.float32 for p in floats)


@pytest.mark.parametrize(
    "arguments", ["betas=()", "betas=(0.9,)", "betas='x'", "lr=1e999", "foreach=3.5, fused=True, capturable=True"]
)
def test_foreign_arguments_that_the_optimizer_refuses_are_spec_errors(arguments):
    with pytest.raises(edsl.EdslError):
        edsl.parse(f"torch.AdamW({arguments})")


@pytest.mark.parametrize("lr", [np.float64(0.5), np.float32(0.5), torch.tensor(0.5)])
def test_foreign_numbers_of_other_libraries_are_read(lr):
    assert str(edsl.parse("grad | e | torch.AdamW").override(lr=lr)).endswith("torch.AdamW(lr=0.5)")


def test_foreign_state_made_by_its_constructor_is_kept():
    params = parameters()
    optimizer = edsl.compile("grad | e | torch_optimizer.MADGRAD(lr=0.01)", params, mode="eager")
    history = walk(optimizer, params, gradients(3))
    assert worst(history[:1], history[-1:]) > 0


def test_foreign_checkpoint_without_the_foreign_state_is_an_error():
    params = parameters()
    optimizer = edsl.compile("grad | e | torch.AdamW", params, mode="eager")
    walk(optimizer, params, gradients(1))
    saved = copy.deepcopy(optimizer.state_dict())
    for buffer in ("exp_avg", "exp_avg_sq"):
        del saved["state"][0][f"torch.AdamW.{buffer}"]
    with pytest.raises(edsl.EdslError, match=r"none of torch\.AdamW"):
        optimizer.load_state_dict(saved)


def test_zero_has_one_spelling():
    assert str(edsl.parse("lamb(lr=-0.0)")) == str(edsl.parse("lamb(lr=0)"))


def test_exclusion_may_be_any_iterable_and_must_match():
    net = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.LayerNorm(2))
    assert edsl.compile("sgd", net, exclude=(x for x in ["bias"])).param_groups[0]["exclude"] == ("0.bias", "1.bias")
    with pytest.raises(edsl.EdslError, match="no parameter of this module is called 'nope'"):
        edsl.compile("sgd", net, exclude=("nope",))
    for wrong in (3, True, "bias", (1,)):
        with pytest.raises(edsl.EdslError):
            edsl.compile("sgd", net, exclude=wrong)


@pytest.mark.parametrize(
    ("name", "norm"),
    [
        ("norm.weight", True),
        ("blocks.3.input_layernorm.weight", True),
        ("bn1.weight", True),
        ("ln_f.weight", True),
        ("layer_norm2.weight", True),
        ("input_norm_proj.weight", False),
        ("normal.weight", False),
        ("lnear.weight", False),
    ],
)
def test_norms_are_known_by_the_name_of_their_layer(name, norm):
    params = [(name, torch.nn.Parameter(torch.ones(2)))]
    assert edsl.compile("sgd", params).param_groups[0]["exclude"] == ((name,) if norm else ())


def test_noise_does_not_depend_on_the_layout():
    plain = torch.nn.Parameter(torch.zeros(3, 5))
    turned = torch.nn.Parameter(torch.zeros(5, 3).t())
    for p in (plain, turned):
        p.grad = torch.zeros(3, 5)
        edsl.compile("grad | noise(std=1) | sgd(lr=1)", [p], mode="eager").step()
    assert torch.equal(plain, turned)


def test_batch_size_is_taken_wherever_e_is():
    params = parameters()
    assert edsl.compile("alto", params, batch_size=64).param_groups[0]["alpha"] == 0.5
    assert edsl.ALTO(params, batch_size=64, beta1=0.2).param_groups[0]["beta1"] == 0.2
    with pytest.raises(edsl.EdslError, match="unknown argument 'batch_size'"):
        edsl.compile("lamb", params, batch_size=64)


def test_whole_pipeline_behind_others_leaves_its_estimator_to_them():
    chain = edsl.grad() | edsl.clip(norm=1) | edsl.alto(lr=0.1)
    assert chain == edsl.parse("grad | clip(norm=1) | alto(lr=0.1)")


@pytest.mark.parametrize(
    "error",
    [
        FieldError("lr must be a number", "lr"),
        OrderError("sgd comes last", 1),
        SpecError("expected a stage", "gard | sgd", 0),
        ArgumentError("warmup must be ≥ 0", "warmup"),
        CompilerFailed("g++", "no space left"),
        Branching(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_of_another_process_arrives_as_it_was_raised(error):
    copied = pickle.loads(pickle.dumps(error))
    assert (type(copied), str(copied), vars(copied)) == (type(error), str(error), vars(error))
