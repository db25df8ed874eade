"""The paper's choice of (α, β₁) for a batch size (Section 4)."""

from __future__ import annotations

from typing import Any

from edsl.errors import FieldError
from edsl.language.domain import Whole

LARGE_BATCH = 1000
EXPLORE = {"alpha": -5.0, "beta1": 0.99}
EXPLOIT = {"alpha": 0.5, "beta1": 0.01}


def for_batch(batch_size: Any) -> dict[str, float]:
    """(α, β₁) = (0.5, 0.01) below a batch of 1000, (−5, 0.99) from there on.

    Raises:
        FieldError: when the size is no whole number from 1.
    """
    try:
        size = Whole(1).read(batch_size)
    except ValueError as reason:
        raise FieldError(f"batch_size {reason}", "batch_size") from None
    return EXPLOIT if size < LARGE_BATCH else EXPLORE
