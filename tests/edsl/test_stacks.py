"""Matrices of equal shape that share a stack step as each would alone, by kernels and BLAS."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import pytest
import torch
from problem import gradients, parameters, walk

import edsl
from edsl.codegen.program import Loops, cut
from edsl.codegen.trace import record
from edsl.engine import stacks
from edsl.engine.stacks import STACKS, most_in_stack
from edsl.kernels.matrices import MatrixSteps
from edsl.language.context import NotElementwise
from edsl.language.domain import Number, field
from edsl.language.pipeline import Pipeline
from edsl.stage import Adaptor, BaseUpdate
from edsl.step.plan import GroupPlan

SHAPES = [(6, 4)] * 3 + [(3, 5)] * 2 + [(4, 2, 3, 3)]
SPECS = [
    "grad | e | muon(scale='match_rms_adamw', weight_decay=0.1) | caution",
    "grad | noise(std=0.01) | muon(nesterov=False) | ema_weights",
    "grad | clip(norm=0.5) | e | shampoo(block=4, every=3)",
    "shampoo(every=4, grafting='sgd', average='sum') | decay",
    "grad | e | soap(block=3, every=2) | lookahead(every=2)",
    "soap(every=3) | decay | caution",
    "grad | route(('0.*', shampoo(every=2)), matrix=muon, other=soap)",
]
SCHEDULED = ["emuon", "eshampoo", "esoap"]


@pytest.fixture
def heights(monkeypatch):
    """The heights of all stacks that are stepped."""
    seen: list[int] = []
    step = MatrixSteps.__call__

    def counted(self, stack, *given):
        seen.append(len(stack))
        return step(self, stack, *given)

    monkeypatch.setattr(MatrixSteps, "__call__", counted)
    return seen


def after(spec, mode, dtype, steps=9, shapes: Sequence[tuple[int, ...]] = SHAPES, **options):
    """Steps at each of which another parameter has no gradient, layers of very different scales, one of them turned."""
    params = parameters(shapes, dtype)
    params[1].data = params[1].data.mT.contiguous().mT
    named = [(f"{place}.weight", parameter) for place, parameter in enumerate(params)]
    optimizer = edsl.compile(spec, named, mode=mode, **options)
    for step, row in enumerate(gradients(steps, shapes, dtype)):
        for place, (parameter, gradient) in enumerate(zip(params, row, strict=True)):
            parameter.grad = None if place == step % len(shapes) else gradient * 10.0 ** (place % 3)
        optimizer.step()
    return params, optimizer


def distance(ours, theirs):
    pairs = [(a.detach().double(), b.detach().double()) for a, b in zip(ours, theirs, strict=True)]
    return max(float((a - b).norm() / b.norm()) for a, b in pairs)


@pytest.mark.filterwarnings("ignore:.* round away:edsl.errors.EdslWarning")
@pytest.mark.parametrize(
    ("dtype", "within"), [(torch.float64, 1e-12), (torch.float32, 2e-6), (torch.bfloat16, 1e-2)], ids=str
)
@pytest.mark.parametrize("spec", SPECS)
def test_matrices_step_as_eagerly_and_nothing_is_compiled_by_torch(spec, dtype, within, heights):
    ours, optimizer = after(spec, "compiled", dtype)
    theirs, _ = after(spec, "eager", dtype)
    assert distance(ours, theirs) <= within
    assert max(heights) == (1 if "noise" in spec else 3 if "route" not in spec else max(heights))
    assert optimizer.fallbacks == []
    assert optimizer.engine.torch_steps.inductor.graphs == 0


@pytest.mark.parametrize("spec", ["muon", "grad | e | shampoo(every=2)"])
def test_state_in_bfloat16_is_rounded_as_alone(spec):
    ours, optimizer = after(spec, "compiled", torch.float32, steps=3, state_dtype="bfloat16")
    theirs, other = after(spec, "eager", torch.float32, steps=3, state_dtype="bfloat16")
    for a, b in zip(ours, theirs, strict=True):
        for name, buffer in other.state[b].items():
            if name != "step":
                same = (optimizer.state[a][name] == buffer).float().mean()
                assert same >= 0.97, name  # a rounding at random tips over where the last digit differs


@pytest.mark.parametrize("spec", SCHEDULED)
def test_schedules_and_missing_gradients_compile_nothing_in_300_steps(spec):
    shapes = [(4, 3), (4, 3), (3, 5)]
    params = parameters(shapes, torch.float32)
    optimizer = edsl.compile(spec, [(f"{i}.weight", p) for i, p in enumerate(params)])
    rows, compiled = gradients(10, shapes, torch.float32), set()
    for step in range(300):
        for group in optimizer.param_groups:
            group["lr"] = 0.01 / (1 + step)
            group["alpha"] = -5 + step / 300
        for place, (parameter, gradient) in enumerate(zip(params, rows[step % 10], strict=True)):
            parameter.grad = None if step % 7 == place + 1 else gradient
        optimizer.step()
        compiled.add(optimizer.engine.graphs)
    assert len(compiled) == 1
    assert optimizer.fallbacks == []


def test_different_weight_decay_groups_and_dtypes_do_not_share_a_stack(heights):
    params = [*parameters([(4, 3)] * 2, torch.float32), *parameters([(4, 3)] * 2, torch.float64)]
    optimizer = edsl.compile("muon", [{"params": params[:1], "weight_decay": 0.5}, {"params": params[1:]}])
    walk(optimizer, params, [[torch.ones_like(parameter) for parameter in params]])
    assert heights == [1, 1, 2]
    assert optimizer.fallbacks == []


def test_a_large_matrix_is_alone_in_its_stack_and_its_buffers_are_not_copied(heights, monkeypatch):
    monkeypatch.setitem(STACKS, "cpu", 10)
    monkeypatch.setattr(stacks.torch, "stack", lambda *given: pytest.fail("a stack was copied"))
    ours, _ = after("shampoo(every=2)", "compiled", torch.float64)
    monkeypatch.undo()
    theirs, _ = after("shampoo(every=2)", "eager", torch.float64)
    assert set(heights) == {1}
    assert distance(ours, theirs) <= 1e-12


@pytest.mark.parametrize("spec", ["soap(every=2)", "shampoo(every=2)"])
def test_factors_that_somebody_laid_out_otherwise_step_as_contiguous_ones(spec):
    ends = []
    for turned in (False, True):
        params = parameters(SHAPES, torch.float64)
        optimizer = edsl.compile(spec, params)
        rows = gradients(6, SHAPES, torch.float64)
        walk(optimizer, params, rows[:3])
        for state in optimizer.state.values() if turned else ():
            for name, buffer in state.items():
                if buffer.dim() == 4:
                    state[name] = buffer.mT.contiguous().mT
        ends.append(walk(optimizer, params, rows[3:])[-1])
    assert distance(*ends) == 0


@dataclass(frozen=True)
class Peak(Adaptor):
    """u = g / (c + max|g|) in torch's own words, which mean something else on a stack."""

    name: ClassVar[str] = "peak"
    c: float = field(1.0, Number(), "c")

    def step(self, x, memory, at):
        return x / (self.c + x.abs().max()), memory


