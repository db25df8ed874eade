"""Finite gradients of any size: no step makes NaN or infinities of them, and every mode takes the same."""

import pytest
import torch
from torch.nn import Parameter

import edsl
from edsl.language.registry.lookup import stage_class
from edsl.language.registry.stages import STAGES

SIZES = (1e10, 1e20, 1e30, 1e37)
VARIANTS = (
    "sgd(momentum=0.9, nesterov=True)",
    "rmsprop(momentum=0.9, centered=True)",
    "shampoo(grafting='sgd')",
    "shampoo(grafting='none', average='sum')",
    "lamb(layerwise=False, bias_correction=False)",
    "grad | e(buffers=2) | adam",
    "grad | e(start='first') | adam",
    "grad | clip(norm=1) | adam",
    "grad | clip(value=1) | adam",
    "grad | guard(nonfinite='zero') | adam",
    "grad | e | lamb | caution",
)


def specs():
    """Every update and wrapper at its defaults, where gradients are all it reads, and some variants."""
    for name in STAGES:
        stage = stage_class(name)
        if stage.kind == "wrapper":
            yield f"adam | {name}"
        if stage.kind == "base update" and name != "route" and not edsl.parse(name).estimator.needs_closure:
            yield name
    yield from VARIANTS


def walked(spec, size, mode, once):
    """The parameters after four steps on gradients of a size, or one such among others."""
    generator = torch.Generator().manual_seed(0)
    params = [Parameter(torch.randn(shape, generator=generator)) for shape in ((6, 5), (4, 3), (41, 27))]
    optimizer = edsl.compile(spec, params, mode=mode)
    for k in range(4):
        for p in params:
            p.grad = torch.randn(p.shape, generator=generator) * (size if k == 1 or not once else 1)
        optimizer.step()
    return torch.cat([p.detach().flatten() for p in params])


def check(spec, mode, sizes):
    for size in sizes:
        for once in (False, True):
            eager = walked(spec, size, "eager", once)
            assert eager.isfinite().all(), (size, once)
            other = walked(spec, size, mode, once)
            assert torch.allclose(other, eager, rtol=1e-3, atol=1e-6), (size, once)


@pytest.mark.parametrize("spec", list(specs()))
def test_large_finite_gradients_move_weights_by_finite_steps_the_same_natively_and_eagerly(spec):
    is_matrix = any(stage.is_matrix for stage in edsl.parse(spec).stages)  # which torch.compile would take seconds for
    check(spec, "eager" if is_matrix else "compiled", (1e20, 1e30))


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["compiled", "inductor"])
@pytest.mark.parametrize("spec", list(specs()))
def test_large_finite_gradients_of_every_size_move_weights_by_the_same_finite_steps_in_every_mode(spec, mode):
    check(spec, mode, SIZES)


@pytest.mark.parametrize("size", [1e-30, 1e18, 1e30])
@pytest.mark.parametrize(
    ("spec", "other"),
    [("adam", "torch.Adam"), ("adamw", "torch.AdamW"), ("rmsprop", "torch.RMSprop"), ("sgd", "torch.SGD")],
)
def test_elementwise_updates_do_as_torchs_where_squares_leave_float32(spec, other, size):
    rate = {"lr": 0.01}
    assert torch.allclose(
        walked(edsl.parse(spec).override(**rate), size, "compiled", once=True),
        walked(edsl.parse(f"grad | e(alpha=0) | {other}").override(**rate), size, "eager", once=True),
        rtol=1e-5,
        atol=1e-7,
    )


@pytest.mark.parametrize("spec", ["soap(lr=1)", *(f"shampoo(lr=1, grafting='{g}')" for g in ("adam", "sgd", "none"))])
def test_a_matrix_update_takes_too_large_a_gradient_as_the_largest_that_its_covariances_hold(spec):
    steps = []
    for size in (2.0**50, 1e20, 1e36):
        generator = torch.Generator().manual_seed(1)
        p = Parameter(torch.zeros(6, 5))
        optimizer = edsl.compile(spec, [p], mode="eager")
        for _ in range(4):
            direction = torch.randn(6, 5, generator=generator)
            p.grad = direction * (size / direction.norm())
            optimizer.step()
        assert p.any()
        steps.append(p.detach() / p.detach().norm())
    assert torch.allclose(steps[0], steps[1], atol=1e-3)
    assert torch.allclose(steps[0], steps[2], atol=1e-3)


@pytest.mark.parametrize("scale", [1e15, 1e25])
@pytest.mark.parametrize("update", ["adahessian(lr=0.1)", "sophia(lr=0.1)"])
def test_large_finite_curvature_moves_weights_by_finite_steps(update, scale):
    p = Parameter(torch.tensor([1.0, -2.0]))
    optimizer = edsl.compile(update, [p], mode="eager")
    for _ in range(3):
        optimizer.step(lambda: scale * p.square().sum())
    assert p.isfinite().all()
