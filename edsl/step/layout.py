"""How a parameter lies in memory: its dtype of work, its alias, and what can't be stepped."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from edsl.errors import EdslError, shown

HALF = (torch.bfloat16, torch.float16)


def working_dtype(dtype: torch.dtype) -> torch.dtype:
    """The dtype of state and arithmetic: float32 for half-precision parameters, else their own."""
    return torch.float32 if dtype in HALF else dtype


StateDtype = torch.dtype | dict[str, torch.dtype] | None  # of all state, or of some buffers


def dtype_of_state(chosen: StateDtype, name: str, dtype: torch.dtype) -> torch.dtype:
    """The dtype of one buffer of a parameter of some dtype."""
    if isinstance(chosen, dict):
        return chosen.get(name) or working_dtype(dtype)
    return chosen or working_dtype(dtype)


def read_state_dtype(value: Any, buffers: Sequence[str]) -> StateDtype:
    """A dtype for all state, or a dictionary from buffers to theirs.

    Raises:
        EdslError: for what is no dtype, and for a buffer that isn't there.
    """
    if not isinstance(value, dict):
        return read_dtype(value)
    unknown = next((name for name in value if name not in buffers), None)
    if unknown is not None:
        raise EdslError(f"state_dtype: there is no buffer {shown(unknown)}; there are {', '.join(buffers) or 'none'}")
    chosen = {name: read_dtype(dtype) for name, dtype in value.items()}
    return {name: dtype for name, dtype in chosen.items() if dtype is not None}


def read_dtype(value: Any, name: str = "state_dtype") -> torch.dtype | None:
    """A floating dtype by itself or by its name; None stays None.

    Raises:
        EdslError: for anything else.
    """
    named = getattr(torch, value, None) if isinstance(value, str) else value
    if named is not None and named not in (torch.float32, torch.float64, *HALF):
        raise EdslError(f"{name} must be float32, float64, bfloat16 or float16, got {shown(value)}")
    if named is None and value is not None:
        raise EdslError(f"{name} must be float32, float64, bfloat16 or float16, got {shown(value)}")
    return named


def alias(tensor: Tensor, as_matrix: bool = False) -> Tensor:
    """All elements of a dense tensor in storage order, as a 1-D tensor on the same storage.

    Of a contiguous tensor it can be a matrix instead: the first dimension × all others.

    It is no view in autograd's sense: the compiler guards on the shape of a view's base, and would
    compile anew for each. So whoever writes to it tells the version counter of the tensor.
    """
    rows, columns = folded(tensor) if as_matrix else (1, tensor.numel())
    shape, stride = ((rows, columns), (columns, 1)) if as_matrix else ((columns,), (1,))
    empty = torch.empty(0, dtype=tensor.dtype, device=tensor.device)
    return empty.set_(tensor.untyped_storage(), tensor.storage_offset(), shape, stride)


def folded(tensor: Tensor) -> tuple[int, int]:
    """A tensor's shape as a matrix: a convolution's kernel is out × (in · height · width), a scalar 1 × 1."""
    rows = tensor.shape[0] if tensor.dim() else 1
    return rows, tensor.numel() // max(1, rows)


def is_dense(tensor: Tensor) -> bool:
    """Whether the elements fill a block of memory without gaps or overlap, in whatever order."""
    if tensor.is_neg():
        return False  # its storage holds the values with the other sign
    return tensor.is_contiguous() or torch.empty_like(tensor, device="meta").stride() == tensor.stride()


def check_parameter(parameter: Tensor, name: str = "") -> None:
    """Raises EdslError for a parameter that no stage can step."""
    which = f"parameter {name}" if name else "a parameter"
    if parameter.is_complex():
        raise EdslError(f"{which} is complex, which is not supported; optimize torch.view_as_real of it instead")
    if parameter.dtype not in (torch.float32, torch.float64, *HALF):
        raise EdslError(f"{which} is {parameter.dtype}; expected float32, float64, bfloat16 or float16")
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
