"""The grammar of rules: a subset of Python, read by its own `ast` and never evaluated.

rule       = "@" kind  "def" name "(" argument [", *, " parameter ", " …] "):"  [docstring]  statement …
kind       = adaptor | update | wrapper
parameter  = name [":" domain] "=" literal
statement  = name "=" expression  |  a, b = x, y  |  "if" [not] switch  |  "if" choice == "option"  |  "return" expression
expression = number | name | expression (+ - * / **) expression | word(…) | stage(expression, name=argument, …)
"""

from __future__ import annotations

import ast
import math
from typing import Any

from edsl.errors import nearest, shown
from edsl.language.rules.parameters import checked
from edsl.language.rules.source import Source
from edsl.language.rules.tree import (
    Argument,
    Asked,
    Assignment,
    Binary,
    Comparison,
    Definition,
    Expression,
    Function,
    If,
    Literal,
    Name,
    Negative,
    Parameter,
    Return,
    Several,
    StageCall,
    Statement,
)
from edsl.language.rules.words import DIRECTION, VALUES, WORDS, is_word

KINDS = ("adaptor", "update", "wrapper")
MOST_NODES = 2_000
MOST_DEPTH = 30
_SIGNS = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.Pow: "**"}
_ORDERS = {ast.Lt: "<", ast.Gt: ">", ast.LtE: "<=", ast.GtE: ">="}
_INSTEAD = {
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


def read_definition(node: ast.stmt, source: Source) -> Definition:
    """A rule; raises SpecError with a caret."""
    return _Reading(source).definition(node)


class _Reading:
    """The reading of one rule."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.refuse = source.refuse
        self.nodes = 0

    def definition(self, node: ast.stmt) -> Definition:
        if not isinstance(node, ast.FunctionDef):
            self.refuse(f"expected a rule such as @update def name(u, *, lr=0.001): …, got {_what(node)}", node)
        kind = self._kind(node)
        self._check_name(node.name, node, "a rule")
        argument, parameters = self._signature(kind, node)
        body, about = node.body, ""
        first = body[0]
        if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
            body, about = body[1:], first.value.value
        if not body:
            self.refuse(f"{node.name} returns nothing: end it with return …", node)
        statements = self._block(body, 1)
        place = self.source.place(node)
        return Definition(kind, node.name, argument, parameters, statements, about, place=place)

    def _kind(self, node: ast.FunctionDef) -> str:
        marks = node.decorator_list
        if not marks:
            self.refuse(f"say what {node.name} is: write @adaptor, @update or @wrapper above it", node)
        if len(marks) > 1:
            self.refuse(f"{node.name} is of one kind: @adaptor, @update or @wrapper", marks[1])
        kind = marks[0].id if isinstance(marks[0], ast.Name) else ""
        if kind not in KINDS:
            self.refuse(f"unknown kind; {nearest(kind, KINDS, 'kinds')}", marks[0])
        return kind

    def _signature(self, kind: str, node: ast.FunctionDef) -> tuple[str, tuple[Parameter, ...]]:
        given = node.args
        if given.vararg or given.kwarg:
            self.refuse("a rule takes no *args and no **kwargs: name each hyper-parameter", node)
        if given.posonlyargs or len(given.args) != 1 or given.defaults:
            extra = given.args[1] if len(given.args) > 1 else node
            self.refuse(f"{node.name} takes one value, then * and its hyper-parameters: (u, *, lr=0.001)", extra)
        if given.args[0].annotation is not None or node.returns is not None:
            self.refuse("what flows in and out has no annotation", given.args[0].annotation or node.returns)
        argument = given.args[0].arg
        self._check_name(argument, given.args[0], "what flows in")
        found: list[Parameter] = []
        for one, default in zip(given.kwonlyargs, given.kw_defaults):
            if default is None:
                self.refuse(f"{one.arg} needs a default, as in {one.arg}=0.9", one)
            self._check_name(one.arg, one, "a hyper-parameter", also=("lr",) if kind == "wrapper" else ())
            if one.arg == argument:
                self.refuse(f"{one.arg} is what flows in: choose another name", one)
            domain, arguments = self._domain(one)
            value = self._constant(default)
            if value is None:
                self.refuse(f"the default of {one.arg} must be a number, True, False or a text, got None", default)
            parameter = Parameter(one.arg, domain, arguments, value, place=self.source.place(one))
            found.append(checked(parameter, self.source))
        if kind == "update" and not any(one.name == "lr" for one in found):
            self.refuse(f"an update has a learning rate: ({argument}, *, lr=0.001)", node)
        return argument, tuple(found)

    def _domain(self, one: ast.arg) -> tuple[str, tuple[Any, ...]]:
        written = one.annotation
        if written is None:
            return "", ()
        if isinstance(written, ast.Name):
            return written.id, ()
        if isinstance(written, ast.Call) and isinstance(written.func, ast.Name) and not written.keywords:
            return written.func.id, tuple(self._constant(argument) for argument in written.args)
        self.refuse(f'the domain of {one.arg} must be one such as decay, within(0, 1) or choice("a", "b")', written)

    def _check_name(self, name: str, node: Any, what: str, also: tuple[str, ...] = ()) -> None:
        if name in also or name in VALUES or (what == "a rule" and is_word(name)):
            self.refuse(f"{what} can't be called {name}, a word of the language; choose another name", node)
        if not name.isascii() or name.startswith("_") or "__" in name or len(name) > 60:
            self.refuse(f"a name is of at most 60 ASCII letters, without _ in front and __ within, got {shown(name)}", node)

    def _constant(self, node: Any) -> Any:
        """A literal as Python has it, numbers as floats; raises SpecError for anything else."""
        sign = 1.0
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.UAdd)):
            sign, node = (-1.0 if isinstance(node.op, ast.USub) else 1.0), node.operand
            if isinstance(node, ast.Constant) and type(node.value) not in (int, float):
                self.refuse("expected a number", node)
        if not isinstance(node, ast.Constant) or not isinstance(node.value, (bool, int, float, str, type(None))):
            self.refuse(f"expected a number, True, False or a text, got {_what(node)}", node)
        if type(node.value) in (int, float):
            return sign * self._number(node)
        return node.value

    def _number(self, node: Any) -> float:
        try:
            value = float(node.value)
        except OverflowError:
            value = math.inf
        if not math.isfinite(value):
            self.refuse("a number is finite", node)
        return value

    def _block(self, body: list[ast.stmt], depth: int) -> tuple[Statement, ...]:
        if depth > MOST_DEPTH:
            self.refuse(f"statements are nested more than {MOST_DEPTH} deep", body[0])
        made = tuple(self._statement(one, depth) for one in body)
        for before, node in zip(made, body[1:]):
            if isinstance(before, Return):
                self.refuse("nothing can follow a return", node)
        return made

    def _statement(self, node: ast.stmt, depth: int) -> Statement:
        place = self.source.place(node)
        self._count(node)
        if isinstance(node, ast.Assign):
            return self._assignment(node)
        if isinstance(node, ast.Return):
            if node.value is None:
                self.refuse("return a value", node)
            return Return(self._expression(node.value, 1), place=place)
        if isinstance(node, ast.If):
            asked = self._asked(node.test)
            return If(asked, self._block(node.body, depth + 1), self._block(node.orelse, depth + 1), place=place)
        instead = _INSTEAD.get(type(node), "expected m = …, if …, or return …")
        self.refuse(f"{instead}, got {_what(node)}" if instead.startswith("expected") else instead, node)

    def _assignment(self, node: ast.Assign) -> Assignment:
        if len(node.targets) > 1:
            self.refuse("assign one name at a time", node.targets[1])
        target, value = node.targets[0], node.value
        targets = target.elts if isinstance(target, ast.Tuple) else [target]
        values = value.elts if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple) else [value]
        if len(targets) != len(values):
            self.refuse("write as many values as names, as in a, b = x, y", value)
        for one in targets:
            if not isinstance(one, ast.Name):
                self.refuse(_INSTEAD.get(type(one), f"assign to a name, got {_what(one)}"), one)
            self._check_name(one.id, one, "a local")
        names = tuple(one.id for one in targets if isinstance(one, ast.Name))
        for name, one in zip(names, targets):
            if names.count(name) > 1:
                self.refuse(f"{name} is assigned twice in one line", one)
        made = tuple(self._expression(one, 1) for one in values)
        return Assignment(names, made, place=self.source.place(node))

    def _asked(self, node: ast.expr) -> Asked:
        place = self.source.place(node)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            within = self._asked(node.operand)
            return Asked(within.name, within.option, not within.negated, place=place)
        if isinstance(node, ast.Name):
            return Asked(node.id, place=place)
        if (
            isinstance(node, ast.Compare)
            and isinstance(node.left, ast.Name)
            and len(node.ops) == 1
            and isinstance(node.ops[0], (ast.Eq, ast.NotEq))
            and isinstance(node.comparators[0], ast.Constant)
            and isinstance(node.comparators[0].value, str)
        ):
            negated = isinstance(node.ops[0], ast.NotEq)
            return Asked(node.left.id, node.comparators[0].value, negated, place=place)
        self.refuse('an if asks a switch, or a choice as in mode == "a"; choose by values with where(a > b, x, y)', node)

    def _expression(self, node: ast.expr, depth: int) -> Expression:
        self._count(node)
        if depth > MOST_DEPTH:
            self.refuse(f"expressions are nested more than {MOST_DEPTH} deep: name a part of it", node)
        place = self.source.place(node)
        if isinstance(node, ast.Constant) and type(node.value) in (int, float):
            return Literal(self._number(node), place=place)
        if isinstance(node, ast.Name):
            return Name(node.id, place=place)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.UAdd)):
            of = self._expression(node.operand, depth + 1)
            return of if isinstance(node.op, ast.UAdd) else Negative(of, place=place)
        if isinstance(node, ast.BinOp):
            sign = _SIGNS.get(type(node.op))
            if sign is None:
                said = _INSTEAD.get(type(node.op), "expected +, -, *, / or **")  # pyright: ignore[reportArgumentType]
                self.refuse(said, node)
            left, right = self._expression(node.left, depth + 1), self._expression(node.right, depth + 1)
            return Binary(sign, left, right, place=place)
        if isinstance(node, ast.Call):
            return self._call(node, depth)
        self.refuse(_INSTEAD.get(type(node), f"expected a value, got {_what(node)}"), node)

    def _call(self, node: ast.Call, depth: int) -> Expression:
        if not isinstance(node.func, ast.Name):
            self.refuse(_INSTEAD[ast.Attribute], node.func)
        name, place = node.func.id, self.source.place(node)
        if name == DIRECTION:
            return self._direction(node, depth)
        if name in WORDS:
            return self._function(node, name, depth)
        if name in VALUES:
            self.refuse(f"{name} is a value: write it without brackets", node)
        if len(node.args) != 1:
            self.refuse(f"{name}: a stage runs on one value, its arguments by name: {name}(u, lr=0.1)", node)
        of = self._expression(node.args[0], depth + 1)
        arguments: dict[str, Argument] = {}
        for keyword in node.keywords:
            if keyword.arg is None:
                self.refuse(f"{name}: arguments are given one by one, without **", keyword.value)
            if keyword.arg in arguments:
                self.refuse(f"{name}: {keyword.arg} is given twice", keyword.value)
            arguments[keyword.arg] = self._argument(keyword.value, depth + 1)
        return StageCall(name, of, tuple(arguments.items()), place=place)

    def _argument(self, node: ast.expr, depth: int) -> Argument:
        place = self.source.place(node)
        if isinstance(node, ast.Constant) and isinstance(node.value, (bool, str, type(None))):
            self._count(node)
            return Literal(node.value, place=place)
        if isinstance(node, ast.Tuple):
            return Several(tuple(self._expression(one, depth + 1) for one in node.elts), place=place)
        return self._expression(node, depth)

    def _direction(self, node: ast.Call, depth: int) -> Expression:
        if len(node.args) != 1 or node.keywords or not isinstance(node.args[0], ast.Call):
            self.refuse("direction is of one update, as in direction(soap(u))", node)
        of = self._call(node.args[0], depth + 1)
        if not isinstance(of, StageCall) or of.is_direction:
            self.refuse("direction is of an update, as in direction(soap(u))", node.args[0])
        return StageCall(of.name, of.of, of.arguments, is_direction=True, place=of.place)

    def _function(self, node: ast.Call, name: str, depth: int) -> Expression:
        word = WORDS[name]
        if node.keywords:
            self.refuse(f"{name} takes its arguments without names", node.keywords[0].value)
        if not word.least <= len(node.args) <= word.most:
            count = f"{word.least}" if word.least == word.most else f"{word.least} or {word.most}"
            self.refuse(f"{name} takes {count} argument{'s' if word.most > 1 else ''}, got {len(node.args)}", node)
        made: list[Any] = []
        for place, argument in enumerate(node.args):
            if name == "where" and place == 0:
                made.append(self._comparison(argument, depth + 1))
            elif place in word.fixed:
                made.append(self._argument(argument, depth + 1))
            else:
                made.append(self._expression(argument, depth + 1))
        return Function(name, tuple(made), place=self.source.place(node))

    def _comparison(self, node: ast.expr, depth: int) -> Comparison:
        self._count(node)
        sign = _ORDERS.get(type(node.ops[0])) if isinstance(node, ast.Compare) and len(node.ops) == 1 else None
        if sign is None or not isinstance(node, ast.Compare):
            self.refuse("where asks one comparison by <, >, <= or >=: where(a > b, x, y)", node)
        left = self._expression(node.left, depth + 1)
        right = self._expression(node.comparators[0], depth + 1)
        return Comparison(sign, left, right, place=self.source.place(node))

    def _count(self, node: Any) -> None:
        self.nodes += 1
        if self.nodes > MOST_NODES:
            self.refuse(f"a rule has at most {MOST_NODES} parts: split it into several", node)


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


def _what(node: Any) -> str:
    if isinstance(node, ast.Name):
        return f"the name {node.id[:40]!r}"
    if isinstance(node, ast.Constant):
        return shown(node.value)
    return _KINDS.get(type(node), f"a {type(node).__name__}")
