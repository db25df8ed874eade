"""Stages from their arguments by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from edsl.errors import FieldError
from edsl.language.arguments import read_arguments
from edsl.language.doubts import settle


def build(name: str, given: Mapping[str, Any]) -> Any:
    """The stage of this name with these arguments.

    Raises:
        EdslError: for an unknown stage or argument, or a value outside its domain.
    """
    from edsl.language.registry.lookup import stage_class

    return build_class(stage_class(name), given)


def build_class(cls: Any, given: Mapping[str, Any]) -> Any:
    """A stage of this class with these arguments; raises FieldError as its fields do."""
    betas = {"": getattr(cls, "betas", ())}  # of an update
    arguments = read_arguments(cls.name, given, [field.name for field in fields(cls)], betas)
    try:
        stage = cls(**arguments.values)
    except FieldError as error:
        raise FieldError(error.message, arguments.given_as.get(error.field, error.field)) from None
    if "betas" in given:
        settle([stage])
    return stage
