"""The zoo: the literature's optimizers as rules, a file NAME.edsl of `edsl/zoo` each, read when it is first named.

An entry is a rule as a user's own would be, and runs edsl's stages and other entries alone, whatever files and plugins
bring. A pipeline carries the definition of each entry that it names, so that records outlive later changes of the file.
"""

from __future__ import annotations

from functools import cache, lru_cache
from importlib import resources
from typing import Any

from edsl.language.registry.stages import STAGES, load
from edsl.language.rules.classes import Outside
from edsl.language.rules.texts import SUFFIX, read_text

ZOO = "edsl.zoo"


@lru_cache
def zoo_names() -> tuple[str, ...]:
    """The names of all entries; no file is read."""
    files = (entry.name for entry in resources.files(ZOO).iterdir())
    return tuple(sorted(name.removesuffix(SUFFIX) for name in files if name.endswith(SUFFIX)))


@cache
def zoo_text(name: str) -> str:
    """What the file of an entry holds."""
    return (resources.files(ZOO) / f"{name}{SUFFIX}").read_text(encoding="utf-8")


@cache
def zoo_class(name: str) -> Any:
    """The stage that an entry is."""
    return read_text(zoo_text(name), f"{name}{SUFFIX}", _WITHIN).rules[name]


def _find(name: str) -> Any:
    if name in STAGES:
        return load(STAGES[name])
    return zoo_class(name) if name in zoo_names() else None


_WITHIN = Outside(_find, lambda: (*STAGES, *zoo_names()))
