"""Who owns a name: the rules that files have brought, and what buffers are called."""

from __future__ import annotations

from typing import Any

_loaded: dict[str, Any] = {}  # classes by name, from files of rules


def loaded_rules() -> dict[str, Any]:
    """The rules that files brought, by name."""
    return _loaded


def state_name(label: str, field: str) -> str:
    """What a buffer is called in a parameter's state: that of a stage within a rule stands behind that stage's name."""
    return f"{label}.{field.replace('__', '.')}"
