"""What every registered stage and recipe must do, with no code of its own."""

import copy
import io

import pytest
import torch
from problem import SHAPES, gradients, parameters, walk, worst
from specs import pipeline_with

import edsl
from edsl.costs.cost import cost
from edsl.language.registry.lookup import stage_class
from edsl.language.registry.recipes import RECIPES
from edsl.language.registry.stages import STAGES
from edsl.optim.state import state_bytes
from edsl.theory.systems.linearise import NotLinear, linearise
from edsl.theory.text.notation import recurrences

VARIANTS = [
    "grad | e(buffers=2, start='first') | sgd(lr=0.01, momentum=0.9, nesterov=True)",
    "grad | e(start='first') | sgd(lr=0.01, momentum=0.9, average='ema', weight_decay=0.01)",
    "grad | e | clip(norm=0.1, value=0.05) | noise(std=0.01, seed=3) | lamb(layerwise=False, m_reads='g')",
    "grad | clip(value=0.05) | e | lamb(bias_correction=False, v_reads='g')",
    "grad | e | e(alpha=0.5, beta1=0.1) | adam(weight_decay=0.01)",
    "grad(accumulate=2) | e | rmsprop(centered=True, momentum=0.9, weight_decay=0.01)",
    "spsa(samples=3, distribution='gaussian', common=True) | e(buffers=2) | adam | caution",
    "hutchinson(every=3, samples=2, distribution='gaussian') | e | sophia(lr=0.01) | decay",
    "hutchinson(every=2, spatial=True) | clip(norm=0.1) | adahessian(power=0.5, weight_decay=0.01)",
    "sam(adaptive=True) | e | adan(weight_decay=0.01) | lookahead(every=3) | ema_weights(decay=0.9)",
    "grad | e | route(matrix=e(alpha=0.5, beta1=0.1) | muon(scale='match_rms_adamw'), vector=lars | caution)",
    "grad | route(matrix=muon, other=lion) | caution | ema_weights",
    "grad | e | shampoo(block=2, every=3, grafting='sgd', average='sum') | lookahead",
    "grad | clip(norm=0.1) | shampoo(block=3, every=2, grafting='none', exponent=0.5)",
    "grad | e | soap(block=2, every=3, weight_decay=0.01) | ema_weights",
    "grad | muon(polynomials='jordan', nesterov=False, scale='none', steps=3)",
]
SPECS = [pipeline_with(name) for name in STAGES] + list(RECIPES) + VARIANTS
STEPS = 200
MATRICES = [(4, 3), (2, 2, 1, 3)]


def shapes_for(spec):
    """Matrices alone, where a stage that no route leads to takes nothing else."""
    pipeline = edsl.parse(spec)
    return MATRICES if any(stage.is_matrix for stage in pipeline.stages) else SHAPES


def fresh(spec, mode="eager", dtype=torch.float32, **hyperparameters):
    params = parameters(shapes_for(spec), dtype=dtype)
    return params, edsl.compile(spec, params, mode=mode, **hyperparameters)


def rows_for(spec, steps, dtype=torch.float32):
    return gradients(steps, shapes_for(spec), dtype=dtype)


def run(spec, mode, steps=STEPS, dtype=torch.float32):
    params, optimizer = fresh(spec, mode, dtype)
    return walk(optimizer, params, rows_for(spec, steps, dtype)), optimizer


@pytest.mark.parametrize("spec", SPECS)
def test_text_parses_back_to_an_equal_pipeline(spec):
    pipeline = edsl.parse(spec)
    again = edsl.parse(str(pipeline))
    assert again == pipeline
    assert str(again) == str(pipeline)
    assert again.fingerprint == pipeline.fingerprint


def most_graphs(optimizer):
    """One for each segment of each group; twice where some steps have a new Hessian and some have none."""
    segments = sum(
        len(optimizer.engine.plan(index, group, spared=False).segments)
        for index, group in enumerate(optimizer.param_groups)
    )
    return segments * (2 if getattr(optimizer.pipeline.estimator, "every", 1) > 1 else 1)


