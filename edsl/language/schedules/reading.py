"""A schedule from its text: cosine(0.001, warmup=100), by Python's own `ast`, never evaluated."""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import Any

from edsl.errors import EdslError, nearest, shown
from edsl.language.schedules.forms import FORMS
from edsl.language.schedules.schedule import ArgumentError, Schedule, Scheduled


def read_call(call: ast.Call, literal: Callable[[ast.expr], Any], error: Callable[[str, ast.AST], Exception]) -> Any:
    """The scheduled number that a call writes.

    Args:
        literal: reads a literal.
        error: makes an error at a node.
    """
    name = call.func.id if isinstance(call.func, ast.Name) else ""
    if name not in FORMS:
        said = f"unknown schedule {shown(name)}; {nearest(name, FORMS, 'schedules')}" if name else "expected a schedule"
        raise error(said, call.func)
    nodes: dict[str, ast.AST] = {}
    given: dict[str, Any] = {}
    for keyword in call.keywords:
        if keyword.arg is None or keyword.arg in given:
            raise error(f"{name}: each argument is given once, by its name", keyword)
        given[keyword.arg], nodes[keyword.arg] = literal(keyword.value), keyword
    if len(call.args) != 1 or "value" in given:
        raise error(f"{name}: the value comes first and alone without a name, as in {name}(0.001)", call)
    value = literal(call.args[0])
    try:
        return Scheduled(Schedule(name, value, tuple(given.items())))
    except ArgumentError as reason:
        raise error(reason.message, nodes.get(reason.argument, call)) from None


def read_text(text: Any) -> Schedule:
    """The schedule that a text writes, such as one in a checkpoint; raises EdslError for one that is none."""
    try:
        tree = ast.parse(text, mode="eval").body
        if isinstance(tree, ast.Call):
            return read_call(tree, ast.literal_eval, lambda said, _: EdslError(said)).schedule
    except EdslError:
        raise
    except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError):
        pass
    raise EdslError(f"expected a schedule such as cosine(0.001, warmup=100), got {shown(text)}")
