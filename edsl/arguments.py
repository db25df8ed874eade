"""Arguments by name: synonyms, and one message for an unknown one.

`betas=(b2, b3)` and `eps=x` are read as beta2, beta3 and eps1, which is how they print.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from typing import Any

from edsl.errors import FieldError, nearest, shown

_SYNONYMS = {"betas": ("beta2", "beta3"), "eps": ("eps1",)}


@dataclass(frozen=True)
class Arguments:
    """Values by their canonical names, and the name under which each was given."""

    values: dict[str, Any]
    given_as: dict[str, str]


def read_arguments(owner: str, given: Mapping[str, Any], known: Collection[str]) -> Arguments:
    """Canonical names for what was given to `owner`, which knows the arguments `known`.

    Raises:
        FieldError: for an unknown argument, one given twice under two names, or betas that aren't a pair.
    """
    values: dict[str, Any] = {}
    given_as: dict[str, str] = {}
    for name, value in given.items():
        for canonical, part in _canonical(owner, name, value, known):
            if canonical in values:
                raise FieldError(f"{owner}: {canonical} is given twice, as {given_as[canonical]} and as {name}", name)
            values[canonical] = part
            given_as[canonical] = name
    return Arguments(values, given_as)


def is_synonym(name: str) -> bool:
    """Whether a name stands for others, such as betas, or other_betas of a route."""
    return name.rpartition("_")[-1] in _SYNONYMS


def _canonical(owner: str, name: str, value: Any, known: Collection[str]) -> list[tuple[str, Any]]:
    if name in known:
        return [(name, value)]
    prefix, underscore, last = name.rpartition("_")  # a route's, as in other_betas
    targets = tuple(f"{prefix}{underscore}{target}" for target in _SYNONYMS.get(last, ()))
    if not targets or not all(target in known for target in targets):
        raise FieldError(f"{owner}: unknown argument {shown(name)}; {nearest(name, known, 'it has')}", name)
    if len(targets) == 1:
        return [(targets[0], value)]
    if not isinstance(value, (tuple, list)) or len(value) != len(targets):
        raise FieldError(f"{owner}: {name} must be a pair ({', '.join(targets)}), got {shown(value)}", name)
    return list(zip(targets, value))


def build(name: str, given: Mapping[str, Any]) -> Any:
    """The stage of this name with these arguments.

    Raises:
        EdslError: for an unknown stage or argument, or a value outside its domain.
    """
    from edsl.registry import stage_class

    return build_class(stage_class(name), given)


def build_class(cls: Any, given: Mapping[str, Any]) -> Any:
    """A stage of this class with these arguments; raises FieldError as its fields do."""
    arguments = read_arguments(cls.name, given, [field.name for field in fields(cls)])
    try:
        return cls(**arguments.values)
    except FieldError as error:
        raise FieldError(error.message, arguments.given_as.get(error.field, error.field)) from None
