"""What a rule says, as a tree: definitions of statements and expressions, each with its place in the text.

Two trees are equal where they say the same, wherever it stands.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

AS_ROWS = "vectors_as_rows"  # as the annotation of what flows in


@dataclass(frozen=True)
class Place:
    """A line of the text, from 1, and a column in it, from 0."""

    line: int
    column: int


NOWHERE = Place(1, 0)


@dataclass(frozen=True, kw_only=True)
class Node:
    """A part of a rule, with its place in the text."""

    place: Place = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True)
class Literal(Node):
    """A number, or what only an argument may be: a string, True, False, None."""

    value: Any


@dataclass(frozen=True)
class Name(Node):
    """A local, a buffer, a hyper-parameter or a value of the step such as theta."""

    name: str


@dataclass(frozen=True)
class Negative(Node):
    """-x."""

    of: Expression


@dataclass(frozen=True)
class Binary(Node):
    """+, -, *, / or **."""

    sign: str
    left: Expression
    right: Expression


@dataclass(frozen=True)
class Comparison(Node):
    """<, >, <= or >=, of which `where` asks alone."""

    sign: str
    left: Expression
    right: Expression


@dataclass(frozen=True)
class Function(Node):
    """A function of `edsl.language.rules.syntax.words`."""

    name: str
    arguments: tuple[Expression | Comparison, ...]


@dataclass(frozen=True)
class StageCall(Node):
    """A stage run on a value, or its direction: −Δθ at lr 1 without decay."""

    name: str
    of: Expression
    arguments: tuple[tuple[str, Argument], ...]
    is_direction: bool = False


@dataclass(frozen=True)
class Several(Node):
    """The values of `betas=(…)`."""

    values: tuple[Expression, ...]


Expression = Literal | Name | Negative | Binary | Function | StageCall
Argument = Expression | Several


@dataclass(frozen=True)
class Assignment(Node):
    """m = x, or a, b = x, y."""

    names: tuple[str, ...]
    values: tuple[Expression, ...]


@dataclass(frozen=True)
class Asked(Node):
    """What an `if` asks: a switch, or whether a choice is one of its options; or that it is not so."""

    name: str
    option: str | None = None
    negated: bool = False


@dataclass(frozen=True)
class If(Node):
    """A choice by a switch."""

    asked: Asked
    then: tuple[Statement, ...]
    otherwise: tuple[Statement, ...]


@dataclass(frozen=True)
class Return(Node):
    """What flows out."""

    value: Expression


Statement = Assignment | If | Return


@dataclass(frozen=True)
class Parameter(Node):
    """A hyper-parameter: its name, the domain as it is written ("" where its name and default say it), its default."""

    name: str
    domain: str
    arguments: tuple[Any, ...]
    default: Any


@dataclass(frozen=True)
class Definition(Node):
    """A rule.

    Attributes:
        kind: "adaptor", "update" or "wrapper".
        argument: the name of what flows in.
        takes_vectors: a parameter of fewer than 2 dimensions is a single row to it.
        about: its docstring, which is no part of what it says.
    """

    kind: str
    name: str
    argument: str
    parameters: tuple[Parameter, ...]
    body: tuple[Statement, ...]
    about: str = field(default="", compare=False)
    takes_vectors: bool = False


def parts(node: Any) -> tuple[Any, ...]:
    """The nodes that an expression or a statement is made of."""
    match node:
        case Negative(of):
            return (of,)
        case Binary(_, left, right) | Comparison(_, left, right):
            return left, right
        case Function(_, arguments):
            return arguments
        case StageCall(_, of, arguments):
            return (of, *(value for _, value in arguments))
        case Several(values) | Assignment(_, values):
            return values
        case If(_, then, otherwise):
            return (*then, *otherwise)
        case Return(value):
            return (value,)
    return ()


def walk(*nodes: Any) -> Iterator[Any]:
    """These and all within them, in the order of the text."""
    waiting = [*reversed(nodes)]
    while waiting:
        node = waiting.pop()
        yield node
        waiting.extend(reversed(parts(node)))


def in_order_of_evaluation(*nodes: Any) -> Iterator[Any]:
    """These and all within them, parts first."""
    for node in nodes:
        yield from in_order_of_evaluation(*parts(node))
        yield node


def called(definition: Definition) -> tuple[str, ...]:
    """The stages that a rule runs, each once, in the order of the text."""
    return tuple(dict.fromkeys(node.name for node in walk(*definition.body) if isinstance(node, StageCall)))
