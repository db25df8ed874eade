"""Native steps: right at every size and on any number of threads, compiled once, without temporaries."""

import os
import signal
from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from problem import gradients, parameters, walk, worst

import edsl
import edsl.stage
from edsl.codegen.cpp import BLOCK, SCRATCH, SMALL

SIZES = [(1,), (BLOCK - 1,), (BLOCK,), (BLOCK + 1,), (SMALL,), (SMALL + 7,), (3, BLOCK)]
LAYERWISE = ["alto", "grad | e(start='first') | lars(momentum=0.9)", "grad | clip(norm=0.1) | e | lamb | caution"]


@pytest.fixture
def threads():
    """Sets the number of threads, and puts it back."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def run(spec, mode, shapes, steps=3, dtype=torch.float32, **options):
    params = parameters(shapes, dtype)
    optimizer = edsl.compile(spec, params, mode=mode, **options)
    return walk(optimizer, params, gradients(steps, shapes, dtype)), optimizer


@pytest.mark.parametrize("spec", LAYERWISE)
def test_layers_of_every_size_step_like_eager_ones(spec):
    native, optimizer = run(spec, "compiled", SIZES)
    eager, _ = run(spec, "eager", SIZES)
    assert optimizer.engine.native.kernels == optimizer.compiled_graphs > 0
    for a, b in zip(native[-1], eager[-1], strict=True):
        assert (a - b).norm() <= 1e-6 * b.norm()


@pytest.mark.parametrize("spec", LAYERWISE)
def test_layers_too_large_to_keep_values_aside_step_like_eager_ones(spec):
    shapes = [(SCRATCH + 3,)]
    native, _ = run(spec, "compiled", shapes)
    eager, _ = run(spec, "eager", shapes)
    assert (native[-1][0] - eager[-1][0]).norm() <= 1e-6 * eager[-1][0].norm()


@pytest.mark.parametrize("spec", ["alto", "eadamw"])
def test_the_number_of_threads_changes_no_bit(spec, threads):
    shapes = [*SIZES, (SCRATCH + 3,)]
    threads(1)
    one, _ = run(spec, "compiled", shapes)
    threads(2)
    two, _ = run(spec, "compiled", shapes)
    assert worst(one, two) == 0


@pytest.mark.parametrize("spec", ["alto", "eadamw", "adan", "sgd(momentum=0.9, nesterov=True)"])
def test_elementwise_arithmetic_in_float64_equals_eager_to_the_last_bits(spec):
    native, _ = run(spec, "compiled", SIZES[:4], steps=20, dtype=torch.float64)
    eager, _ = run(spec, "eager", SIZES[:4], steps=20, dtype=torch.float64)
    assert worst(native, eager) <= 1e-14


def test_300_steps_with_schedules_missing_gradients_and_a_new_group_compile_nothing_after_the_first():
    shapes = [(4, 3), (7,), (5, 2, 2), (12,)]
    params = parameters(shapes, torch.float32)
    twins = parameters(shapes, torch.float32)
    late, late_twin = parameters([(3, 3)], torch.float32), parameters([(3, 3)], torch.float32)
    native, eager = edsl.compile("alto", params), edsl.compile("alto", twins, mode="eager")
    compiled = []
    for step, row in enumerate(gradients(300, [*shapes, (3, 3)], torch.float32)):
        if step == 150:
            native.add_param_group({"params": late, "lr": 0.02})
            eager.add_param_group({"params": late_twin, "lr": 0.02})
        for optimizer, side in ((native, [*params, *late]), (eager, [*twins, *late_twin])):
            for group in optimizer.param_groups:
                group["lr"] = 0.01 / (1 + step)
                group["alpha"] = -5 + step / 100
                group["weight_decay"] = 1e-4 * step
            for place, (parameter, gradient) in enumerate(zip(side, row, strict=True)):
                parameter.grad = None if place == step % 4 else gradient.clone()
            optimizer.step()
        compiled.append(native.compiled_graphs)
    assert set(compiled) == {1}
    assert len({int(native.state[p]["step"]) for p in [*params, *late]}) > 1
    for p, q in zip([*params, *late], [*twins, *late_twin], strict=True):
        torch.testing.assert_close(p, q, rtol=1e-5, atol=1e-7)


def test_a_step_of_alto_on_large_layers_allocates_less_than_a_tenth_of_a_byte_a_parameter():
    shapes = [(2 * SCRATCH,), (SCRATCH // 64,), (1000,)]
    params = parameters(shapes, torch.float32)
    optimizer = edsl.compile("alto", params)
    for parameter in params:
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    with torch.profiler.profile(profile_memory=True, activities=[torch.profiler.ProfilerActivity.CPU]) as seen:
        optimizer.step()
    allocated = sum(max(0, event.self_cpu_memory_usage) for event in seen.events())
    assert allocated < 0.1 * sum(p.numel() for p in params)


def test_parameters_and_state_that_were_replaced_between_steps_are_stepped_where_they_are_now():
    shapes = [(6, 5), (9,)]
    params, twins = parameters(shapes, torch.float32), parameters(shapes, torch.float32)
    native, eager = edsl.compile("alto", params), edsl.compile("alto", twins, mode="eager")
    for step, row in enumerate(gradients(6, shapes, torch.float32)):
        for optimizer, side in ((native, params), (eager, twins)):
            if step == 2:
                side[0].data = side[0].data.clone()
            if step == 3:
                optimizer.state[side[1]]["lamb.m"] = optimizer.state[side[1]]["lamb.m"].clone()
            if step == 4:  # as what moves state to another place does
                optimizer.state[side[1]]["lamb.v"].data = optimizer.state[side[1]]["lamb.v"].data.clone()
                side[0].data = side[0].data.t().contiguous().t()
            for parameter, gradient in zip(side, row, strict=True):
                parameter.grad = gradient.clone()
            optimizer.step()
    for p, q in zip(params, twins, strict=True):
        torch.testing.assert_close(p, q, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("spec", ["alto", "grad | clip(norm=0.1) | e | clip(norm=0.2) | lamb(v_reads='g')"])
def test_gradients_and_state_may_change_their_dtype_between_steps(spec):
    shapes = [(6, 5), (9,)]
    params, twins = parameters(shapes, torch.bfloat16), parameters(shapes, torch.bfloat16)
    native, eager = edsl.compile(spec, params), edsl.compile(spec, twins, mode="eager")
    for step, row in enumerate(gradients(6, shapes, torch.bfloat16)):
        for optimizer, side in ((native, params), (eager, twins)):
            for parameter, gradient in zip(side, row, strict=True):
                parameter.grad = None
                parameter.grad_dtype = None  # any
                parameter.grad = gradient.float() if step % 2 else gradient.clone()
                if step == 3:
                    state = optimizer.state[parameter]
                    state["lamb.m"].data = state["lamb.m"].data.double()
            optimizer.step()
    for p, q in zip(params, twins, strict=True):
        torch.testing.assert_close(p, q, rtol=1e-2, atol=1e-3)


def test_gradients_are_let_go_after_a_step():
    import weakref

    params = parameters([(5,)])
    optimizer = edsl.compile("alto", params)
    walk(optimizer, params, gradients(1, [(5,)]))
    gradient = weakref.ref(params[0].grad)
    params[0].grad = None
    assert gradient() is None


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.parametrize("shape", [(4, 4), (300, 300)])
def test_a_forked_child_steps_with_the_bits_of_its_parent(shape, threads):
    """OpenMP's threads stay with the parent; a child that asked for them would wait for ever."""
    threads(2)
    params, twins = parameters([shape], torch.float32), parameters([shape], torch.float32)
    rows = gradients(2, [shape], torch.float32)
    optimizer, twin = edsl.compile("alto", params), edsl.compile("alto", twins)
    walk(optimizer, params, rows[:1])
    expected = walk(twin, twins, rows)[-1][0]
    params[0].grad = rows[1][0]
    child = os.fork()
    if child == 0:
        signal.alarm(30)
        optimizer.step()
        os._exit(0 if (params[0].detach().numpy() == expected.numpy()).all() else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_a_stage_that_native_code_cannot_follow_is_left_to_torch_compile():
    @dataclass(frozen=True)
    class Cubed(edsl.stage.Adaptor):
        name: ClassVar[str] = "cubed"

        def step(self, x, memory, at):
            return x.pow(3), memory  # a method of tensors, not of `at`

    shapes = [(4, 3), (7,)]
    histories = []
    for mode in ("compiled", "eager"):
        params = parameters(shapes, torch.float32)
        optimizer = edsl.compile(edsl.grad() | Cubed() | edsl.sgd(lr=0.1), params, mode=mode)
        histories.append(walk(optimizer, params, gradients(3, shapes, torch.float32)))
    assert worst(*histories) <= 1e-6
    assert optimizer.fallbacks == []


def test_a_mode_without_native_code_is_torch_compiles():
    native, _ = run("alto", "compiled", [(4, 3), (7,)])
    inductor, optimizer = run("alto", "inductor", [(4, 3), (7,)])
    assert optimizer.engine.native.kernels == 0 < optimizer.compiled_graphs
    for a, b in zip(native[-1], inductor[-1], strict=True):
        assert (a - b).norm() <= 1e-6 * b.norm()
