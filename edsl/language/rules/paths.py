"""What a rule computes for one choice of its switches: straight-line code, and the buffers that it keeps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from math import prod
from typing import Any

from edsl.errors import nearest, shown
from edsl.language.domain import Choice, Domain, Switch, Whole
from edsl.language.rules.syntax.source import Source
from edsl.language.rules.syntax.tree import (
    Assignment,
    Definition,
    Expression,
    Function,
    If,
    Literal,
    Name,
    Return,
    StageCall,
    Statement,
    in_order_of_evaluation,
    parts,
    walk,
)
from edsl.language.rules.syntax.words import RATE, VALUES, WEIGHTS, WORDS, Value

MOST_CHOICES = 256
MOST_PARTS = 10_000  # of all rules of a text, each for all choices of its switches
MOST_BUFFERS = 32


@dataclass(frozen=True)
class Path:
    """A rule for one choice of its switches.

    Attributes:
        choice: the values of the switches and choices that an `if` asks, by name.
        steps: its assignments, in order. value: what it returns.
        buffers: the names that are read before they are assigned, in the order of their first assignment.
        calls: the stages that it runs, in order.
    """

    choice: tuple[tuple[str, Any], ...]
    steps: tuple[Assignment, ...]
    returned: Return
    buffers: tuple[str, ...]

    @property
    def value(self) -> Expression:
        return self.returned.value

    @cached_property
    def calls(self) -> tuple[StageCall, ...]:
        nodes = in_order_of_evaluation(*self.steps, self.value)
        return tuple(node for node in nodes if isinstance(node, StageCall))

    @cached_property
    def weights(self) -> str:
        """The buffer that holds weights to evaluate with, "" for none."""
        marked = (name for step in self.steps for name, value in zip(step.names, step.values) if _marks(value))
        return next(marked, "")

    @cached_property
    def words(self) -> frozenset[str]:
        """The words that it uses: functions, and values of the step; a local may have a function's name."""
        nodes = [*walk(*self.steps, self.value)]
        values = {node.name for node in nodes if isinstance(node, Name)} & VALUES.keys()
        return frozenset(values | {node.name for node in nodes if isinstance(node, Function)})

    @cached_property
    def values_read(self) -> frozenset[str]:
        """The names that it reads as values."""
        nodes = [*(value for step in self.steps for value in step.values), self.value]
        return frozenset(one.name for node in nodes for one in _values_read(node))

    @property
    def said(self) -> str:
        """For which choice, as a message says it; "" where there is none."""
        chosen = ", ".join(f"{name}={value!r}" for name, value in self.choice)
        return f" (with {chosen})" if chosen else ""


def values_of(definition: Definition) -> dict[str, Value]:
    """The words that are values in a rule of this kind."""
    return {**VALUES, "lr": RATE} if definition.kind == "wrapper" else VALUES


def paths_of(definition: Definition, domains: Mapping[str, Domain], source: Source) -> list[Path]:
    """A rule's straight-line code for each choice of the switches that it asks, checked.

    Raises:
        SpecError: for a name that is never assigned, or what can't be asked or assigned.
    """
    _check_names(definition, domains, source)
    asked = _asked(definition, domains, source)
    found = []
    for values in product(*asked.values()):
        choice = dict(zip(asked, values))
        steps: list[Assignment] = []
        returned = _flatten(definition.body, choice, steps)
        if returned is None:
            said = Path(tuple(choice.items()), (), Return(Literal(0.0)), ()).said
            source.refuse(f"{definition.name} returns nothing{said}: end it with return …", definition)
        path = Path(tuple(choice.items()), tuple(steps), returned, ())
        _check_weights(path, definition, source)
        buffers = _buffers(path, definition, domains, source)
        found.append(Path(path.choice, path.steps, returned, buffers))
    return found


def check_size(definitions: Mapping[Definition, Mapping[str, Domain]], source: Source) -> None:
    """Raises SpecError for rules that would take long to check: too many choices, of too many parts.

    Args:
        definitions: with the domains of their hyper-parameters.
    """
    total = 0
    for definition, domains in definitions.items():
        asked = {name: len(options) for name, options in _asked(definition, domains, source).items()}
        count = prod(asked.values())
        if count > MOST_CHOICES:
            source.refuse(f"{definition.name}: its switches have {count} choices, at most {MOST_CHOICES}", definition)
        total += count * sum(1 for _ in walk(*definition.body))
        if total > MOST_PARTS:
            said = f"the rules have {total} parts, over all choices of their switches, at most {MOST_PARTS}"
            source.refuse(f"{said}: leave out switches, or rules", definition)


