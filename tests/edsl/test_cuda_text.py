"""Steps on a GPU: their text, their launches, and what they compute, in Triton's interpreter where Triton is there.

Whether Triton interprets is settled when it is loaded: those tests run in a process of their own.
"""

import ast
import importlib.util
import os
import re
import subprocess
import sys
import warnings
from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from problem import gradients, parameters, walk

import edsl
import edsl.kernels.cuda
import edsl.stage
from edsl.codegen.expression import Conditions
from edsl.codegen.signature import KernelSignature
from edsl.codegen.trace import record
from edsl.codegen.triton import BLOCK, kernels
from edsl.costs.traffic import bytes_of_loops
from edsl.errors import EdslWarning
from edsl.kernels.cuda import CudaKernels
from edsl.kernels.module_cache import import_source
from edsl.language.context import NotElementwise
from edsl.language.registry.recipes import RECIPES
from edsl.numerics.formats.catalogue import FORMATS
from edsl.numerics.weights.forms import FORMS
from edsl.step.plan import GroupPlan

SINGLE = torch.float32
SIZES = [(1,), (BLOCK - 1,), (BLOCK,), (2, BLOCK), (3, BLOCK + 5)]
VARIANTS = [
    "grad | e(buffers=2, start='first') | sgd(lr=0.01, momentum=0.9, nesterov=True)",
    "grad | e | clip(norm=0.1, value=0.05) | noise(std=0.01, seed=3) | lamb(layerwise=False, m_reads='g')",
    "grad | guard | e | rmsprop(centered=True, momentum=0.9, weight_decay=0.01)",
    "grad | e | adan(weight_decay=0.01) | caution | decay | lookahead(every=2) | ema_weights(decay=0.9)",
    "hutchinson(every=2) | e | sophia(lr=0.01)",
    "grad | e(start='first') | lars(momentum=0.9)",
]

INTERPRETS = os.environ.get("TRITON_INTERPRET") == "1"
needs_triton = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed")
interpreted = pytest.mark.skipif(not INTERPRETS, reason="runs in a process of its own, with Triton's interpreter")
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of numpy in the interpreter


def on_triton(spec, params, **options):
    """An optimizer whose steps go to Triton where they can, and run eagerly otherwise."""
    optimizer = edsl.compile(spec, params, mode="eager", **options)
    optimizer.engine.cuda = CudaKernels("cpu")
    return optimizer


def both(spec, shapes, steps=3, dtype=SINGLE, **options):
    """The parameters after some steps, on Triton and eagerly, and the two optimizers."""
    ends, optimizers = [], []
    for build in (on_triton, lambda *given, **options: edsl.compile(*given, mode="eager", **options)):
        params = parameters(shapes, dtype)
        optimizers.append(build(spec, params, **options))
        ends.append(walk(optimizers[-1], params, gradients(steps, shapes, dtype))[-1])
    return ends, optimizers


def distance(ends):
    """The largest relative difference of a layer."""
    return max(float((a - b).double().norm() / b.double().norm()) for a, b in zip(*ends, strict=True))


def made(spec, buffers=SINGLE):
    """The kernels of all segments that have some, of matrices and of vectors."""
    optimizer = edsl.compile(spec, parameters([(4, 3), (5,)], SINGLE), mode="eager")
    for index, group in enumerate(optimizer.param_groups):
        plan = optimizer.engine.plan(index, group, spared=False)
        estimator = plan.pipeline.estimator
        for number, segment in enumerate(plan.segments):
            if segment.is_matrix:
                continue
            form = KernelSignature(SINGLE, SINGLE, SINGLE, (SINGLE,) * 3, (buffers,) * len(segment.buffers))
            try:
                recording = record(segment, Conditions(estimator.gives_hessian, estimator.gives_difference, number > 0))
            except NotElementwise:
                continue
            yield kernels(recording, form, len(segment.noisy), segment.live_layout.k)


class Launches:
    """A generated module whose kernels only note how many programs they are launched with."""

    def __init__(self, monkeypatch):
        self.seen = []
        monkeypatch.setattr(edsl.kernels.cuda, "import_source", lambda text: self)

    def __getattr__(self, name):
        return Launcher(name, self.seen)


