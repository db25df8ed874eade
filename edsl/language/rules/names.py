"""Names: the rules that files have brought, those of a pipeline, and what buffers are called."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from edsl.errors import EdslError
from edsl.language.rules.syntax.tree import Definition, called
from edsl.language.stage import BaseUpdate, Stage

_loaded: dict[str, Any] = {}  # classes by name, from files of rules


def loaded_rules() -> dict[str, Any]:
    """The rules that files brought, by name."""
    return _loaded


def state_name(label: str, field: str) -> str:
    """What a buffer is called in a parameter's state: that of a stage within a rule stands behind that stage's name."""
    return f"{label}.{field.replace('__', '.')}"


def rules_of(stages: Sequence[Stage]) -> dict[str, Definition]:
    """The rules that stages are, and run, by name.

    Raises:
        EdslError: for two rules of one name, or one that has the name of another stage beside it.
    """
    found: dict[str, Definition] = {}
    for stage in stages:
        for one in getattr(type(stage), "definitions", ()):
            if found.setdefault(one.name, one) != one:
                raise EdslError(f"two rules are called {one.name}: give one of them another name")
        if isinstance(stage, BaseUpdate):
            for within in stage.routes.values():
                for name, one in rules_of(within).items():
                    if found.setdefault(name, one) != one:
                        raise EdslError(f"two rules are called {name}: give one of them another name")
    return found


def ordered(definitions: Iterable[Definition]) -> tuple[Definition, ...]:
    """The called before the callers, else by name."""
    waiting = {one.name: one for one in sorted(definitions, key=lambda one: one.name)}
    done: list[Definition] = []
    while waiting:
        ready = (one for one in waiting.values() if not any(name in waiting for name in called(one)))
        done.append(waiting.pop(next(ready).name))
    return tuple(done)