@pytest.mark.parametrize("spec", SPECS)
def test_compiled_equals_eager_within_1e_6_after_200_steps(spec):
    compiled, optimizer = run(spec, "compiled")
    eager, _ = run(spec, "eager")
    # The orthogonal factor of a matrix moves by rounding over its smallest singular value.
    bound = 1e-5 if "muon" in spec else 1e-6
    for a, b in zip(compiled[-1], eager[-1], strict=True):
        assert (a - b).norm() <= bound * b.norm()
    assert any((a != b).any() for a, b in zip(eager[0], eager[-1], strict=True)), "nothing moved"
    assert optimizer.fallbacks == []
    assert 0 < optimizer.compiled_graphs <= most_graphs(optimizer), "more graphs than segments"


def test_compiled_muon_equals_eager_within_1e_12_in_float64():
    compiled, _ = run("muon", "compiled", dtype=torch.float64)
    eager, _ = run("muon", "eager", dtype=torch.float64)
    assert worst(compiled, eager) <= 1e-12


@pytest.mark.parametrize("spec", SPECS)
def test_state_resumes_bit_for_bit_through_a_weights_only_file(spec):
    rows = rows_for(spec, 8)
    params, optimizer = fresh(spec)
    walk(optimizer, params, rows[:4])
    file = io.BytesIO()
    torch.save({"params": [p.detach() for p in params], "optimizer": optimizer.state_dict()}, file)
    undisturbed = walk(optimizer, params, rows[4:])

    file.seek(0)
    saved = torch.load(file, weights_only=True)
    resumed_params = [torch.nn.Parameter(p) for p in saved["params"]]
    resumed = edsl.compile(spec, resumed_params, mode="eager")
    resumed.load_state_dict(saved["optimizer"])
    assert worst(walk(resumed, resumed_params, rows[4:]), undisturbed) == 0


@pytest.mark.parametrize("spec", SPECS)
def test_copy_of_a_running_optimizer_goes_on_alike(spec):
    rows = rows_for(spec, 6)
    params, optimizer = fresh(spec)
    walk(optimizer, params, rows[:3])
    twin_params, twin = copy.deepcopy((params, optimizer))
    assert worst(walk(twin, twin_params, rows[3:]), walk(optimizer, params, rows[3:])) == 0


@pytest.mark.parametrize("spec", SPECS)
def test_state_costs_what_the_pipeline_says(spec):
    _, optimizer = run(spec, "eager", steps=1)
    expected = 0.0
    for group in optimizer.param_groups:
        branch = optimizer.pipeline.branch(group.get("route", ""))
        for parameter in group["params"]:
            found = cost(branch, (parameter.shape[0], parameter.numel() // parameter.shape[0]))
            assert found is not None
            expected += found.state * parameter.numel()
    assert state_bytes(optimizer) == round(expected)


@pytest.mark.parametrize("spec", SPECS)
def test_recurrence_ends_in_a_new_theta(spec):
    written = recurrences(edsl.parse(spec))
    assert written[-1].lines[-1].startswith("θₖ = θₖ₋₁ ")


@pytest.mark.parametrize("spec", SPECS)
def test_theory_analyses_the_pipeline_or_names_the_stage_that_it_cannot(spec):
    for branch in edsl.parse(spec).branches.values():
        system, refusal = None, ""
        try:
            system = linearise(branch)
        except NotLinear as reason:
            refusal = str(reason)
        if system is None:
            assert any(refusal.startswith(f"{stage.name} has no linear model") for stage in branch.stages)
        else:
            assert system.A.shape == (len(system.states),) * 2


@pytest.mark.parametrize("spec", SPECS)
def test_zero_gradients_and_zero_lr_move_nothing_but_make_all_state(spec):
    rates = {key: 0.0 for key in edsl.parse(spec).keys if key.endswith("lr")}
    params, optimizer = fresh(spec, **rates)
    before = [p.detach().clone() for p in params]
    walk(optimizer, params, [[torch.zeros_like(p) for p in params]] * optimizer.pipeline.estimator.calls)
    assert worst([[p.detach() for p in params]], [before]) == 0
    assert all("step" in optimizer.state[p] for p in params)


def test_alto_keeps_12_bytes_per_parameter():
    params = parameters([(50, 40)], dtype=torch.float32)
    optimizer = edsl.compile("alto", params, mode="eager")
    walk(optimizer, params, gradients(1, [(50, 40)], dtype=torch.float32))
    assert state_bytes(optimizer) / 2000 == 12


def test_every_stage_of_a_name_is_that_name():
    assert all(stage_class(name).name == name for name in STAGES)
