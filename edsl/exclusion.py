"""Which parameters are left out of weight decay and of the layerwise factor."""

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
        EdslError: for patterns without names, or a pattern that is no text.
    """
    if patterns is None:
        patterns = BY_DEFAULT if names else ()
    if isinstance(patterns, str) or not isinstance(patterns, Iterable):
        raise EdslError(f"exclude must be a tuple of texts such as ('bias', 'norm'), got {shown(patterns)}")
    patterns = tuple(patterns)
    if not all(isinstance(pattern, str) for pattern in patterns):
        raise EdslError(f"exclude must be a tuple of texts such as ('bias', 'norm'), got {shown(patterns)}")
    if patterns and not names:
        raise EdslError("exclude needs names: pass the module or model.named_parameters() instead of bare tensors")
    names = [str(name) for name in names or ()]
    return tuple(name for name in names if any(_matches(pattern, name) for pattern in patterns))


def names_in_module(module: Any, patterns: Sequence[str] | None) -> tuple[str, ...]:
    """As `excluded_names`, where "norm" is decided by the type of the layer that owns a parameter."""
    names = [name for name, _ in module.named_parameters()]
    by_name = BY_DEFAULT if patterns is None else tuple(patterns) if isinstance(patterns, Iterable) else patterns
    by_name = patterns if isinstance(patterns, str) else by_name
    excluded = set(excluded_names(by_name, names)) if names else set()
    for pattern in by_name:
        if pattern not in BY_DEFAULT and not excluded_names((pattern,), names):
            raise EdslError(f"exclude: no parameter of this module is called {shown(pattern)}")
    if not isinstance(by_name, str) and "norm" in by_name:
        for prefix, layer in module.named_modules():
            if "norm" in type(layer).__name__.lower():
                excluded |= {
                    f"{prefix}.{name}" if prefix else name for name, _ in layer.named_parameters(recurse=False)
                }
    return tuple(name for name in names if name in excluded)


def _matches(pattern: str, name: str) -> bool:
    if pattern == "bias":
        return name.endswith("bias")
    if pattern == "norm":
        return _NORM.search(name.lower()) is not None
    return fnmatchcase(name, pattern)
