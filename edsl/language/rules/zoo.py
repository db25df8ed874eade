"""Entries of the zoo: rules as a user's own would be, read when they are first named.

An entry runs edsl's stages and other entries alone, whatever files and plugins bring. A pipeline carries the
definitions of the entries that it names, so that records outlive later changes of a file.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from edsl.language.registry.stages import STAGES, load
from edsl.language.registry.zoo import SUFFIX, zoo_names, zoo_text
from edsl.language.rules.classes import Outside
from edsl.language.rules.texts import read_text


@cache
def zoo_class(name: str) -> Any:
    """The stage that an entry is."""
    return read_text(zoo_text(name), f"{name}{SUFFIX}", _WITHIN).rules[name]


def _find(name: str) -> Any:
    if name in STAGES:
        return load(STAGES[name])
    return zoo_class(name) if name in zoo_names() else None


_WITHIN = Outside(_find, lambda: (*STAGES, *zoo_names()))
