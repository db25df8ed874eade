"""Products of matrices by native code on a CPU: symmetric ones at half the cost, half precision summed in float32."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from edsl.errors import CompilerFailed
from edsl.kernels.cpu import threads_for
from edsl.kernels.toolchain import BY_HAND, compile_library
from edsl.numerics.products import Products

SOURCE = Path(__file__).with_name("products.cpp")
_NAMES = {torch.float32: "product_float32", torch.bfloat16: "product_bfloat16"}  # by the dtype of factors


@dataclass(frozen=True)
class NativeProducts(Products):
    """Products on a CPU whose results are float32, where they are taken faster than by torch; torch's others."""

    @classmethod
    def half_of(cls, x: Tensor) -> torch.dtype | None:
        has = x.dtype is torch.float32 and x.is_cpu and torch.bfloat16 in _functions()
        return torch.bfloat16 if has else super().half_of(x)

    def factor(self, x: Tensor) -> Tensor:
        return x if self._is_native(x) else super().factor(x)  # it is rounded where it is packed

    def product(
        self, x: Tensor, y: Tensor, addend: Tensor | None = None, beta: float = 1.0, alpha: float = 1.0
    ) -> Tensor:
        if self.factors is self.results or not self._is_native(x):  # BLAS is as fast
            return super().product(x, y, addend, beta, alpha)
        return self._multiplied(x, y, addend, beta, alpha, symmetric=False)

    def symmetric(
        self, x: Tensor, y: Tensor, addend: Tensor | None = None, beta: float = 1.0, alpha: float = 1.0
    ) -> Tensor:
        if not self._is_native(x):
            return super().symmetric(x, y, addend, beta, alpha)
        return self._multiplied(x, y, addend, beta, alpha, symmetric=True)

    def _is_native(self, x: Tensor) -> bool:
        is_own = x.dtype is self.results is torch.float32 and x.is_cpu and x.numel() > 0
        return is_own and self.factors in _functions() and not torch.compiler.is_compiling()

    def _multiplied(
        self, x: Tensor, y: Tensor, addend: Tensor | None, beta: float, alpha: float, symmetric: bool
    ) -> Tensor:
        function = _functions()[self.factors]
        *stack, m, k = x.shape
        n = y.shape[-1]
        made = x.new_empty(*stack, m, n)
        addend = None if addend is None else addend.contiguous()
        threads = threads_for(m * n)
        x, y = map(_in_rows_or_columns, (x, y))
        for place in range(stack[0] if stack else 1):
            a, b, c = (one[place] if stack else one for one in (x, y, made))
            d = 0 if addend is None else (addend[place] if stack else addend).data_ptr()
            first, second = (a.data_ptr(), *a.stride()), (b.data_ptr(), *b.stride())
            function(*first, *second, d, c.data_ptr(), m, n, k, alpha, beta, symmetric, threads)
        return made


def _in_rows_or_columns(x: Tensor) -> Tensor:
    """A matrix, or a stack, whose rows or whose columns lie in one piece each."""
    return x if 1 in x.stride()[-2:] else x.contiguous()


def fastest_products() -> type[Products]:
    """How products are taken on this machine: natively where the processor has vectors of 512 bits."""
    return NativeProducts if _functions() else Products


@cache
def _functions() -> dict[torch.dtype, Callable[..., None]]:
    """By the dtype of factors; none where no compiler makes them."""
    if torch.backends.cpu.get_cpu_capability() != "AVX512":
        return {}
    try:
        library = compile_library(SOURCE.read_text(encoding="utf-8"), BY_HAND)
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
