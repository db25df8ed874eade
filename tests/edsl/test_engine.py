"""The compiled step: what it may be given, and how seldom it is compiled."""

import os
import subprocess
import sys

import pytest
import torch
from problem import gradients, parameters, tensors, walk, worst

import edsl
from edsl.adapters.noise import Noise

BUCKETS = [(4, 3), (7,), (1,), (5, 2, 2), (12,), (64, 8)]


@pytest.mark.parametrize("spec", ["alto", "grad | clip(norm=1) | esgd"])
def test_schedule_of_lr_alpha_and_betas_never_recompiles_after_step_2(spec):
    params = parameters(BUCKETS, torch.float32)
    optimizer = edsl.compile(spec, params)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.1, total_steps=101, cycle_momentum=False)
    after_second = None
    for step, row in enumerate(gradients(100, BUCKETS, torch.float32), start=1):
        group = optimizer.param_groups[0]
        group["alpha"] = -5 + step / 50
        group["weight_decay"] = 1e-3 * step
        if "beta2" in group:
            group["beta2"] = 0.9 - step / 1000
        walk(optimizer, params, [row])
        scheduler.step()
        if step == 2:
            after_second = optimizer.compiled_graphs
    assert after_second is not None
    assert 0 < optimizer.compiled_graphs == after_second <= len(BUCKETS)
    assert optimizer.fallbacks == []


def test_graphs_of_20_optimizers_in_one_process_all_compile():
    shapes = [(3,), (2, 2)]
    for count in range(20):
        params = parameters(shapes, torch.float32)
        optimizer = edsl.compile(f"sgd(lr={0.1 + count})", params)
        walk(optimizer, params, gradients(1, shapes, torch.float32))
        assert optimizer.compiled_graphs == 1
        assert optimizer.fallbacks == []


def test_more_sizes_than_torchs_recompile_limit_stay_compiled():
    shapes = [(size,) for size in range(2, 22)]
    params = parameters(shapes, torch.float32)
    optimizer = edsl.compile("sgd", params)
    walk(optimizer, params, gradients(2, shapes, torch.float32))
    assert optimizer.compiled_graphs == 1


def layouts():
    """Parameters in every layout, with the same values in contiguous twins."""
    generator = torch.Generator().manual_seed(5)

    def draw(*shape):
        return torch.randn(shape, generator=generator)

    strided = draw(6, 8)[:, ::2]
    return {
        "transposed": draw(5, 3).t(),
        "channels last": draw(2, 3, 4, 4).to(memory_format=torch.channels_last),
        "strided": strided,
        "0-d": draw(),
        "one element": draw(1, 1),
        "empty": draw(0, 3),
        "a row of a matrix": draw(4, 6)[1],
    }


def test_every_layout_steps_compiled_like_a_contiguous_twin():
    params = [torch.nn.Parameter(tensor) for tensor in layouts().values()]
    twins = [torch.nn.Parameter(p.detach().contiguous().clone()) for p in params]
    strides = [p.stride() for p in params]
    storages = [p.untyped_storage().data_ptr() for p in params]
    optimizer, twin = edsl.compile("alto", params), edsl.compile("alto", twins, mode="eager")
    for step in range(4):
        for i, (p, q) in enumerate(zip(params, twins, strict=True)):
            g = torch.randn(p.shape, generator=torch.Generator().manual_seed(100 * step + i))
            p.grad = g.t().contiguous().t() if g.dim() == 2 else g  # strides of its own
            q.grad = g.clone()
        optimizer.step()
        twin.step()
    for p, q in zip(params, twins, strict=True):
        torch.testing.assert_close(p, q, rtol=1e-6, atol=1e-7)
    assert [p.stride() for p in params] == strides
    assert [p.untyped_storage().data_ptr() for p in params] == storages


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_parameters_keep_their_dtype_and_fp32_state_compiled(dtype):
    params = parameters(dtype=dtype)
    optimizer = edsl.compile("alto", params)
    walk(optimizer, params, gradients(5, dtype=dtype))
    assert all(p.dtype == dtype for p in params)
    buffers = [v for p in params for name, v in optimizer.state[p].items() if name != "step"]
    assert len(buffers) == 9
    assert all(b.dtype == torch.float32 for b in buffers)


