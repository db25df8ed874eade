"""Expressions of rules, from Python's own `ast`."""

from __future__ import annotations

import ast
import math
from typing import Any

from edsl.errors import shown
from edsl.language.rules.syntax.source import Source
from edsl.language.rules.syntax.tree import (
    Argument,
    Binary,
    Comparison,
    Expression,
    Function,
    Literal,
    Name,
    Negative,
    Several,
    StageCall,
)
from edsl.language.rules.syntax.words import DIRECTION, VALUES, WORDS
from edsl.language.schedules.reading import SCHEDULES

MOST_NODES = 2_000
MOST_DEPTH = 30
_SIGNS = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.Pow: "**"}
_ORDERS = {ast.Lt: "<", ast.Gt: ">", ast.LtE: "<=", ast.GtE: ">="}
INSTEAD = {
    ast.For: "a rule has no loops: write the recurrence of one step",
    ast.While: "a rule has no loops: write the recurrence of one step",
    ast.AugAssign: "write the name twice, as in m = m + u",
    ast.AnnAssign: "a local has no annotation: write m = …",
    ast.FunctionDef: "a rule defines no function within: define it beside, and call it",
    ast.Attribute: "a rule has no attributes: write theta, k or sqrt(x), without a dot",
    ast.Subscript: "a rule has no subscripts",
    ast.IfExp: "write an if statement that asks a switch, or where(a > b, x, y) for values",
    ast.Compare: "a comparison stands only in where(a > b, x, y)",
    ast.BoolOp: "a rule has no and, no or: ask one switch after the other, or write minimum and maximum of masks",
    ast.Lambda: "a rule has no lambda",
    ast.Starred: "a rule has no starred values",
    ast.NamedExpr: "assign on a line of its own",
    ast.MatMult: "write product(x, y)",
}


