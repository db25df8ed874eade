"""Which parameters are excluded from weight decay and from the layerwise factor."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from typing import Any

from edsl.errors import EdslError, shown

BY_DEFAULT = ("bias", "norm")
_NORM = re.compile(r"(^|\.)(\w*norm\d*|bn\d*|ln(_\w+)?)\.")  # a layer's part of a name, such as ln_f or norm1


def excluded_names(patterns: Sequence[str] | None, names: Sequence[str] | None) -> tuple[str, ...]:
    """The names that the patterns exclude; None stands for ("bias", "norm") if there are names.

    "bias" is any name that ends in it; "norm" any in a layer called like a normalisation (norm1,
    input_layernorm, bn1, ln_f); anything else is a name or a shell pattern.

    Raises:
        EdslError: for patterns without names, or a pattern that is not a text.
    """
    patterns = _read_patterns(patterns, BY_DEFAULT if names else ())
    if patterns and not names:
        raise EdslError("exclude needs names: pass the module or model.named_parameters() instead of bare tensors")
    names = [str(name) for name in names or ()]
    return tuple(name for name in names if any(_matches(pattern, name) for pattern in patterns))


def names_in_module(module: Any, patterns: Sequence[str] | None) -> tuple[str, ...]:
    """As `excluded_names`, where "norm" is decided by the type of the layer that owns a parameter.

    Raises:
        EdslError: for a pattern that no parameter of the module matches.
    """
    names = [name for name, _ in module.named_parameters()]
    patterns = _read_patterns(patterns, BY_DEFAULT)
    excluded = set(excluded_names(patterns, names)) if names else set()
    for pattern in patterns:
        if pattern not in BY_DEFAULT and not excluded_names((pattern,), names):
            raise EdslError(f"exclude: no parameter of this module is called {shown(pattern)}")
    if "norm" in patterns:
        for prefix, layer in module.named_modules():
            if is_norm(layer):
                excluded |= {
                    f"{prefix}.{name}" if prefix else name for name, _ in layer.named_parameters(recurse=False)
                }
    return tuple(name for name in names if name in excluded)


def is_norm(layer: Any) -> bool:
    """Whether a module is a normalisation, by its type's name."""
    return "norm" in type(layer).__name__.lower()


def _read_patterns(patterns: Any, default: tuple[str, ...]) -> tuple[str, ...]:
    if patterns is None:
        return default
    listed = isinstance(patterns, Iterable) and not isinstance(patterns, str)
    texts = tuple(patterns) if listed else ()
    if not listed or not all(isinstance(text, str) for text in texts):
        raise EdslError(f"exclude must be a tuple of texts such as ('bias', 'norm'), got {shown(patterns)}")
    return texts


def _matches(pattern: str, name: str) -> bool:
    if pattern == "bias":
        return name.endswith("bias")
    if pattern == "norm":
        return _NORM.search(name.lower()) is not None
    return fnmatchcase(name, pattern)