def test_value_scheduled_out_of_its_domain_is_an_error_at_that_step():
    params = parameters()
    optimizer = edsl.compile("alto", params, mode="eager")
    walk(optimizer, params, gradients(1))
    optimizer.param_groups[0]["alpha"] = -200
    with pytest.raises(edsl.EdslError, match="must be less than"):
        walk(optimizer, params, gradients(1))


def test_momentum_scheduled_from_0_is_an_error_that_says_why():
    params = parameters()
    optimizer = edsl.compile("sgd", params, mode="eager")
    walk(optimizer, params, gradients(1))
    optimizer.param_groups[0]["momentum"] = 0.9
    with pytest.raises(edsl.EdslError, match="without its buffers m"):
        walk(optimizer, params, gradients(1))


def test_beta1_scheduled_in_the_one_buffer_form_is_a_warning():
    params = parameters()
    optimizer = edsl.compile("esgd", params, mode="eager")
    walk(optimizer, params, gradients(1))
    optimizer.param_groups[0]["beta1"] = 0.9
    with pytest.warns(edsl.EdslWarning, match="buffers=2"):
        walk(optimizer, params, gradients(1))


def test_noise_is_drawn_from_seed_parameter_and_step_alone():
    def first_steps(seed, disturb):
        params = [torch.nn.Parameter(torch.zeros(1000)), torch.nn.Parameter(torch.zeros(1000))]
        optimizer = edsl.compile(f"grad | noise(std=2, gamma=0, seed={seed}) | sgd(lr=1)", params, mode="eager")
        before = torch.get_rng_state()
        if disturb:
            torch.rand(7)
        state = torch.get_rng_state()
        history = walk(optimizer, params, [[torch.zeros(1000)] * 2] * 2)
        assert torch.equal(torch.get_rng_state(), state)
        torch.set_rng_state(before)
        return history

    same, again, other = first_steps(0, False), first_steps(0, True), first_steps(1, False)
    assert worst(same, again) == 0
    assert worst(same, other) > 0
    draws = [same[0][0], same[0][1], same[1][0] - same[0][0]]
    for draw in draws:
        assert abs(draw.std() - 2) < 0.2  # 4 standard errors
        assert abs(draw.mean()) < 0.26
    assert not torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
    assert Noise().std == 0.01


def test_without_a_cpp_compiler_it_says_so_once_and_runs_eagerly(tmp_path):
    program = """
import torch, edsl
params = [torch.nn.Parameter(torch.ones(3)), torch.nn.Parameter(torch.ones(2, 2, dtype=torch.float64))]
optimizer = edsl.compile("sgd(lr=0.5)", params)
for _ in range(3):
    for p in params:
        p.grad = torch.ones_like(p)
    optimizer.step()
print(params[0].tolist(), params[1].tolist(), optimizer.compiled_graphs, len(optimizer.fallbacks))
"""
    run = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "CXX": "/nowhere/g++", "TORCHINDUCTOR_CACHE_DIR": str(tmp_path)},
    )
    assert run.stdout.strip() == "[-0.5, -0.5, -0.5] [[-0.5, -0.5], [-0.5, -0.5]] 0 2"
    told = [line for line in run.stderr.splitlines() if "EdslWarning" in line]
    assert len(told) == 1
    assert "no C++ compiler was found" in told[0]


def test_pipeline_across_groups_of_different_sizes_clips_by_the_norm_of_all():
    first, second = parameters([(3,)]), parameters([(4,)], seed=9)
    optimizer = edsl.compile(
        "grad | clip(norm=1) | sgd(lr=1)", [{"params": first}, {"params": second, "lr": 2.0}], mode="eager"
    )
    start = [p.detach().clone() for p in first + second]
    row = tensors([(3,), (4,)], seed=3)
    total = torch.cat(row).norm()
    assert total > 1
    walk(optimizer, first + second, [row])
    torch.testing.assert_close(first[0].detach(), start[0] - row[0] / total)
    torch.testing.assert_close(second[0].detach(), start[1] - 2 * row[1] / total)