class ExpressionReader:
    """Reads the expressions of one rule; each method raises SpecError with a caret."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.error = source.error
        self.nodes = 0

    def constant(self, node: Any) -> Any:
        """A literal as Python has it, numbers as floats; raises SpecError for anything else."""
        sign = 1.0
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.UAdd)):
            sign, node = (-1.0 if isinstance(node.op, ast.USub) else 1.0), node.operand
            if isinstance(node, ast.Constant) and type(node.value) not in (int, float):
                raise self.error("expected a number", node)
        if not isinstance(node, ast.Constant) or not isinstance(node.value, (bool, int, float, str, type(None))):
            called = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in SCHEDULES
            hint = "; a schedule stands where the rule is called" if called else ""
            raise self.error(f"expected a number, True, False or a text, got {what_is(node)}{hint}", node)
        if type(node.value) in (int, float):
            return sign * self.number(node)
        return node.value

    def number(self, node: Any) -> float:
        try:
            value = float(node.value)
        except OverflowError:
            value = math.inf
        if not math.isfinite(value):
            raise self.error("a number is finite", node)
        return value

    def expression(self, node: ast.expr, depth: int) -> Expression:
        self.count(node)
        if depth > MOST_DEPTH:
            raise self.error(f"expressions are nested more than {MOST_DEPTH} deep: name a part of it", node)
        place = self.source.place(node)
        if isinstance(node, ast.Constant) and type(node.value) in (int, float):
            return Literal(self.number(node), place=place)
        if isinstance(node, ast.Name):
            return Name(node.id, place=place)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.UAdd)):
            of = self.expression(node.operand, depth + 1)
            return of if isinstance(node.op, ast.UAdd) else Negative(of, place=place)
        if isinstance(node, ast.BinOp):
            sign = _SIGNS.get(type(node.op))
            if sign is None:
                said = INSTEAD.get(type(node.op), "expected +, -, *, / or **")  # pyright: ignore[reportArgumentType]
                raise self.error(said, node)
            left, right = self.expression(node.left, depth + 1), self.expression(node.right, depth + 1)
            return Binary(sign, left, right, place=place)
        if isinstance(node, ast.Call):
            return self._call(node, depth)
        raise self.error(INSTEAD.get(type(node), f"expected a value, got {what_is(node)}"), node)

    def _call(self, node: ast.Call, depth: int) -> Expression:
        if not isinstance(node.func, ast.Name):
            raise self.error(INSTEAD[ast.Attribute], node.func)
        name, place = node.func.id, self.source.place(node)
        if name == DIRECTION:
            return self._direction(node, depth)
        if name in WORDS:
            return self._function(node, name, depth)
        if name in VALUES:
            raise self.error(f"{name} is a value: write it without brackets", node)
        if len(node.args) != 1:
            raise self.error(f"{name}: a stage runs on one value, its arguments by name: {name}(u, lr=0.1)", node)
        of = self.expression(node.args[0], depth + 1)
        arguments: dict[str, Argument] = {}
        for keyword in node.keywords:
            if keyword.arg is None:
                raise self.error(f"{name}: arguments are given one by one, without **", keyword.value)
            if keyword.arg in arguments:
                raise self.error(f"{name}: {keyword.arg} is given twice", keyword.value)
            arguments[keyword.arg] = self.argument(keyword.value, depth + 1)
        return StageCall(name, of, tuple(arguments.items()), place=place)

    def argument(self, node: ast.expr, depth: int) -> Argument:
        place = self.source.place(node)
        if isinstance(node, ast.Constant) and isinstance(node.value, (bool, str, type(None))):
            self.count(node)
            return Literal(node.value, place=place)
        if isinstance(node, ast.Tuple):
            return Several(tuple(self.expression(one, depth + 1) for one in node.elts), place=place)
        return self.expression(node, depth)

    def _direction(self, node: ast.Call, depth: int) -> Expression:
        if len(node.args) != 1 or node.keywords or not isinstance(node.args[0], ast.Call):
            raise self.error("direction is of one update, as in direction(soap(u))", node)
        of = self._call(node.args[0], depth + 1)
        if not isinstance(of, StageCall) or of.is_direction:
            raise self.error("direction is of an update, as in direction(soap(u))", node.args[0])
        return StageCall(of.name, of.of, of.arguments, is_direction=True, place=of.place)

    def _function(self, node: ast.Call, name: str, depth: int) -> Expression:
        word = WORDS[name]
        if node.keywords:
            raise self.error(f"{name} takes its arguments without names", node.keywords[0].value)
        if not word.least <= len(node.args) <= word.most:
            count = f"{word.least}" if word.least == word.most else f"{word.least} or {word.most}"
            raise self.error(f"{name} takes {count} argument{'s' if word.most > 1 else ''}, got {len(node.args)}", node)
        made: list[Any] = []
        for place, argument in enumerate(node.args):
            if name == "where" and place == 0:
                made.append(self._comparison(argument, depth + 1))
            elif place in word.fixed:
                made.append(self.argument(argument, depth + 1))
            else:
                made.append(self.expression(argument, depth + 1))
        return Function(name, tuple(made), place=self.source.place(node))

    def _comparison(self, node: ast.expr, depth: int) -> Comparison:
        self.count(node)
        sign = _ORDERS.get(type(node.ops[0])) if isinstance(node, ast.Compare) and len(node.ops) == 1 else None
        if sign is None or not isinstance(node, ast.Compare):
            raise self.error("where asks one comparison by <, >, <= or >=: where(a > b, x, y)", node)
        left = self.expression(node.left, depth + 1)
        right = self.expression(node.comparators[0], depth + 1)
        return Comparison(sign, left, right, place=self.source.place(node))

    def count(self, node: Any) -> None:
        self.nodes += 1
        if self.nodes > MOST_NODES:
            raise self.error(f"a rule has at most {MOST_NODES} parts: split it into several", node)


_KINDS = {
    ast.Constant: "a bare value",
    ast.Dict: "a dictionary",
    ast.Expr: "a value that is not used",
    ast.Import: "an import",
    ast.ImportFrom: "an import",
    ast.ClassDef: "a class",
    ast.List: "a list",
    ast.Tuple: "a tuple",
    ast.JoinedStr: "an f-string",
    ast.ListComp: "a comprehension",
    ast.GeneratorExp: "a comprehension",
    ast.Pass: "pass",
    ast.Assign: "an assignment",
}


def what_is(node: Any) -> str:
    """A node of `ast` in words, as an error says what was found."""
    if isinstance(node, ast.Name):
        return f"the name {node.id[:40]!r}"
    if isinstance(node, ast.Constant):
        return shown(node.value)
    return _KINDS.get(type(node), f"a {type(node).__name__}")
