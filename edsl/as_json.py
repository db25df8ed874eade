"""Values as JSON has them: no infinity, no NaN, lists for tuples."""

from __future__ import annotations

import math
from typing import Any


def as_json(value: Any) -> Any:
    """The value with null for every number that isn't finite.

    Example:
        >>> from edsl.as_json import as_json
        >>> as_json({"loss": float("inf"), "steps": (1, 2)})
        {'loss': None, 'steps': [1, 2]}
    """
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: as_json(part) for key, part in value.items()}
    return [as_json(part) for part in value] if isinstance(value, (list, tuple)) else value
