"""A schedule as a formula in k, such as 1/sqrt(k), read by `ast` and never evaluated."""

from __future__ import annotations

import ast
import operator
from typing import Any

import sympy

from edsl.errors import SpecError

K = sympy.Symbol("k", positive=True)
_FUNCTIONS = {"sqrt": sympy.sqrt, "log": sympy.log, "exp": sympy.exp}
_OPERATORS: dict[Any, Any] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
}
_MOST_CHARACTERS, _MOST_EXPONENT = 200, 100


def read_schedule(text: str) -> Any:
    """A formula of numbers, k, + − * / **, sqrt, log and exp as a sympy expression.

    Raises:
        SpecError: with a caret under what can't be read.

    Example:
        >>> from edsl.theory.schedule import read_schedule
        >>> read_schedule("1/sqrt(k)")
        1/sqrt(k)
    """
    source = text.strip()
    if not source or len(source) > _MOST_CHARACTERS:
        raise SpecError(f"a schedule is a formula in k of at most {_MOST_CHARACTERS} characters, as 1/sqrt(k)", text, 0)
    try:
        tree = ast.parse(source, mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        raise SpecError("can't read this schedule; write a formula in k such as 1/sqrt(k)", text, 0) from None
    value = _read(tree, text)
    if value.has(sympy.zoo, sympy.nan, sympy.oo):
        raise SpecError("this schedule is not a finite number for every k", text, 0)
    return value


def _read(node: ast.expr, text: str) -> Any:
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        return sympy.Rational(repr(node.value))
    if isinstance(node, ast.Name) and node.id == "k":
        return K
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.UAdd)):
        value = _read(node.operand, text)
        return -value if isinstance(node.op, ast.USub) else value
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        left, right = _read(node.left, text), _read(node.right, text)
        if not (isinstance(node.op, ast.Pow) and right.is_number and abs(right) > _MOST_EXPONENT):
            return sympy.sympify(_OPERATORS[type(node.op)](left, right))
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _FUNCTIONS:  # noqa: SIM102
        if len(node.args) == 1 and not node.keywords:
            return _FUNCTIONS[node.func.id](_read(node.args[0], text))
    raise SpecError("a schedule is made of numbers, k, + - * / **, sqrt, log and exp", text, node.col_offset)
