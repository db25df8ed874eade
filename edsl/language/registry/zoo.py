"""The zoo's files, `edsl/zoo/NAME.edsl`: their names, and what one holds."""

from __future__ import annotations

from functools import cache
from importlib import resources

ZOO = "edsl.zoo"
SUFFIX = ".edsl"


@cache
def zoo_names() -> tuple[str, ...]:
    """The names of all entries; no file is read."""
    files = (entry.name for entry in resources.files(ZOO).iterdir())
    return tuple(sorted(name.removesuffix(SUFFIX) for name in files if name.endswith(SUFFIX)))


@cache
def zoo_text(name: str) -> str:
    """What the file of an entry holds."""
    return (resources.files(ZOO) / f"{name}{SUFFIX}").read_text(encoding="utf-8")