def test_a_stage_that_speaks_torch_is_never_stacked(heights):
    params, twins = parameters([(4, 3)] * 3, torch.float32), parameters([(4, 3)] * 3, torch.float32)
    pipeline = Pipeline((edsl.grad(), Peak(), edsl.muon()))
    optimizer, twin = edsl.compile(pipeline, params), edsl.compile(pipeline, twins, mode="eager")
    rows = gradients(3, [(4, 3)] * 3, torch.float32)
    walk(optimizer, params, rows)
    walk(twin, twins, rows)
    assert heights == []
    for a, b in zip(params, twins, strict=True):
        assert (a - b).norm() <= 1e-5 * b.norm()


class Sketch(NamedTuple):
    left: object


@dataclass(frozen=True)
class Whitened(BaseUpdate):
    """A matrix update of somebody else's: each row over the norm that it had so far, and products of products."""

    name: ClassVar[str] = "whitened"
    is_matrix: ClassVar[bool] = True
    lr: float = field(0.1, Number(0), "η")

    def init(self, zero):
        return Sketch(zero)

    def buffer_shapes(self, rows, columns):
        return {"left": (rows, rows)}

    def step(self, x, memory, at):
        left = 0.5 * memory.left + at.product(x, at.transpose(x))
        turned = at.product(left, at.norm(x) * x)  # reads what was written before
        back = at.product(at.transpose(memory.left), turned)
        return -self.lr * (turned + back) / (at.norm(turned) + at.norm(back) + 1), Sketch(left)


