"""What a checkpoint calls the keys of another package's state: a text as it is, any other key, such as 0, as [0]."""

from __future__ import annotations

from ast import literal_eval
from typing import Any


def named(key: Any) -> str:
    """The name of a key."""
    return key if isinstance(key, str) else f"[{key!r}]"


def key_of(name: str) -> Any:
    """The key of a name.

    Example:
        >>> from edsl.optim.foreign.names import key_of, named
        >>> [key_of(named(key)) for key in ("exp_avg", 0)]
        ['exp_avg', 0]
    """
    try:
        return literal_eval(name[1:-1]) if name.startswith("[") else name
    except (SyntaxError, ValueError):  # a text after all
        return name
