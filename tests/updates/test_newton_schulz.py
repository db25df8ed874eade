"""Newton–Schulz against singular value decompositions in float64."""

from functools import cache
from math import prod

import pytest
import torch

from edsl.kernels.products import NativeProducts
from edsl.numerics.newton_schulz import JORDAN, MINIMAX, newton_schulz
from edsl.numerics.products import Products

SHAPES = [(64, 160), (300, 300), (256, 1024), (1536, 384)]
QUINTICS = {"minimax": MINIMAX[:5], "jordan": (JORDAN,) * 5}
KINDS = ["gaussian", "condition 100", "condition 10000"]


def orthonormal(rows, columns, generator):
    return torch.linalg.qr(torch.randn(rows, columns, generator=generator, dtype=torch.float64))[0]


@cache
def matrix(kind, shape):
    """In float32, with its decomposition in float64."""
    generator = torch.Generator().manual_seed(7)
    least = min(shape)
    if kind == "gaussian":
        x = torch.randn(shape, generator=generator, dtype=torch.float64)
    elif kind == "rank one":
        x = torch.outer(*(torch.randn(size, generator=generator, dtype=torch.float64) for size in shape))
    else:
        values = torch.logspace(0, -{"condition 100": 2, "condition 10000": 4}[kind], least, dtype=torch.float64)
        x = orthonormal(shape[0], least, generator) * values @ orthonormal(shape[1], least, generator).T
    x = x.float()
    return x, torch.linalg.svd(x.double(), full_matrices=False)


def values_of(quintics, values):
    for a, b, c in quintics:
        values = a * values + b * values**3 + c * values**5
    return values


def error(kind, shape, polynomials, precision, scale=1.0, products=Products):
    """‖made − U p(Σ) Vᵀ‖ / ‖U p(Σ) Vᵀ‖."""
    x, (left, values, right) = matrix(kind, shape)
    exact = left * values_of(QUINTICS[polynomials], values / values.norm()) @ right
    made = newton_schulz(scale * x, 5, polynomials, precision, products).double()
    return float((made - exact).norm() / exact.norm())


@pytest.mark.parametrize("polynomials", QUINTICS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("products", [Products, NativeProducts])
def test_in_float32_it_is_the_polynomial_of_the_singular_values_within_1e_5(products, shape, polynomials):
    assert max(error(kind, shape, polynomials, "working", products=products) for kind in KINDS) <= 1e-5
    assert error("condition 10000", shape, polynomials, "working", scale=1e30, products=products) <= 1e-5


@pytest.mark.parametrize("polynomials", QUINTICS)
@pytest.mark.parametrize("shape", SHAPES)
def test_of_rank_one_its_error_in_float32_is_that_of_roundings_which_the_polynomial_blows_up(shape, polynomials):
    """Where singular values are 0, the product of all a (870 for minimax) is what a rounding grows by."""
    growth = prod(a for a, _, _ in QUINTICS[polynomials])
    assert error("rank one", shape, polynomials, "working") <= 4 * torch.finfo(torch.float32).eps * growth


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("where", ["by torch", "by native code", "as on an NVIDIA GPU"])
def test_in_half_precision_it_is_the_polynomial_within_3_percent(monkeypatch, where, shape):
    products = NativeProducts if where == "by native code" else Products
    if where == "as on an NVIDIA GPU":  # float16 factors and float32 sums, which are multiplied in float32 here
        monkeypatch.setattr(Products, "half_of", classmethod(lambda cls, x: torch.float16))
    kinds = [*KINDS, "rank one"]
    assert max(error(kind, shape, "minimax", "bfloat16", products=products) for kind in kinds) <= 3e-2
    assert error("condition 10000", shape, "minimax", "bfloat16", scale=1e30, products=products) <= 3e-2


@pytest.mark.parametrize("products", [Products, NativeProducts])
def test_in_half_precision_its_error_is_below_7_percent_where_most_singular_values_are_a_thousandth(products):
    for shape in ((256, 1024), (512, 512)):
        generator, least = torch.Generator().manual_seed(7), min(shape)
        values = torch.where(torch.arange(least) < least // 8, 1.0, 1e-3).double()
        x = (orthonormal(shape[0], least, generator) * values @ orthonormal(shape[1], least, generator).T).float()
        left, values, right = torch.linalg.svd(x.double(), full_matrices=False)
        exact = left * values_of(MINIMAX[:5], values / values.norm()) @ right
        made = newton_schulz(x, 5, "minimax", "bfloat16", products).double()
        assert (made - exact).norm() <= 0.07 * exact.norm()


@pytest.mark.parametrize("precision", ["working", "bfloat16"])
def test_it_brings_singular_values_above_2e_3_of_the_norm_into_the_interval_that_the_guide_names(precision):
    margin = 0.005 if precision == "working" else 0.05
    for shape in SHAPES:
        x, (_, values, _) = matrix("condition 100", shape)
        made = newton_schulz(x, 5, "minimax", precision).double()
        found = torch.linalg.svdvals(made)[values / values.norm() >= 2e-3]
        assert found.min() >= 0.877 - margin
        assert found.max() <= 1.123 + margin


def test_a_stack_is_its_matrices_one_by_one():
    for m, n in ((20, 50), (256, 400)):
        x = torch.randn(3, m, n, generator=torch.Generator().manual_seed(8), dtype=torch.float64)
        alone = torch.stack([newton_schulz(one, 5, "minimax", "working") for one in x])
        assert torch.allclose(newton_schulz(x, 5, "minimax", "working"), alone, rtol=0, atol=1e-12)


@pytest.mark.parametrize("size", [70, 128, 260, 515])
@pytest.mark.parametrize("dtypes", [(torch.float64, torch.float64), (torch.float16, torch.float32)])
def test_a_symmetric_product_is_the_whole_product(size, dtypes):
    generator = torch.Generator().manual_seed(9)
    x = torch.randn(size, 90, generator=generator).to(dtypes[0])
    addend = torch.randn(size, size, generator=generator, dtype=torch.float64).to(dtypes[1])
    addend = addend + addend.mT
    exact = 0.5 * (x.double() @ x.double().mT) - 2 * addend.double()
    made = Products(*dtypes).symmetric(x, x.mT, addend, -2.0, 0.5)
    assert made.dtype == dtypes[1]
    assert torch.allclose(made.double(), exact, rtol=0, atol=1e-12 if dtypes[0] is torch.float64 else 1e-3)
    assert torch.allclose(made, made.mT, rtol=0, atol=1e-12 if dtypes[0] is torch.float64 else 1e-3)
