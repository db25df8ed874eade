"""The canonical text of a rule: what it says and nothing else, spelled in one way on every version of Python."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from edsl.language.domain import plain
from edsl.language.rules.syntax.tree import (
    AS_ROWS,
    Asked,
    Assignment,
    Binary,
    Comparison,
    Definition,
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
from edsl.language.rules.syntax.words import DIRECTION

_INDENT = "    "
_SUM, _PRODUCT, _NEGATIVE, _POWER, _ATOM = range(5)  # how tightly an expression binds
_BINDS = {"+": _SUM, "-": _SUM, "*": _PRODUCT, "/": _PRODUCT, "**": _POWER}


def canonical(definitions: Iterable[Definition]) -> str:
    """The text of rules, which reads back as the same trees."""
    return "\n\n".join(map(_definition, definitions))


def _definition(definition: Definition) -> str:
    parameters = "".join(f", {_parameter(one)}" for one in definition.parameters)
    star = ", *" if parameters else ""
    taken = f"{definition.argument}: {AS_ROWS}" if definition.takes_vectors else definition.argument
    head = f"@{definition.kind}\ndef {definition.name}({taken}{star}{parameters}):"
    return "\n".join([head, *_block(definition.body, _INDENT)])


def _parameter(parameter: Parameter) -> str:
    if not parameter.domain:
        return f"{parameter.name}={plain(parameter.default)}"
    arguments = f"({', '.join(map(plain, parameter.arguments))})" if parameter.arguments else ""
    return f"{parameter.name}: {parameter.domain}{arguments} = {plain(parameter.default)}"


def _block(body: Iterable[Statement], indent: str) -> Iterable[str]:
    for statement in body:
        match statement:
            case Assignment(names, values):
                yield f"{indent}{', '.join(names)} = {', '.join(map(written, values))}"
            case Return(value):
                yield f"{indent}return {written(value)}"
            case If():
                yield from _branches(statement, indent, "if")


def _branches(statement: If, indent: str, word: str) -> Iterable[str]:
    yield f"{indent}{word} {_asked(statement.asked)}:"
    yield from _block(statement.then, indent + _INDENT)
    match statement.otherwise:
        case ():
            return
        case (If() as within,):
            yield from _branches(within, indent, "elif")
        case otherwise:
            yield f"{indent}else:"
            yield from _block(otherwise, indent + _INDENT)


def _asked(asked: Asked) -> str:
    if asked.option is None:
        return f"not {asked.name}" if asked.negated else asked.name
    return f"{asked.name} {'!=' if asked.negated else '=='} {asked.option!r}"


def written(node: Any, least: int = _SUM) -> str:
    """An expression, in brackets where it binds less tightly than it must."""
    text, binds = _expression(node)
    return text if binds >= least else f"({text})"


def _expression(node: Any) -> tuple[str, int]:
    match node:
        case Literal(value):
            return plain(value), _ATOM
        case Name(name):
            return name, _ATOM
        case Negative(of):
            return f"-{written(of, _NEGATIVE)}", _NEGATIVE
        case Binary("**", left, right):
            return f"{written(left, _ATOM)} ** {written(right, _NEGATIVE)}", _POWER
        case Binary(sign, left, right):
            binds = _BINDS[sign]
            return f"{written(left, binds)} {sign} {written(right, binds + 1)}", binds
        case Comparison(sign, left, right):
            return f"{written(left)} {sign} {written(right)}", _ATOM
        case Function(name, arguments):
            return f"{name}({', '.join(map(written, arguments))})", _ATOM
        case Several(values):
            inner = ", ".join(map(written, values))
            return f"({inner},)" if len(values) == 1 else f"({inner})", _ATOM
        case StageCall(name, of, arguments, is_direction):
            given = [written(of), *(f"{key}={written(value)}" for key, value in arguments)]
            call = f"{name}({', '.join(given)})"
            return f"{DIRECTION}({call})" if is_direction else call, _ATOM
    raise TypeError(f"no expression: {node!r}")
