"""The grammar of rules: a subset of Python, read by its own `ast` and never evaluated.

rule       = "@" kind  "def" name "(" argument [", *, " parameter ", " …] "):"  [docstring]  statement …
kind       = adaptor | update | wrapper
parameter  = name [":" domain] "=" literal
statement  = name "=" expression | a, b = x, y | "return" expression | "if" [not] switch | "if" choice == "option"
expression = number | name | expression (+ - * / **) expression | word(…) | stage(expression, name=argument, …)
"""

from __future__ import annotations

import ast
from typing import Any

from edsl.errors import nearest, shown
from edsl.language.rules.syntax.expressions import INSTEAD, MOST_DEPTH, ExpressionReader, what_is
from edsl.language.rules.syntax.parameters import checked
from edsl.language.rules.syntax.source import Source
from edsl.language.rules.syntax.tree import (
    AS_ROWS,
    Asked,
    Assignment,
    Definition,
    If,
    Parameter,
    Return,
    Statement,
)
from edsl.language.rules.syntax.words import VALUES, is_word

KINDS = ("adaptor", "update", "wrapper")


def read_definition(node: ast.stmt, source: Source) -> Definition:
    """A rule; raises SpecError with a caret."""
    return _Reading(source).definition(node)


class _Reading(ExpressionReader):
    """The reading of one rule."""

    def definition(self, node: ast.stmt) -> Definition:
        if not isinstance(node, ast.FunctionDef):
            raise self.error(f"expected a rule such as @update def name(u, *, lr=0.001): …, got {what_is(node)}", node)
        kind = self._kind(node)
        self._check_name(node.name, node, "a rule")
        argument, parameters = self._signature(kind, node)
        body, about = node.body, ""
        first = body[0]
        if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
            body, about = body[1:], first.value.value
        if not body:
            raise self.error(f"{node.name} returns nothing: end it with return …", node)
        statements = self._block(body, 1)
        place = self.source.place(node)
        as_rows = node.args.args[0].annotation is not None
        return Definition(kind, node.name, argument, parameters, statements, about, as_rows, place=place)

    def _kind(self, node: ast.FunctionDef) -> str:
        marks = node.decorator_list
        if not marks:
            raise self.error(f"say what {node.name} is: write @adaptor, @update or @wrapper above it", node)
        if len(marks) > 1:
            raise self.error(f"{node.name} is of one kind: @adaptor, @update or @wrapper", marks[1])
        kind = marks[0].id if isinstance(marks[0], ast.Name) else ""
        if kind not in KINDS:
            raise self.error(f"unknown kind; {nearest(kind, KINDS, 'kinds')}", marks[0])
        return kind

    def _signature(self, kind: str, node: ast.FunctionDef) -> tuple[str, tuple[Parameter, ...]]:
        given = node.args
        if given.vararg or given.kwarg:
            raise self.error("a rule takes no *args and no **kwargs: name each hyper-parameter", node)
        if given.posonlyargs or len(given.args) != 1 or given.defaults:
            extra = given.args[1] if len(given.args) > 1 else node
            raise self.error(f"{node.name} takes one value, then * and its hyper-parameters: (u, *, lr=0.001)", extra)
        if node.returns is not None:
            raise self.error("what flows out has no annotation", node.returns)
        written = given.args[0].annotation
        if written is not None and not (isinstance(written, ast.Name) and written.id == AS_ROWS):
            raise self.error(f"what flows in has no annotation but {AS_ROWS}", written)
        argument = given.args[0].arg
        self._check_name(argument, given.args[0], "what flows in")
        found: list[Parameter] = []
        for one, default in zip(given.kwonlyargs, given.kw_defaults):
            if default is None:
                raise self.error(f"{one.arg} needs a default, as in {one.arg}=0.9", one)
            self._check_name(one.arg, one, "a hyper-parameter", also=("lr",) if kind == "wrapper" else ())
            if one.arg == argument:
                raise self.error(f"{one.arg} is what flows in: choose another name", one)
            domain, arguments = self._domain(one)
            value = self.constant(default)
            if value is None:
                raise self.error(f"the default of {one.arg} must be a number, True, False or a text, got None", default)
            parameter = Parameter(one.arg, domain, arguments, value, place=self.source.place(one))
            found.append(checked(parameter, self.source))
        if kind == "update" and not any(one.name == "lr" for one in found):
            raise self.error(f"an update has a learning rate: ({argument}, *, lr=0.001)", node)
        return argument, tuple(found)

    def _domain(self, one: ast.arg) -> tuple[str, tuple[Any, ...]]:
        written = one.annotation
        if written is None:
            return "", ()
        if isinstance(written, ast.Name):
            return written.id, ()
        if isinstance(written, ast.Call) and isinstance(written.func, ast.Name) and not written.keywords:
            return written.func.id, tuple(self.constant(argument) for argument in written.args)
        raise self.error(
            f'the domain of {one.arg} must be one such as decay, within(0, 1) or choice("a", "b")', written
        )

    def _check_name(self, name: str, node: Any, what: str, also: tuple[str, ...] = ()) -> None:
        if name in also or name in VALUES or (what == "a rule" and is_word(name)):
            raise self.error(f"{what} can't be called {name}, a word of the language; choose another name", node)
        if not name.isascii() or name.startswith("_") or "__" in name or len(name) > 60:
            raise self.error(
                f"a name is of at most 60 ASCII letters, without _ in front and __ within, got {shown(name)}", node
            )

    def _block(self, body: list[ast.stmt], depth: int) -> tuple[Statement, ...]:
        if depth > MOST_DEPTH:
            raise self.error(f"statements are nested more than {MOST_DEPTH} deep", body[0])
        made = tuple(self._statement(one, depth) for one in body)
        for before, node in zip(made, body[1:]):
            if isinstance(before, Return):
                raise self.error("nothing can follow a return", node)
        return made

    def _statement(self, node: ast.stmt, depth: int) -> Statement:
        place = self.source.place(node)
        self.count(node)
        if isinstance(node, ast.Assign):
            return self._assignment(node)
        if isinstance(node, ast.Return):
            if node.value is None:
                raise self.error("return a value", node)
            return Return(self.expression(node.value, 1), place=place)
        if isinstance(node, ast.If):
            asked = self._asked(node.test)
            return If(asked, self._block(node.body, depth + 1), self._block(node.orelse, depth + 1), place=place)
        instead = INSTEAD.get(type(node), "expected m = …, if …, or return …")
        raise self.error(f"{instead}, got {what_is(node)}" if instead.startswith("expected") else instead, node)

    def _assignment(self, node: ast.Assign) -> Assignment:
        if len(node.targets) > 1:
            raise self.error("assign one name at a time", node.targets[1])
        target, value = node.targets[0], node.value
        targets = target.elts if isinstance(target, ast.Tuple) else [target]
        values = value.elts if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple) else [value]
        if len(targets) != len(values):
            raise self.error("write as many values as names, as in a, b = x, y", value)
        for one in targets:
            if not isinstance(one, ast.Name):
                raise self.error(INSTEAD.get(type(one), f"assign to a name, got {what_is(one)}"), one)
            self._check_name(one.id, one, "a local")
        names = tuple(one.id for one in targets if isinstance(one, ast.Name))
        for name, one in zip(names, targets):
            if names.count(name) > 1:
                raise self.error(f"{name} is assigned twice in one line", one)
        made = tuple(self.expression(one, 1) for one in values)
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
        raise self.error(
            'an if asks a switch, or a choice as in way == "a"; choose by values with where(a > b, x, y)', node
        )
