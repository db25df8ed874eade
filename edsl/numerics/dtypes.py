"""Dtypes: those of parameters, and that in which their steps are computed."""

from __future__ import annotations

from typing import Any

import torch

from edsl.errors import EdslError, shown

HALF = (torch.bfloat16, torch.float16)


def working_dtype(dtype: torch.dtype) -> torch.dtype:
    """The dtype of state and arithmetic: float32 for half-precision parameters, else their own."""
    return torch.float32 if dtype in HALF else dtype


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
