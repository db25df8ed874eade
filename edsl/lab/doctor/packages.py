"""Which versions of Python and of packages are here, beside those that edsl asks for. Imports none of them."""

from __future__ import annotations

import platform
import re
import sys
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import edsl
from edsl.lab.doctor.findings import Problem, Section

DISTRIBUTION = "edsl-optim"
_REQUIREMENT = re.compile(r"([\w.-]+)(?:\[.*?\])?\s*([^;]*)(?:;(.*))?")
_EXTRA = re.compile(r"extra\s*==\s*['\"]([\w-]+)['\"]")
_FOR_DEVELOPERS = ("dev",)


class Requirement(NamedTuple):
    """A package that edsl asks for.

    Attributes:
        least: the lowest version, such as "2.9", "" for any.
        extra: the option of edsl that needs it, "" for edsl itself.
    """

    name: str
    least: str
    extra: str


def packages() -> Section:
    """Versions, and what is missing or too old."""
    found = requirements()
    versions = {one.name: installed(one.name) for one in found}
    facts = {"edsl": f"{edsl.__version__} in {Path(edsl.__file__).parent}", "python": _python()}
    facts.update({one.name: versions[one.name] or "missing" for one in found if not one.extra})
    facts["triton"] = installed("triton") or "missing"
    facts["extras"] = _extras(found, versions)
    problems = [problem for one in found if (problem := _problem(one, versions[one.name])) is not None]
    if not found:
        facts["install"] = f"not installed as {DISTRIBUTION}: what it requires is not known"
    return Section(facts, problems)


def requirements() -> list[Requirement]:
    """What edsl's own metadata asks for, but for developers; nothing where it is not installed."""
    try:
        lines = metadata.requires(DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        return []
    return [one for line in lines if (one := _read(line)).extra not in _FOR_DEVELOPERS]


def installed(name: str) -> str:
    """The version of a package, "" where it is missing."""
    try:
        return metadata.version(name) or ""
    except metadata.PackageNotFoundError:
        return ""


def is_old(version: str, least: str) -> bool:
    """Whether a version is lower than another, by their numbers.

    Example:
        >>> is_old("2.8.1+cpu", "2.9"), is_old("2.13.0", "2.9"), is_old("3", "3.0")
        (True, False, False)
    """
    own, other = _numbers(version), _numbers(least)
    length = max(len(own), len(other))
    return own + (0,) * (length - len(own)) < other + (0,) * (length - len(other))


def _numbers(version: str) -> tuple[int, ...]:
    found = re.match(r"\d+(\.\d+)*", version)
    return tuple(map(int, found[0].split("."))) if found else ()


def _read(line: str) -> Requirement:
    name, bounds, marker = _REQUIREMENT.fullmatch(line.strip()).groups("")  # pyright: ignore[reportOptionalMemberAccess]
    least = re.search(r">=\s*([\d.]+)", bounds)
    extra = _EXTRA.search(marker)
    return Requirement(name, least[1] if least else "", extra[1] if extra else "")


def _problem(one: Requirement, version: str) -> Problem | None:
    wanted = f"{one.name}>={one.least}" if one.least else one.name
    if not version:
        return None if one.extra else Problem(f"{one.name} is missing", f'pip install "{wanted}"', fails=True)
    if one.least and is_old(version, one.least):
        what = f"{one.name} {version} is older than {one.least}, which edsl{f'[{one.extra}]' * bool(one.extra)} needs"
        return Problem(what, f'pip install --upgrade "{wanted}"', fails=not one.extra)
    return None


def _python() -> str:
    return f"{platform.python_version()}, {platform.python_implementation()}, {sys.executable}"


def _extras(found: list[Requirement], versions: Mapping[str, str]) -> str:
    """Which of edsl's extras are whole, and which packages the others lack."""
    extras = dict.fromkeys(one.extra for one in found if one.extra)
    lacking = {extra: list(_lacking(extra, found, versions)) for extra in extras}
    whole = ", ".join(extra for extra, names in lacking.items() if not names)
    others = ", ".join(f"{extra} ({', '.join(names)})" for extra, names in lacking.items() if names)
    return "; ".join(filter(None, [whole, others and f"without {others}"])) or "none"


def _lacking(extra: str, found: list[Requirement], versions: Mapping[str, str]) -> Iterator[str]:
    yield from (one.name for one in found if one.extra == extra and not versions[one.name])
