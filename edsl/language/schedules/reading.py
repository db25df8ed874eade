"""A schedule from its text: cosine(0.001, warmup=100), by Python's own `ast`, never evaluated.

Around it, or around a number, stand the rules of layers: depth(cosine(0.001), by=0.8).
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import Any

from edsl.errors import EdslError, nearest, shown
from edsl.language.schedules.forms import FORMS
from edsl.language.schedules.layerwise import EXAMPLES, SCALES, Layerwise, Scale
from edsl.language.schedules.schedule import ArgumentError, Schedule, Scheduled

SCHEDULES = (*FORMS, *SCALES)  # the names that are called so


def read_call(call: ast.Call, literal: Callable[[ast.expr], Any], error: Callable[[str, ast.AST], Exception]) -> Any:
    """The number on a schedule, or that differs from layer to layer, which a call writes.

    Args:
        literal: reads a literal.
        error: makes an error at a node.
    """
    name = call.func.id if isinstance(call.func, ast.Name) else ""
    if name not in SCHEDULES:
        hint = nearest(name, SCHEDULES, "schedules")
        raise error(f"unknown schedule {shown(name)}; {hint}" if name else "expected a schedule", call.func)
    nodes: dict[str, ast.AST] = {}
    given: dict[str, Any] = {}
    for keyword in call.keywords:
        if keyword.arg is None or keyword.arg in given:
            raise error(f"{name}: each argument is given once, by its name", keyword)
        given[keyword.arg], nodes[keyword.arg] = literal(keyword.value), keyword
    if len(call.args) != 1 or "value" in given:
        example = EXAMPLES.get(name, f"{name}(0.001)")
        raise error(f"{name}: the value comes first and alone without a name, as in {example}", call)
    value = _value(name, call.args[0], literal, error)
    try:
        if name in SCALES:
            return Layerwise(value, Scale(name, tuple(given.items())))
        return Scheduled(Schedule(name, value, tuple(given.items())))
    except ArgumentError as reason:
        raise error(reason.message, nodes.get(reason.argument, call)) from None


def _value(
    name: str, node: ast.expr, literal: Callable[[ast.expr], Any], error: Callable[[str, ast.AST], Exception]
) -> Any:
    """What a call scales: a number; of width and depth also a schedule, or the other of the two."""
    if not isinstance(node, ast.Call):
        value = literal(node)
        if name in SCALES and (isinstance(value, bool) or not isinstance(value, (int, float))):
            raise error(f"{name}: the value must be a number or a schedule, got {shown(value)}", node)
        return value
    if name in SCALES:
        return read_call(node, literal, error)
    inner = node.func.id if isinstance(node.func, ast.Name) else ""
    if inner in SCALES:
        raise error(f"{inner} stands around a schedule: {inner}({name}(…), {EXAMPLES[inner].partition(', ')[2]}", node)
    raise error(f"{name}: the value must be a number", node)


def read_text(text: Any) -> Schedule:
    """The schedule that a text writes, such as one in a checkpoint; raises EdslError for one that is none."""
    try:
        tree = ast.parse(text, mode="eval").body
        if isinstance(tree, ast.Call):
            found = read_call(tree, ast.literal_eval, lambda said, _: EdslError(said))
            if isinstance(found, Scheduled):
                return found.schedule
    except EdslError:
        raise
    except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError):
        pass
    raise EdslError(f"expected a schedule such as cosine(0.001, warmup=100), got {shown(text)}")
