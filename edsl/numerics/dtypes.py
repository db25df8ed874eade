"""Dtypes: those of parameters, and that in which their steps are computed."""

from __future__ import annotations

from typing import Any

import torch

from edsl.errors import EdslError, either, shown

DTYPES = {"float32": torch.float32, "float64": torch.float64, "bfloat16": torch.bfloat16, "float16": torch.float16}
FLOATING = tuple(DTYPES.values())  # of parameters, gradients and buffers
HALF = (torch.bfloat16, torch.float16)


def working_dtype(dtype: torch.dtype) -> torch.dtype:
    """The dtype of state and arithmetic: float32 for half-precision parameters, else their own."""
    return torch.float32 if dtype in HALF else dtype


def read_dtype(value: Any, name: str = "state_dtype") -> torch.dtype | None:
    """A floating dtype by itself or by its name; None stays None.

    Raises:
        EdslError: for anything else.
    """
    if value is None or any(value is dtype for dtype in FLOATING):
        return value
    if not isinstance(value, str) or value not in DTYPES:
        raise EdslError(f"{name} must be {either(DTYPES)}, got {shown(value)}")
    return DTYPES[value]
