"""The dtypes of state, as a user chooses them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from edsl.errors import EdslError, shown
from edsl.numerics.dtypes import read_dtype, working_dtype

StateDtype = torch.dtype | dict[str, torch.dtype] | None  # of all state, or of some buffers


def dtype_of_state(chosen: StateDtype, name: str, dtype: torch.dtype, is_scalar: bool = False) -> torch.dtype:
    """The dtype of one buffer of a parameter of some dtype; one number a layer is kept in float32 at least."""
    own = chosen.get(name) if isinstance(chosen, dict) else chosen
    found = own or working_dtype(dtype)
    return torch.promote_types(found, torch.float32) if is_scalar else found


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
