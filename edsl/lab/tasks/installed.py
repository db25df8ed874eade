"""Tasks that installed packages register, under the entry-point group `edsl.tasks`; nothing is imported."""

from __future__ import annotations

from functools import lru_cache
from importlib import metadata

GROUP = "edsl.tasks"


@lru_cache
def installed() -> dict[str, str]:
    """The place `module:attribute` of each such task, by name."""
    return {point.name: point.value for point in metadata.entry_points(group=GROUP)}