class Launcher:
    def __init__(self, name, seen):
        self.name, self.seen = name, seen

    def __getitem__(self, grid):
        return lambda *given, **options: self.seen.append((self.name, grid[0]))


class Broken:
    """A generated module whose kernels fail to compile."""

    def __getattr__(self, name):
        return self

    def __getitem__(self, grid):
        raise RuntimeError("\nptxas died\nand this is why")


@pytest.mark.parametrize("spec", [*RECIPES, *VARIANTS])
def test_the_text_is_python_and_the_same_every_time(spec):
    for buffers in (SINGLE, torch.bfloat16):
        texts = [one.text for one in made(spec, buffers)]
        assert texts == [one.text for one in made(spec, buffers)]
        assert texts or spec == "muon"
        for text in texts:
            ast.parse(text)


@pytest.mark.parametrize(
    ("spec", "passes"), [("eadamw", 1), ("alto", 2), ("grad | e | lamb(layerwise=False)", 1), ("elars", 2)]
)
def test_norms_of_a_layer_take_one_pass_more(spec, passes):
    (one,) = made(spec)
    names = [name for number in range(passes) for name in (f"scalars{number}", f"pass{number}")]
    assert list(one.names) == names


@pytest.mark.parametrize(("spec", "loops"), [("adamw", [28]), ("eadamw", [36]), ("alto", [32, 16]), ("lamb", [24, 16])])
def test_loops_read_and_write_the_bytes_that_the_plan_counts(spec, loops):
    (one,) = made(spec)
    bodies = re.findall(r"def elements\d\(.*?(?=\n@|\Z)", one.text, re.DOTALL)
    touched = [len(re.findall(r"tl\.(?:load|store)\(\w+ \+ lane", body)) for body in bodies]
    assert [4 * count for count in touched] == loops
    pipeline = edsl.parse(spec)
    assert bytes_of_loops(GroupPlan(pipeline, False, pipeline.hyperparameters), SINGLE) == tuple(loops)


HOPPER = ("cuda", 90, 32)
TAKEN = {"table": "*i64", "layers": "*i32", "numbers": "*fp64", "shared": "*fp64", "partials": "*fp32", "blocks": "i32"}


@needs_triton
@pytest.mark.skipif(INTERPRETS, reason="what is interpreted is not compiled")
@pytest.mark.parametrize(
    "spec", ["alto", "eadamw", *(pytest.param(spec, marks=pytest.mark.slow) for spec in [*RECIPES, *VARIANTS])]
)
def test_kernels_compile_for_hopper_with_16_byte_accesses_to_every_tensor(spec):
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    for one in made(spec):
        module = import_source(one.text)
        for name in one.names:
            source = ASTSource(
                fn=getattr(module, name),
                signature={**TAKEN, "ALIGNED": "constexpr"},
                constexprs={(len(TAKEN),): True},
                attrs={(place,): [["tt.divisibility", 16]] for place in range(5)},
            )
            compiled = triton.compile(source, target=GPUTarget(*HOPPER), options={"enable_fp_fusion": False})
            assert len(compiled.asm["cubin"]) > 0
            if not name.startswith("pass"):
                continue
            (body,) = re.findall(rf"def elements{name[4:]}\(.*?(?=\n@|\Z)", one.text, re.DOTALL)
            for kind, short in (("load", "ld"), ("store", "st")):
                wide = len(re.findall(rf"{short}\.global\S*\.v4", compiled.asm["ptx"]))
                tensors = len(re.findall(rf"tl\.{kind}\(\w+ \+ lane", body))
                assert wide == tensors * BLOCK // (4 * 128), (name, kind)


@needs_triton
@pytest.mark.skipif(INTERPRETS, reason="what is interpreted is not compiled")
@pytest.mark.parametrize("name", ["int4", *(pytest.param(n, marks=pytest.mark.slow) for n in FORMATS if n != "int4")])
def test_kernels_of_state_in_codes_compile_for_hopper(name):
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    for one in made("alto", FORMATS[name]):
        module = import_source(one.text)
        for kernel in one.names:
            signature = {**TAKEN, "ALIGNED": "constexpr"}
            source = ASTSource(getattr(module, kernel), signature, constexprs={(len(TAKEN),): True})
            compiled = triton.compile(source, target=GPUTarget(*HOPPER), options={"enable_fp_fusion": False})
            assert len(compiled.asm["cubin"]) > 0


