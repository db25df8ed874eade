"""How a parameter lies in memory: its alias, its shape as a matrix, and what can't be stepped."""

from __future__ import annotations

from itertools import accumulate
from operator import mul

import torch
from torch import Tensor

from edsl.errors import EdslError, either, parameter_called
from edsl.numerics.dtypes import DTYPES, FLOATING


def alias(tensor: Tensor, as_matrix: bool = False, shape: tuple[int, ...] | None = None, begin: int = 0) -> Tensor:
    """All elements of a dense tensor in storage order, as a 1-D tensor on the same storage.

    Of a contiguous tensor it can be a matrix instead: the first dimension × all others; or the elements from one on, in
    some shape.

    It is no view in autograd's sense: the compiler guards on the shape of a view's base, and would
    compile anew for each. So whoever writes to it tells the version counter of the tensor.
    """
    if shape is None and as_matrix:
        shape = matrix_shape(tensor)
    sizes = (tensor.numel(),) if shape is None else shape
    stride = [*accumulate(reversed(sizes[1:]), mul, initial=1)][::-1]
    empty = torch.empty(0, dtype=tensor.dtype, device=tensor.device)
    return empty.set_(tensor.untyped_storage(), tensor.storage_offset() + begin, sizes, stride)


def matrix_shape(tensor: Tensor) -> tuple[int, int]:
    """A tensor's shape as a matrix: a convolution's kernel is out × (in · height · width), a vector 1 × its length."""
    rows = tensor.shape[0] if tensor.dim() > 1 else 1
    return rows, tensor.numel() // max(1, rows)


def is_dense(tensor: Tensor) -> bool:
    """Whether the elements fill a block of memory without gaps or overlap, in whatever order."""
    if tensor.is_neg():
        return False  # its storage holds the values with the other sign
    return tensor.is_contiguous() or torch.empty_like(tensor, device="meta").stride() == tensor.stride()


def check_parameter(parameter: Tensor, name: str = "") -> None:
    """Raises EdslError for a parameter that no stage can step."""
    which = parameter_called(name)
    if parameter.is_complex():
        raise EdslError(f"{which} is complex, which is not supported; optimize torch.view_as_real of it instead")
    if parameter.dtype not in FLOATING:
        raise EdslError(f"{which} is {parameter.dtype}; expected {either(DTYPES)}")
    if parameter.layout != torch.strided:
        raise EdslError(f"{which} is {parameter.layout}; expected a dense tensor")
    if overlaps(parameter):
        raise EdslError(f"{which} has elements that share memory (expanded or overlapping strides); clone() it first")


def overlaps(tensor: Tensor) -> bool:
    """Whether two elements may lie in one place, as in an expanded tensor."""
    if tensor.is_contiguous():
        return False
    reach = 0
    for stride, size in sorted((stride, size) for stride, size in zip(tensor.stride(), tensor.shape) if size > 1):
        if stride <= reach:
            return True
        reach += stride * (size - 1)
    return False