def _asked(definition: Definition, domains: Mapping[str, Domain], source: Source) -> dict[str, tuple[Any, ...]]:
    """The switches and choices that an `if` asks, with all that they may be."""
    found: dict[str, tuple[Any, ...]] = {}
    for node in walk(*definition.body):
        if not isinstance(node, If):
            continue
        name, option = node.asked.name, node.asked.option
        domain = domains.get(name)
        if domain is None:
            hint = nearest(name, [one for one in domains if isinstance(domains[one], (Switch, Choice))], "switches")
            source.refuse(f"an if asks a switch or a choice of the signature, got {name}; {hint}", node.asked)
        if isinstance(domain, Switch) and option is None:
            found[name] = (False, True)
        elif isinstance(domain, Choice) and option in domain.options:
            found[name] = domain.options
        elif isinstance(domain, Choice):
            said = "no option" if option is None else shown(option)
            source.refuse(f"{name} is {domain}, got {said}: write {name} == {domain.options[0]!r}", node.asked)
        else:
            what = "a switch" if isinstance(domain, Switch) else "a number"
            source.refuse(f"{name} is {what}: an if asks a switch, as in if {name}:, or a choice", node.asked)
    return found


def _flatten(body: tuple[Statement, ...], choice: Mapping[str, Any], steps: list[Assignment]) -> Return | None:
    for statement in body:
        if isinstance(statement, Return):
            return statement
        if isinstance(statement, Assignment):
            steps.append(statement)
            continue
        asked = statement.asked
        holds = choice[asked.name] if asked.option is None else choice[asked.name] == asked.option
        returned = _flatten(statement.then if holds != asked.negated else statement.otherwise, choice, steps)
        if returned is not None:
            return returned
    return None


def _check_names(definition: Definition, domains: Mapping[str, Domain], source: Source) -> None:
    for node in walk(*definition.body):
        if isinstance(node, Assignment):
            for name in node.names:
                if name in domains:
                    source.refuse(f"{name} is a hyper-parameter: give the local another name", node)
                if name in values_of(definition):
                    source.refuse(f"{name} is a word of the language, and can't be assigned", node)
        elif isinstance(node, Function):
            _check_fixed(node, domains, source)


def _marks(value: Any) -> bool:
    """Whether an assignment of it says that a buffer holds weights to evaluate with."""
    return isinstance(value, Function) and value.name == WEIGHTS


def _check_weights(path: Path, definition: Definition, source: Source) -> None:
    """weights(…) is all that is assigned to one name, by a rule that makes steps."""
    marked = [value for step in path.steps for value in step.values if _marks(value)]
    for node in walk(*path.steps, path.value):
        if _marks(node) and not any(node is one for one in marked):
            source.refuse(f"{WEIGHTS} marks a buffer: assign it alone, as in x = {WEIGHTS}(…)", node)
        if _marks(node) and definition.kind == "adaptor":
            source.refuse(f"{WEIGHTS} are those of an update or a wrapper: an adaptor makes no step", node)
    if len(marked) > 1:
        source.refuse(f"a rule has one buffer of weights to evaluate with, got {len(marked)}{path.said}", marked[1])


def _check_fixed(node: Function, domains: Mapping[str, Domain], source: Source) -> None:
    """What chooses the structure of a word's call is no value."""
    for place in WORDS[node.name].fixed:
        given = node.arguments[place]
        if isinstance(given, Name) and isinstance(domains.get(given.name), (Whole, Choice)):
            continue
        wants_text = node.name == "orthogonal" and place > 1
        if isinstance(given, Literal) and isinstance(given.value, str) and wants_text:
            continue
        value = given.value if isinstance(given, Literal) else None
        if isinstance(value, float) and value == int(value) >= 1 and not wants_text:
            continue
        kind = "a text or a choice" if wants_text else "a whole number ≥ 1, or a hyper-parameter n: whole"
        source.refuse(f"{node.name}: argument {place + 1} must be {kind}", given)


def _values_read(node: Any) -> Iterator[Name]:
    """The names that an expression reads as values: not what chooses the structure, nor arguments of stages."""
    if isinstance(node, Name):
        yield node
    fixed = WORDS[node.name].fixed if isinstance(node, Function) else ()
    within = (node.of,) if isinstance(node, StageCall) else parts(node)
    for place, one in enumerate(within):
        if place not in fixed:
            yield from _values_read(one)


def _buffers(path: Path, definition: Definition, domains: Mapping[str, Domain], source: Source) -> tuple[str, ...]:
    """The names that are read before they are assigned; raises SpecError for one that is never assigned."""
    assigned = [name for step in path.steps for name in step.names]
    known = {definition.argument}
    buffers: set[str] = set()
    for step in (*path.steps, path.returned):
        for value in step.values if isinstance(step, Assignment) else (step.value,):
            for node in _values_read(value):
                name = node.name
                if name in known or name in values_of(definition):
                    continue
                if name in domains:
                    if isinstance(domains[name], (Switch, Choice)):
                        source.refuse(f"{name} is no number: ask it with if", node)
                elif name in assigned:
                    buffers.add(name)
                else:
                    names = [definition.argument, *assigned, *domains, *values_of(definition)]
                    hint = nearest(name, dict.fromkeys(names), "names")
                    source.refuse(f"{name} is read and never assigned{path.said}; {hint}", node)
        known |= {*step.names} if isinstance(step, Assignment) else set()
    if len(buffers) > MOST_BUFFERS:
        source.refuse(f"a rule keeps at most {MOST_BUFFERS} buffers, got {len(buffers)}", definition)
    return tuple(name for name in dict.fromkeys(assigned) if name in buffers or name == path.weights)