@pytest.mark.parametrize("layers", [1, 40])
def test_the_number_of_launches_does_not_depend_on_the_number_of_layers(layers, monkeypatch):
    launches = Launches(monkeypatch)
    both("alto", [(BLOCK + 1,)] * layers, steps=1)
    loads, steps = launches.seen[:4], launches.seen[4:]
    assert [programs for _, programs in loads] == [0] * 4
    assert steps == [("scalars0", layers), ("pass0", 2 * layers), ("scalars1", layers), ("pass1", 2 * layers)]


def test_where_triton_fails_the_step_is_left_with_one_warning(monkeypatch):
    monkeypatch.setattr(edsl.kernels.cuda, "import_source", lambda text: Broken())
    with pytest.warns(EdslWarning) as told:
        ends, (optimizer, _) = both("grad | clip(norm=1) | alto", SIZES)
    assert [str(one.message) for one in told] == ["Triton failed (ptxas died): using torch.compile"]
    assert distance(ends) == 0
    assert optimizer.compiled_graphs == 0


def test_without_triton_the_step_is_left_silently(monkeypatch):
    def absent(text):
        raise ImportError("No module named 'triton'")

    monkeypatch.setattr(edsl.kernels.cuda, "import_source", absent)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ends, _ = both("alto", SIZES)
    assert distance(ends) == 0


@needs_triton
@pytest.mark.skipif(INTERPRETS, reason="this is that process")
def test_tritons_interpreter_computes_what_eager_steps_do(tmp_path):
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", __file__, "-k", "interpreter"]
    run = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=tmp_path, env={**kept, "TRITON_INTERPRET": "1"}
    )
    assert run.returncode == 0, run.stdout[-4000:]
    assert "11 passed" in run.stdout


@interpreted
def test_interpreter_steps_every_recipe_within_1e_6():
    found = {}
    for spec in [*RECIPES, *VARIANTS]:
        ends, (optimizer, _) = both(spec, [(3, 2), (7,)], steps=2)
        assert optimizer.engine.cuda.kernels > 0, spec
        found[spec] = distance(ends)
    assert {spec: error for spec, error in found.items() if error > 1e-6} == {}


@interpreted
def test_interpreter_steps_layers_of_every_size_and_dtype():
    assert distance(both("alto", SIZES, steps=2)[0]) <= 1e-6
    for dtype, bound in ((torch.float64, 1e-13), (torch.bfloat16, 1e-2), (torch.float16, 1e-3)):
        ends, _ = both("alto", SIZES[:2], steps=2, dtype=dtype)
        assert distance(ends) <= bound, dtype


@interpreted
def test_interpreter_rounds_state_to_the_same_bits():
    _, (triton, eager) = both("eadamw", SIZES[1:4], state_dtype="bfloat16")
    states = [list(optimizer.state.values()) for optimizer in (triton, eager)]
    for ours, theirs in zip(*states, strict=True):
        assert ours["e.mean"].dtype == torch.bfloat16
        for name in ours:
            assert torch.equal(ours[name], theirs[name]), name


@interpreted
def test_interpreter_keeps_state_in_codes_to_the_same_bits():
    for name, dtype in (("int8", SINGLE), ("int4", torch.bfloat16), ("float8_e4m3fn", torch.float64)):
        ends, (triton, eager) = both("eadamw", [(3, 130), (259,), (7,)], 2, dtype, state_dtype=name)
        assert triton.engine.cuda.kernels > 0, triton.engine.cuda.reasons
        assert distance(ends) <= 1e-6
        for ours, theirs in zip(triton.state.values(), eager.state.values(), strict=True):
            assert all(torch.equal(ours[key], theirs[key]) for key in ours if ours[key].dtype == torch.uint8)


@interpreted
def test_interpreter_keeps_weights_below_float32_to_the_same_bits():
    for weights, dtype in (
        *((form, torch.bfloat16) for form in FORMS),
        *((f, torch.float16) for f in ("stochastic", "kahan")),
    ):
        for spec in ("sgd(lr=0.001)", "grad | e | sgd(lr=0.001) | lookahead(every=2)"):
            ends, (triton, eager) = both(spec, SIZES[1:3], dtype=dtype, weights=weights)
            assert triton.engine.cuda.kernels > 0, triton.engine.cuda.reasons
            states = [list(optimizer.state.values()) for optimizer in (triton, eager)]
            assert all(map(torch.equal, *ends)), (weights, dtype)
            assert all(torch.equal(ours[name], theirs[name]) for ours, theirs in zip(*states) for name in ours), weights


