"""A rule's step as flat Python: one assignment a line, in made-up names, compiled without builtins.

The text is made from a checked tree alone: numbers by their repr, hyper-parameters as `self.lr`, buffers as
`memory.m`, functions by the templates of `edsl.language.rules.syntax.words`.
"""

from __future__ import annotations

import math
import operator
from collections import namedtuple
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from edsl.language.domain import Domain, Whole
from edsl.language.rules.paths import Path, values_of
from edsl.language.rules.shapes import SCALAR, Shape
from edsl.language.rules.syntax.source import Source
from edsl.language.rules.syntax.tree import (
    Binary,
    Comparison,
    Definition,
    Function,
    Literal,
    Name,
    Negative,
    StageCall,
)
from edsl.language.rules.syntax.words import WORDS
from edsl.language.stage import NoMemory

_ARITHMETIC: dict[str, Callable[[float, float], Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "**": operator.pow,
}
_EXACT = 2**53  # whole numbers below it are floats without rounding


@dataclass(frozen=True)
class Nested:
    """What the code of a rule depends on of a stage that it runs.

    Attributes:
        label: its name within the rule. memory: the type of its memory.
        sets_rate: it may change at.lr. reads_rate: it may read it. refreshes: it has a refresh.
        bounds: it reads the norm of all that flows in. draws: how many noises it draws. probes: those for a refresh.
    """

    label: str
    memory: Any
    sets_rate: bool
    reads_rate: bool
    refreshes: bool
    bounds: bool = False
    draws: int = 0
    probes: int = 0


@dataclass(frozen=True)
class Program:
    """A rule's step in Python, for one choice of its switches and one memory of each stage within.

    Attributes:
        step: (stage, x, memory, at) → what flows out, the next memory.
        refresh: (stage, x, memory, at, which stages within are due, whether it is the first step) → the memory.
        memory: its type.
    """

    text: str
    step: Callable[..., Any]
    refresh: Callable[..., Any] | None
    memory: Any


@lru_cache(maxsize=1024)
def memory_type(names: tuple[str, ...]) -> Any:
    """The type of a memory with these buffers: the same one whenever it is asked for."""
    return namedtuple("Memory", names) if names else NoMemory


def program(
    path: Path,
    shapes: Mapping[str, Shape],
    definition: Definition,
    domains: Mapping[str, Domain],
    nested: Sequence[Nested],
    source: Source,
    is_written: bool = False,
) -> Program:
    """The code of a path; where it is written on paper, it tells `at.note` what its author called each value."""
    memory = memory_type((*path.buffers, *(f"{one.label}__{name}" for one in nested for name in one.memory._fields)))
    step = _Emitter(path, definition, domains, nested, source)
    step.is_written = is_written
    lines = step.step(frozenset(name for name, shape in shapes.items() if shape == SCALAR))
    text = "\n    ".join(["def step(self, x, memory, at):", *lines])
    if any(one.refreshes for one in nested):
        within = _Emitter(path, definition, domains, nested, source).refresh()
        text += "\n\n" + "\n    ".join(["def refresh(self, x, memory, at, due, begins):", *within])
    # What C code imports while it runs, as torch does, it imports by the builtins of the frame that calls it.
    builtins = {"__import__": __import__}
    names: dict[str, Any] = {"__builtins__": builtins, "Memory": memory, "refreshed": _refreshed}
    names |= {f"Memory{place}": one.memory for place, one in enumerate(nested)}
    exec(compile(text, f"<rule {definition.name}>", "exec", dont_inherit=True), names)
    return Program(text, names["step"], names.get("refresh"), memory)


def _refreshed(stage: Any, x: Any, memory: Any, at: Any, begins: bool) -> Any:
    return (stage.begin if begins else stage.refresh)(x, memory, at)


def folded(node: Any, source: Source) -> float | None:
    """The number that an expression of literals alone is; None for any other. Raises SpecError where it is none."""
    match node:
        case Literal(float() as value):
            return value
        case Negative(of):
            value = folded(of, source)
            return None if value is None else -value
        case Binary(sign, left, right):
            a, b = folded(left, source), folded(right, source)
            if a is None or b is None:
                return None
            try:
                made = _ARITHMETIC[sign](a, b)
            except ArithmeticError:
                made = math.inf
            if isinstance(made, complex) or not math.isfinite(made):
                source.refuse("this is no finite number", node)
            return made
    return None


def number(value: float) -> str:
    """A number in code: whole ones as integers, which symbols keep exact."""
    text = repr(int(value)) if value == int(value) and abs(value) < _EXACT else repr(value)
    return f"({text})" if text.startswith("-") else text


class _Done(Exception):
    """All that a refresh needs has been written."""


class _Emitter:
    """The lines of one function."""

    def __init__(
        self,
        path: Path,
        definition: Definition,
        domains: Mapping[str, Domain],
        nested: Sequence[Nested],
        source: Source,
    ) -> None:
        self.path, self.definition, self.domains, self.nested, self.source = path, definition, domains, nested, source
        self.lines: list[str] = []
        self.values = {name: value.code for name, value in values_of(definition).items()}
        self.names = {definition.argument: "x", **{name: f"memory.{name}" for name in path.buffers}}
        self.count = 0
        self.reached = 0  # stages within so far
        self.drawn = int("normal" in path.words)  # noises so far, of which its own is the first
        self.probed = 0  # noises for refreshes so far
        self.refreshes = [place for place, one in enumerate(nested) if one.refreshes]
        self.is_refresh = self.is_written = False
        self.keeps_rate = definition.kind == "wrapper" and any(one.sets_rate for one in nested)
        if self.keeps_rate:
            self.values["lr"] = "rate"
            self.lines.append("rate = at.lr")

    def step(self, scalars: frozenset[str]) -> list[str]:
        self._run()
        made = self.emit(self.path.value)
        codes = [(name in scalars, self.names[name]) for name in self.path.buffers]
        after = [f"at.scalar({code})" if is_scalar else code for is_scalar, code in codes]
        for place, one in enumerate(self.nested):
            after += [f"k{place}[{index}]" for index in range(len(one.memory._fields))]
        return [*self.lines, f"return {made}, Memory({', '.join(after)})"]

    def refresh(self) -> list[str]:
        self.is_refresh = True
        if any(one.probes for one in self.nested):
            self.lines.append("probes = at.probes")
        try:
            self._run()
            self.emit(self.path.value)
        except _Done:
            pass
        changed = [
            f"{self.nested[place].label}__{name}=f{place}[{index}]"
            for place in self.refreshes
            for index, name in enumerate(self.nested[place].memory._fields)
        ]
        return [*self.lines, f"return memory._replace({', '.join(changed)})"]

    def _run(self) -> None:
        for step in self.path.steps:
            made = [self.emit(value) for value in step.values]
            for name, code in zip(step.names, made):
                written = f"at.note({name!r}, {code})" if self.is_written else code
                self.names[name] = code if _is_simple(code) else self.held(written)

    def held(self, code: str) -> str:
        """A name for a value."""
        self.count += 1
        self.lines.append(f"t{self.count} = {code}")
        return f"t{self.count}"

    def emit(self, node: Any) -> str:
        """An expression's code; what it needs before is written as lines."""
        value = folded(node, self.source)
        if value is not None:
            return number(value)
        match node:
            case Name(name):
                return self.name(name)
            case Negative(of):
                return f"(-{self.emit(of)})"
            case Binary("**", left, right) if folded(right, self.source) == 2:
                base = self.emit(left)
                base = base if _is_simple(base) else self.held(base)
                return f"({base} * {base})"
            case Binary(sign, left, right) | Comparison(sign, left, right):
                first = self.emit(left)
                return f"({first} {sign} {self.emit(right)})"
            case Function():
                return self.function(node)
            case StageCall():
                return self.stage(node)
        raise TypeError(f"no expression: {node!r}")

    def name(self, name: str) -> str:
        if name in self.names:
            return self.names[name]
        if name in self.domains:
            whole = isinstance(self.domains[name], Whole)
            return f"(1.0 * self.{name})" if whole else f"self.{name}"  # 9 ** n of integers may never end
        return self.values[name]

    def function(self, node: Function) -> str:
        word = WORDS[node.name]
        made = []
        for place, one in enumerate(node.arguments):
            code = self.fixed(one) if place in word.fixed else self.emit(one)
            made.append(self.held(code) if place in word.repeated and not _is_simple(code) else code)
        template = word.code if len(made) == word.least else word.longer
        return template.format(*made)

    def fixed(self, node: Any) -> str:
        if isinstance(node, Name):
            return f"self.{node.name}"
        value = node.value
        return repr(value) if isinstance(value, str) else repr(int(value))

    def stage(self, node: StageCall) -> str:
        x = self.emit(node.of)
        place = self.reached
        self.reached += 1
        one = self.nested[place]
        read = ", ".join(f"memory.{one.label}__{name}" for name in one.memory._fields)
        self.lines.append(f"k{place} = Memory{place}({read})")
        if one.reads_rate and self.definition.kind == "update":
            self.lines.append("at.lr = self.lr")
        if one.bounds:
            x = x if _is_simple(x) else self.held(x)
            self.lines.append(f"at.total_norm = at.sqrt(at.total({x} * {x}))")
        if self.is_refresh and one.refreshes:
            if one.probes:
                self.lines.append(f"at.probes = probes[{self.probed}:{self.probed + one.probes}]")
                self.probed += one.probes
            call = f"refreshed(self._nested[{place}], {x}, k{place}, at, begins)"
            self.lines.append(f"k{place} = f{place} = {call} if due[{place}] else k{place}")
            if place == self.refreshes[-1]:
                raise _Done
        if one.draws:
            self.lines += ["normals = at.normals", f"at.normals = normals[{self.drawn}:{self.drawn + one.draws}]"]
            self.drawn += one.draws
        self.lines.append(f"n{place}, k{place} = self._nested[{place}].step({x}, k{place}, at)")
        if one.draws:
            self.lines.append("at.normals = normals")
        if self.keeps_rate and one.sets_rate:
            self.lines.append("at.lr = rate")
        return f"(-n{place})" if node.is_direction else f"n{place}"


def _is_simple(code: str) -> bool:
    """Whether a piece of code is a name, an attribute or a number, which costs nothing to say twice."""
    return all(character.isalnum() or character in "._" for character in code)
