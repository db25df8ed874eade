"""Norms and means of layers against float64, at every size and in every mode."""

from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from torch.nn import Parameter

import edsl
import edsl.stage
from edsl.numerics.sums import norm_in_rows

LARGE = [pytest.param(10**7, marks=pytest.mark.slow), pytest.param(10**8, marks=pytest.mark.slow)]
SIZES = [1, 1000, 1025, 10**5, 10**6, *LARGE]
BOUND = 1e-6
VALUES = {  # equal ones are rounded the same way each time they are added
    "equal": lambda n: torch.full((n,), 0.1),
    "small": lambda n: torch.full((n,), 1e-3),
    "normal": lambda n: torch.randn(n, generator=torch.Generator().manual_seed(n)),
}
of_all_values = pytest.mark.parametrize("values", VALUES.values(), ids=VALUES)


@dataclass(frozen=True)
class NormAndMean(edsl.stage.Adaptor):
    """Each element becomes ‖x‖ + 1000 · mean."""

    name: ClassVar[str] = "norm_and_mean"

    def step(self, x, memory, at):
        return 0 * x + at.norm(x) + 1000 * at.mean(x), memory


def asked(x, mode):
    """‖x‖ + 1000 · mean, as a stage sees them."""
    parameter = Parameter(torch.zeros_like(x))
    parameter.grad = x
    edsl.compile(edsl.grad() | NormAndMean() | edsl.sgd(lr=1.0), [parameter], mode=mode).step()
    return -parameter.flatten()[-1].double().item()


@pytest.mark.parametrize("mode", ["compiled", "eager", "inductor"])
@pytest.mark.parametrize("size", SIZES)
@of_all_values
def test_a_layers_norm_and_mean_are_those_of_float64(values, size, mode):
    x = values(size)
    exact = x.double().norm().item() + 1000 * x.double().mean().item()
    assert asked(x, mode) == pytest.approx(exact, rel=BOUND)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("size", SIZES)
@of_all_values
def test_a_total_norm_is_that_of_float64(values, size, dtype):
    x = values(size).to(dtype)
    found = norm_in_rows(x)
    assert found.dtype == torch.float64
    assert found.item() == pytest.approx(x.double().norm().item(), rel=BOUND)


@pytest.mark.parametrize("mode", ["compiled", "eager"])
@pytest.mark.parametrize("size", [10**6, pytest.param(10**7, marks=pytest.mark.slow)])
def test_clip_scales_by_the_norm_of_float64(size, mode):
    parts = [torch.full((size,), 0.1), torch.full((3, 5), 0.1)]
    params = [Parameter(torch.zeros_like(part)) for part in parts]
    for parameter, part in zip(params, parts, strict=True):
        parameter.grad = part.clone()
    edsl.compile("grad | clip(norm=1) | sgd(lr=1)", params, mode=mode).step()
    exact = 1 / torch.cat([part.double().flatten() for part in parts]).norm().item()
    for parameter, part in zip(params, parts, strict=True):
        assert torch.allclose(-parameter / part, torch.full_like(part, exact), rtol=BOUND, atol=0)


@pytest.mark.parametrize("size", [10**5, pytest.param(4 * 10**7, marks=pytest.mark.slow)])
def test_eager_and_native_steps_of_a_large_layer_agree(size):
    ends = []
    for mode in ("compiled", "eager"):
        theta = Parameter(torch.full((size,), 0.5))
        optimizer = edsl.compile("alto", [theta], mode=mode)
        for seed in range(3):
            theta.grad = torch.randn(size, generator=torch.Generator().manual_seed(seed))
            optimizer.step()
        ends.append(theta.detach().double() - 0.5)
    a, b = ends
    assert (a - b).norm() <= 2e-6 * b.norm()
