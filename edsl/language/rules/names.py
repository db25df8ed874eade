"""Names: the rules that files have brought, those of a pipeline, and what buffers are called."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from edsl.errors import EdslError
from edsl.language.rules.syntax.tree import Definition, called
from edsl.language.stage import Stage, with_routes

_loaded: dict[str, Any] = {}  # classes by name, from files of rules


def loaded_rules() -> dict[str, Any]:
    """The rules that files brought, by name."""
    return _loaded


def state_name(label: str, field: str) -> str:
    """What a buffer is called in a parameter's state: that of a stage within a rule stands behind that stage's name."""
    return f"{label}.{field.replace('__', '.')}"


def rules_of(stages: Iterable[Stage]) -> dict[str, Definition]:
    """The rules that stages are, and run, by name; raises EdslError as `combined` does."""
    return combined([type(stage) for stage in with_routes(stages)])


def combined(kinds: Sequence[Any]) -> dict[str, Definition]:
    """The rules that classes of stages are, and run, by name: what one text must define.

    Raises:
        EdslError: for two rules of one name, or one of the name of another stage that is meant beside it.
    """
    found: dict[str, Definition] = {}
    for kind in kinds:
        for one in getattr(kind, "definitions", ()):
            if found.setdefault(one.name, one) != one:
                raise EdslError(f"two rules are called {one.name}: give one of them another name")
    for name in found:
        if any(name in _others(kind) for kind in kinds):
            raise EdslError(f"{name} is a rule, and edsl's own {name} stands beside it: give the rule another name")
    return found


def _others(kind: Any) -> frozenset[str]:
    """The names of stages that a class is or runs, and that are no rules."""
    rules = getattr(kind, "definitions", ())
    rule = getattr(kind, "rule", None)
    named = [kind.name] if rule is None else [name for one in (*rules, rule) for name in called(one)]
    return frozenset(named) - {one.name for one in rules}


def ordered(definitions: Iterable[Definition]) -> tuple[Definition, ...]:
    """The called before the callers, else by name."""
    waiting = {one.name: one for one in sorted(definitions, key=lambda one: one.name)}
    done: list[Definition] = []
    while waiting:
        ready = (one for one in waiting.values() if not any(name in waiting for name in called(one)))
        done.append(waiting.pop(next(ready).name))
    return tuple(done)
