"""Products of matrices by native code on a CPU: symmetric ones at half the cost, half precision summed in float32."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from edsl.errors import CompilerFailed
from edsl.kernels.cpu import threads_for
from edsl.kernels.toolchain import QUICKLY, compile_library
from edsl.numerics.products import Products

SOURCE = Path(__file__).with_name("products.cpp")
SMALLEST = 256  # rows of matrices from which half precision gains
WORTH = 1 << 26  # multiplications of a symmetric product in float32 from which it gains enough to be compiled
_NAMES = {torch.float32: "product_float32", torch.bfloat16: "product_bfloat16"}  # by the dtype of factors


@dataclass(frozen=True)
class NativeProducts(Products):
    """Products on a CPU whose results are float32, where they are taken faster than by torch; torch's others."""

    @classmethod
    def half_of(cls, x: Tensor) -> torch.dtype | None:
        is_own = x.dtype is torch.float32 and x.is_cpu and min(x.shape[-2:]) >= SMALLEST
        has = is_own and torch.bfloat16 in _functions()
        return torch.bfloat16 if has else super().half_of(x)

    def factor(self, x: Tensor) -> Tensor:
        return x if self._is_native(x) else super().factor(x)  # it is rounded where it is packed

    def product(
        self, x: Tensor, y: Tensor, addend: Tensor | None = None, beta: float = 1.0, alpha: float = 1.0
    ) -> Tensor:
        if self.factors is self.results or not self._is_native(x, y):  # BLAS is as fast
            return super().product(x, y, addend, beta, alpha)
        return self._multiplied(x, y, addend, beta, alpha, symmetric=False)

    def symmetric(
        self, x: Tensor, y: Tensor, addend: Tensor | None = None, beta: float = 1.0, alpha: float = 1.0
    ) -> Tensor:
        if not self._is_native(x, y):
            return super().symmetric(x, y, addend, beta, alpha)
        return self._multiplied(x, y, addend, beta, alpha, symmetric=True)

    def _is_native(self, x: Tensor, y: Tensor | None = None) -> bool:
        if not (x.dtype is self.results is torch.float32 and x.is_cpu and x.numel() > 0):
            return False
        if self.factors is torch.float32 and (y is None or x.shape[-2] * y.numel() < WORTH):
            return False
        return self.factors in _functions() and not torch.compiler.is_compiling()

    def _multiplied(
        self, x: Tensor, y: Tensor, addend: Tensor | None, beta: float, alpha: float, symmetric: bool
    ) -> Tensor:
        function = _functions()[self.factors]
        (*_, m, k), n = x.shape, y.shape[-1]
        made = x.new_empty(*x.shape[:-1], n)
        threads = threads_for(m * n)
        parts = [_matrices(one) for one in (x, y, made, made if addend is None else addend.contiguous())]
        for a, b, c, d in zip(*parts):
            first, second = (a.data_ptr(), *a.stride()), (b.data_ptr(), *b.stride())
            old = 0 if addend is None else d.data_ptr()
            function(*first, *second, old, c.data_ptr(), m, n, k, alpha, beta, symmetric, threads)
        return made


def _matrices(stack: Tensor) -> Sequence[Tensor]:
    """The matrices of a stack, or the one that it is, whose rows or whose columns lie in one piece each."""
    if 1 not in stack.stride()[-2:]:
        stack = stack.contiguous()
    return [stack] if stack.dim() == 2 else stack.flatten(0, -3).unbind()


@cache
def _functions() -> dict[torch.dtype, Callable[..., None]]:
    """By the dtype of factors; none where no compiler makes them."""
    if torch.backends.cpu.get_cpu_capability() != "AVX512":
        return {}
    try:
        library = compile_library(SOURCE.read_text(encoding="utf-8"), QUICKLY)  # it is unrolled by hand
    except (CompilerFailed, OSError):
        return {}
    found = {dtype: getattr(library, name, None) for dtype, name in _NAMES.items()}
    address, count, number = ctypes.c_void_p, ctypes.c_int64, ctypes.c_float
    matrix = [address, count, count]
    for function in found.values():
        if function is not None:
            function.argtypes = [*matrix, *matrix, address, address, count, count, count, number, number, count, count]
            function.restype = None
    return {dtype: function for dtype, function in found.items() if function is not None}
