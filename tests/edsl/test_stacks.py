"""Matrices of equal shape that share a stack step as each would alone."""

from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from problem import gradients, parameters, walk

import edsl
from edsl.engine.stacks import STACKS, most_in_stack
from edsl.language.domain import Number, field
from edsl.language.pipeline import Pipeline
from edsl.stage import Adaptor

SHAPES = [(6, 4)] * 3 + [(3, 5)] * 2
STACKED = [
    "grad | e | muon(scale='match_rms_adamw', weight_decay=0.1) | caution",
    "grad | clip(norm=0.5) | e | shampoo(block=4, every=3)",
    "soap(block=3, every=2) | lookahead(every=2)",
]


def stacks_of(optimizer):
    """The heights of all stacks that the optimizer steps from now on."""
    heights = []
    step = optimizer.engine.torch_steps._step_stack

    def counted(stack):
        heights.append(len(stack))
        step(stack)

    optimizer.engine.torch_steps._step_stack = counted
    return heights


def walk_with_gaps(spec, mode, steps=20, **options):
    """Steps at each of which another parameter has no gradient, layers of very different scales."""
    params = parameters(SHAPES, torch.float32)
    optimizer = edsl.compile(spec, params, mode=mode, **options)
    heights, graphs = stacks_of(optimizer), []
    for step, row in enumerate(gradients(steps, SHAPES, torch.float32)):
        for place, (parameter, gradient) in enumerate(zip(params, row, strict=True)):
            parameter.grad = None if place == step % len(SHAPES) else gradient * 10.0 ** (place % 5)
        optimizer.step()
        graphs.append(optimizer.compiled_graphs)
    return params, optimizer, heights, graphs


@pytest.mark.parametrize("spec", STACKED)
def test_a_stack_steps_as_its_matrices_alone_and_compiles_nothing_for_a_missing_gradient(spec):
    stacked, optimizer, heights, graphs = walk_with_gaps(spec, "compiled")
    alone, _, none, _ = walk_with_gaps(spec, "eager")
    for a, b in zip(stacked, alone, strict=True):
        assert (a - b).norm() <= (1e-5 if "muon" in spec else 1e-6) * b.norm()
    assert set(heights) == {2, 3}
    assert none == []
    assert optimizer.fallbacks == []
    assert graphs[1] == graphs[-1]


def test_state_in_bfloat16_is_rounded_as_alone():
    stacked, optimizer, heights, _ = walk_with_gaps("muon", "compiled", steps=2, state_dtype="bfloat16")
    alone, other, _, _ = walk_with_gaps("muon", "eager", steps=2, state_dtype="bfloat16")
    assert heights
    for a, b in zip(stacked, alone, strict=True):
        assert torch.equal(optimizer.state[a]["muon.m"], other.state[b]["muon.m"])


def test_a_matrix_whose_partners_rest_is_stepped_as_in_a_stack():
    params = parameters([(4, 3)] * 2, torch.float32)
    optimizer = edsl.compile("muon", params)
    heights = stacks_of(optimizer)
    params[0].grad = torch.ones(4, 3)
    optimizer.step()
    assert heights == [2]
    assert optimizer.state[params[0]]["step"] == 1
    assert not optimizer.state[params[1]]


def test_different_weight_decay_groups_and_dtypes_do_not_share_a_stack():
    params = [*parameters([(4, 3)] * 2, torch.float32), *parameters([(4, 3)] * 2, torch.float64)]
    optimizer = edsl.compile("muon", [{"params": params[:1], "weight_decay": 0.5}, {"params": params[1:]}])
    heights = stacks_of(optimizer)
    walk(optimizer, params, [[torch.ones_like(parameter) for parameter in params]])
    assert heights == [2, 2]  # one of float32, twice since its kin may come in this group; two of float64
    assert optimizer.fallbacks == []


@dataclass(frozen=True)
class Peak(Adaptor):
    """u = g / (c + max|g|) in torch's own words, which mean something else on a stack."""

    name: ClassVar[str] = "peak"
    c: float = field(1.0, Number(), "c")

    def step(self, x, memory, at):
        return x / (self.c + x.abs().max()), memory


def test_a_stage_that_speaks_torch_is_never_stacked():
    params, twins = parameters([(4, 3)] * 3, torch.float32), parameters([(4, 3)] * 3, torch.float32)
    pipeline = Pipeline((edsl.grad(), Peak(), edsl.muon()))
    optimizer, twin = edsl.compile(pipeline, params), edsl.compile(pipeline, twins, mode="eager")
    heights = stacks_of(optimizer)
    rows = gradients(3, [(4, 3)] * 3, torch.float32)
    walk(optimizer, params, rows)
    walk(twin, twins, rows)
    assert heights == []
    for a, b in zip(params, twins, strict=True):
        assert (a - b).norm() <= 1e-5 * b.norm()


@pytest.mark.parametrize("device", [*STACKS, "mps"])
@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (64, 64), (768, 3072), (8192, 8192), (0, 3)])
def test_a_stack_holds_no_more_than_its_device_likes(rows, columns, device):
    high = most_in_stack(rows, columns, device, count=1000)
    assert 1 <= high <= 1000
    assert high == 1 or high * rows * columns <= STACKS[device][0]