def test_a_matrix_update_of_ones_own_steps_as_eagerly(heights):
    ends = []
    for mode in ("compiled", "eager"):
        params = parameters([(4, 3)] * 3, torch.float64)
        optimizer = edsl.compile(edsl.grad() | Whitened(), params, mode=mode)
        ends.append(walk(optimizer, params, gradients(4, [(4, 3)] * 3, torch.float64))[-1])
        assert optimizer.engine.torch_steps.inductor.graphs == 0
    assert distance(*ends) <= 1e-12
    assert set(heights) == {3}


def parts_of(spec):
    pipeline = edsl.parse(spec)
    segment = GroupPlan(pipeline, False, dict(pipeline.hyperparameters)).segments[-1]
    program = cut(record(segment), [True] * len(segment.buffers))
    return [part.shape if isinstance(part, Loops) else part.call.name for part in program.parts]


def test_muon_is_two_loops_around_one_orthogonal_factor():
    assert parts_of("grad | e | muon | caution") == [(7, 3), "orthogonal", (7, 3)]


def test_soap_turns_into_the_basis_and_back_once():
    found = parts_of("soap")
    assert found.count("product") == 4
    assert found.count("gram") == 2
    assert [part for part in found if isinstance(part, tuple)] == [
        (7, 3),
        (1, 1, 7, 3),
        (1, 1, 7, 7),
        (1, 1, 3, 3),
        (7, 3),
    ]


@pytest.mark.parametrize("block", [1, 2, 3, 5])
def test_blocks_of_every_size_step_as_eagerly(block):
    spec = f"soap(block={block}, every=2)"
    ours, _ = after(spec, "compiled", torch.float64, steps=4)
    theirs, _ = after(spec, "eager", torch.float64, steps=4)
    assert distance(ours, theirs) <= 1e-12


def test_a_number_kept_for_each_matrix_is_no_tensor_of_its_elements():
    @dataclass(frozen=True)
    class Kept(BaseUpdate):
        name: ClassVar[str] = "kept"
        is_matrix: ClassVar[bool] = True

        def init(self, zero):
            return Sketch(zero)

        def buffer_shapes(self, rows, columns):
            return {"left": (1, 1)}

        def step(self, x, memory, at):
            return -memory.left * x, memory

    segment = GroupPlan(Pipeline((edsl.grad(), Kept())), False, {}).segments[-1]
    with pytest.raises(NotElementwise, match="matrices of different shapes"):
        cut(record(segment), [True])


def test_elements_of_different_shapes_are_no_program():
    @dataclass(frozen=True)
    class Mixed(BaseUpdate):
        name: ClassVar[str] = "mixed"
        is_matrix: ClassVar[bool] = True

        def step(self, x, memory, at):
            return x + at.transpose(x), memory

    segment = GroupPlan(Pipeline((edsl.grad(), Mixed())), False, {}).segments[-1]
    with pytest.raises(NotElementwise, match="matrices of different shapes"):
        cut(record(segment), [])


@pytest.mark.parametrize("device", [*STACKS, "mps"])
@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (64, 64), (768, 3072), (8192, 8192), (0, 3)])
def test_a_stack_holds_no_more_than_its_device_likes(rows, columns, device):
    high = most_in_stack(rows, columns, device, count=1000)
    assert 1 <= high <= 1000
    assert high == 1 or high * rows * columns <= STACKS[device]
