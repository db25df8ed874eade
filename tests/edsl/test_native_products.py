"""Native products against float64, in all layouts."""

import pytest
import torch

from edsl.kernels import products as module
from edsl.kernels.products import NativeProducts
from edsl.numerics.newton_schulz import newton_schulz
from edsl.numerics.products import Products

FULL, HALF = NativeProducts(torch.float32, torch.float32), NativeProducts(torch.bfloat16, torch.float32)
SHAPES = [(1, 1, 1), (13, 37, 29), (8, 32, 2), (70, 65, 1100), (1040, 40, 16)]


@pytest.fixture(autouse=True)
def everything_native(monkeypatch):
    if set(module._functions()) != {torch.float32, torch.bfloat16}:
        pytest.skip("the processor has no vectors of 512 bits with bfloat16, or there is no compiler")
    monkeypatch.setattr(module, "WORTH", 0)


def drawn(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


def layouts(x):
    """The same matrix with rows in one piece, with columns, and with neither."""
    wide = torch.zeros(*x.shape[:-2], 2 * x.shape[-2], 2 * x.shape[-1])
    wide[..., ::2, ::2] = x
    return x, x.mT.contiguous().mT, wide[..., ::2, ::2]


def off(made, exact):
    return float((made.double() - exact).norm() / exact.norm())


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("how", [FULL, HALF], ids=["float32", "bfloat16"])
def test_a_product_is_that_of_its_rounded_factors_in_float64(shape, how):
    m, n, k = shape
    addend = drawn(m, n)
    for x in layouts(drawn(m, k)):
        for y in layouts(drawn(k, n)):
            exact = 2 * (x.to(how.factors).double() @ y.to(how.factors).double())
            assert off(how._multiplied(x, y, None, 1.0, 2.0, symmetric=False), exact) <= 1e-6
            made = how._multiplied(x, y, addend, -3.0, 2.0, symmetric=False)
            assert off(made, exact - 3 * addend.double()) <= 1e-6


@pytest.mark.parametrize("size", [1, 15, 16, 70, 261])
@pytest.mark.parametrize("how", [FULL, HALF], ids=["float32", "bfloat16"])
def test_a_symmetric_product_is_symmetric_to_the_bit(size, how):
    addend = drawn(size, size)
    addend = addend + addend.mT
    for x in layouts(drawn(size, 90)):
        factor = x.to(how.factors).double()
        made = how.symmetric(x, x.mT, addend, 0.5, -1.0)
        assert torch.equal(made, made.mT)
        assert off(made, 0.5 * addend.double() - factor @ factor.mT) <= 1e-6


def test_a_stack_is_its_matrices_and_the_number_of_threads_changes_no_bit():
    x = drawn(3, 70, 300)
    made = FULL.symmetric(x, x.mT)
    assert all(torch.equal(one, FULL.symmetric(own, own.mT)) for one, own in zip(made, x))
    wide = drawn(300, 520)
    before = torch.get_num_threads()
    try:
        found = []
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append(HALF.symmetric(wide, wide.mT))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


def test_what_is_not_finite_stays_so():
    for value in (torch.nan, torch.inf):
        x = drawn(40, 40)
        x[3, 5] = value
        for how in (FULL, HALF):
            made = how._multiplied(x, torch.ones(40, 40), None, 1.0, 1.0, symmetric=False)
            assert not made[3].isfinite().any()
            assert made[4].isfinite().all()


def test_other_dtypes_empty_matrices_and_machines_without_it_take_torchs_products(monkeypatch):
    x = drawn(20, 30).double()
    double = NativeProducts(torch.float64, torch.float64)
    assert torch.equal(double.symmetric(x, x.mT), Products(torch.float64, torch.float64).symmetric(x, x.mT))
    assert FULL.symmetric(torch.zeros(4, 0), torch.zeros(0, 4)).tolist() == torch.zeros(4, 4).tolist()
    monkeypatch.setattr(module, "_functions", dict)
    x = drawn(300, 700)
    for precision in ("working", "bfloat16"):
        made = newton_schulz(x, 5, "minimax", precision, NativeProducts)
        assert torch.equal(made, newton_schulz(x, 5, "minimax", precision))