@interpreted
def test_interpreter_steps_matrices_around_their_products():
    for spec, dtype in (("muon | caution", None), ("shampoo(block=3)", None), ("clip(norm=0.5) | soap", "bfloat16")):
        ends, (optimizer, _) = both(f"grad | {spec}", [(6, 4)] * 2 + [(3, 5)], steps=2, state_dtype=dtype)
        assert distance(ends) <= 1e-6, spec
        assert optimizer.engine.cuda.reasons == []


@interpreted
def test_interpreter_steps_views_that_are_not_aligned():
    flat = [torch.linspace(-1, 1, 2 * BLOCK + 6).split([1, BLOCK + 2, BLOCK + 3]) for _ in range(2)]
    sides = [[torch.nn.Parameter(part) for part in parts] for parts in flat]
    assert any(p.data_ptr() % 16 for p in sides[0])
    triton, eager = on_triton("alto", sides[0]), edsl.compile("alto", sides[1], mode="eager")
    rows = gradients(2, [p.shape for p in sides[0]], SINGLE)
    assert distance([walk(triton, sides[0], rows)[-1], walk(eager, sides[1], rows)[-1]]) <= 1e-6


@interpreted
def test_interpreter_steps_groups_with_values_of_their_own_and_missing_gradients():
    shapes = [(5,), (4, 3), (BLOCK + 1,)]
    ends = []
    for build in (on_triton, lambda *given: edsl.compile(*given, mode="eager")):
        params = parameters(shapes, SINGLE)
        optimizer = build("alto", [{"params": params[:1], "lr": 0.1}, {"params": params[1:], "weight_decay": 0.1}])
        for step, row in enumerate(gradients(5, shapes, SINGLE)):
            optimizer.param_groups[0]["lr"] = 0.1 / (1 + step)
            for place, (parameter, gradient) in enumerate(zip(params, row, strict=True)):
                parameter.grad = None if place == step % 3 else gradient.clone()
            optimizer.step()
        ends.append([p.detach() for p in params])
    assert distance(ends) <= 1e-6


@interpreted
def test_interpreter_raises_negative_numbers_to_powers():
    @dataclass(frozen=True)
    class Curved(edsl.stage.Adaptor):
        """u = g³ + k² g² + g³ g⁻¹."""

        name: ClassVar[str] = "curved"

        def step(self, g, memory, at):
            return g**3 + (-at.k) ** 2 * g**2 + g**3 * g**-1, memory

    ends, (optimizer, _) = both(edsl.grad() | Curved() | edsl.sgd(lr=0.1), SIZES[:3])
    assert optimizer.engine.cuda.kernels == 1
    assert distance(ends) <= 1e-6


@interpreted
def test_interpreter_compiles_nothing_after_the_first_step():
    params = parameters(SIZES[:2], SINGLE)
    optimizer = on_triton("grad | clip(norm=1) | alto", params)
    counts = []
    for row in gradients(4, SIZES[:2], SINGLE):
        optimizer.param_groups[0]["lr"] *= 0.9
        walk(optimizer, params, [row])
        counts.append(optimizer.compiled_graphs)
    assert counts == [1] * 4


@interpreted
def test_interpreter_repeats_steps_with_new_gradients_and_numbers():
    shapes = [(5,), (4, 3), (BLOCK + 1,)]
    ends = []
    for build in (on_triton, lambda *given: edsl.compile(*given, mode="eager")):
        params = parameters(shapes, SINGLE)
        optimizer = build("alto", params)
        for step, row in enumerate(gradients(7, shapes, SINGLE)):
            optimizer.param_groups[0]["lr"] = 0.1 / (1 + step)
            for parameter, gradient in zip(params, row, strict=True):
                parameter.grad = gradient.clone()
            optimizer.step()
        ends.append([p.detach() for p in params])
        assert optimizer.engine.can_replay is (build is on_triton)
        assert [state["step"].item() for state in optimizer.state.values()] == [7.0] * 3
    assert distance(ends) <= 1e-6
