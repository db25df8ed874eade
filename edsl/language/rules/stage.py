"""Stages that rules define: the three kinds, and the stages that run within them.

A rule is a stage as any other: a frozen dataclass of hyper-parameters with `init` and `step`. What it holds beside its
fields follows from them: the stages within, built with the numbers of now, and the code of its step.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any, ClassVar

from edsl.errors import EdslError, FieldError
from edsl.language.context import At, Value
from edsl.language.domain import Domain, Number, Whole
from edsl.language.reductions import AnalysisContext, ReductionDepth
from edsl.language.rules.calls import Call, Variant, evaluated
from edsl.language.rules.code import Nested, Program, program
from edsl.language.rules.syntax.source import Source
from edsl.language.rules.syntax.tree import Definition, Literal, Name, walk
from edsl.language.schedules.layerwise import bare_number
from edsl.language.stage import Adaptor, BaseUpdate, Stage, Wrapper


class RuleStage(Stage):
    """A stage whose recurrence is a text.

    Attributes:
        rule: what it says. text: with all rules that it runs, the canonical text. definitions: of that text, in order.
        variants: by the values of what `asked` names. count: how many stages it is, with those within.
    """

    rule: ClassVar[Definition]
    text: ClassVar[str]
    definitions: ClassVar[tuple[Definition, ...]]
    source: ClassVar[Source]
    asked: ClassVar[tuple[str, ...]]
    domains: ClassVar[Mapping[str, Domain]]
    variants: ClassVar[Mapping[tuple[Any, ...], Variant]]
    programs: ClassVar[dict[Any, Program]]
    count: ClassVar[int]
    counts: ClassVar[bool]  # it computes with whole numbers, which Python does at once
    revive: ClassVar[Callable[..., Any]]  # a stage from its text, which edsl.language.rules.texts gives

    _nested: tuple[Any, ...]  # the stages within
    _numbers: tuple[tuple[tuple[str, str], ...], ...]  # of each its live numbers: their names there, and here
    _program: Program
    _spared: bool

    def _prepare(self) -> None:
        self._equip(spared=False)
        if self.counts:
            _check_numbers(self)

    def _equip(self, spared: bool, known: Mapping[str, Any] | None = None) -> None:
        """Build the stages within, and find the code."""
        nested = tuple(self._built(call, spared, known or {}) for call in self.variant.calls)
        _check_together(self.name, nested)
        numbers = tuple(
            tuple((name, f"{call.label}__{name}") for name in (*stage.live_fields(), *stage.hidden_fields()))
            for call, stage in zip(self.variant.calls, nested)
        )
        _hold(self, nested, numbers, self._code(nested), spared)
        self.__dict__["_settled"] = True  # its betas are in its own author's order

    def _built(self, call: Call, spared: bool, known: Mapping[str, Any]) -> Any:
        if call.label in known:
            return known[call.label]
        try:
            stage = call.built(lambda name: bare_number(getattr(self, name)))
        except EdslError as reason:
            names = sorted(call.names)
            message = getattr(reason, "message", str(reason))
            raise FieldError(f"{self.name}: {message}", names[0] if names else "") from None
        return stage.without_decay() if spared else stage

    def _code(self, nested: tuple[Any, ...]) -> Program:
        key = (self.variant.path.choice, tuple(map(_form, nested)))
        if key not in self.programs:
            self.programs[key] = self._new_code(nested)
        return self.programs[key]

    def _new_code(self, nested: tuple[Any, ...], is_written: bool = False) -> Program:
        variant = self.variant
        within = [_nested(call.label, stage) for call, stage in zip(variant.calls, nested)]
        return program(variant.path, variant.shapes, self.rule, self.domains, within, self.source, is_written)

    @property
    def variant(self) -> Variant:
        """The rule for the values that its switches have."""
        return self.variants[tuple(getattr(self, name) for name in self.asked)]

    def init(self, zero: Value) -> Any:
        within = [entry for stage in self._nested for entry in stage.init(zero)]
        return self._program.memory(*([zero] * len(self.variant.path.buffers)), *within)

    def step(self, x: Value, memory: Any, at: At) -> tuple[Value, Any]:
        return self._program.step(self, x, memory, at)

    def written(self, x: Value, memory: Any, at: Any) -> tuple[Value, Any]:
        """A step that tells `at.note` what the rule calls each value on the way."""
        return self._new_code(self._nested, is_written=True).step(self, x, memory, at)

    @property
    def evaluation_buffer(self) -> str:
        return self.variant.path.weights

    @property
    def refresh_every(self) -> int:
        return math.gcd(*(stage.refresh_every for stage in self._nested))

    def is_due(self, k: int) -> bool:
        return any(stage.refresh_every > 0 and stage.is_due(k) for stage in self._nested)

    @property
    def rhythm(self) -> str:
        return " and ".join(dict.fromkeys(stage.rhythm for stage in self._nested if stage.refresh_every))

    @property
    def begins_apart(self) -> bool:
        return any(stage.begins_apart for stage in self._nested)

    @property
    def staggers(self) -> bool:
        return any(stage.staggers for stage in self._nested)

    @property
    def cut(self) -> tuple[Any, int]:
        return next((stage.cut for stage in self._nested if stage.is_matrix), super().cut)

    def begin(self, x: Value, memory: Any, at: At) -> Any:
        return self._refreshed(x, memory, at, begins=True)

    def refresh(self, x: Value, memory: Any, at: At) -> Any:
        return self._refreshed(x, memory, at, begins=False)

    def _refreshed(self, x: Value, memory: Any, at: At, begins: bool) -> Any:
        all_due = begins or len({stage.rhythm for stage in self._nested} - {""}) < 2
        due = [all_due or (stage.refresh_every > 0 and _is_due(at.k, stage)) for stage in self._nested]
        assert self._program.refresh is not None  # it is asked of those with a period
        return self._program.refresh(self, x, memory, at, due, begins)

    def buffer_shapes(self, rows: int, columns: int) -> dict[str, tuple[int, ...]]:
        found = self.variant.buffer_shapes(rows, columns)
        for call, stage in zip(self.variant.calls, self._nested):
            found |= {f"{call.label}__{name}": shape for name, shape in stage.buffer_shapes(rows, columns).items()}
        return found

    def structures(self) -> dict[str, str]:
        calls = zip(self.variant.calls, self._nested)
        return {f"{call.label}__{name}": own for call, stage in calls for name, own in stage.structures().items()}

    def scalars(self) -> tuple[str, ...]:
        calls = zip(self.variant.calls, self._nested)
        return (*self.variant.scalars, *(f"{call.label}__{name}" for call, stage in calls for name in stage.scalars()))

    def draws(self, label: str) -> tuple[tuple[Any, str], ...]:
        own = ((self, label),) if "normal" in self.variant.path.words else ()
        calls = zip(self.variant.calls, self._nested)
        return (*own, *(draw for call, stage in calls for draw in stage.draws(f"{label}.{call.label}")))

    def probes(self, label: str) -> tuple[tuple[Any, str], ...]:
        calls = zip(self.variant.calls, self._nested)
        return tuple(draw for call, stage in calls for draw in stage.probes(f"{label}.{call.label}"))

    @property
    def needs_hessian(self) -> bool:
        own = bool({"hessian", "fresh", "looks"} & self.variant.path.words)
        return own or any(stage.needs_hessian for stage in self._nested)

    @property
    def reads_difference(self) -> bool:
        return "difference" in self.variant.path.words

    @property
    def constant(self) -> tuple[str, ...]:
        found: dict[str, None] = {}
        for call, stage in zip(self.variant.calls, self._nested):
            for name in stage.constant:
                if name in call.arguments:
                    nodes = walk(call.arguments[name])
                    found |= dict.fromkeys(one.name for one in nodes if isinstance(one, Name))
        return tuple(name for name in found if isinstance(self.domains[name], Number))

    def hidden_fields(self) -> tuple[str, ...]:
        return tuple(here for numbers in self._numbers for _, here in numbers)

    def hidden_constants(self) -> tuple[str, ...]:
        found = []
        for call, stage, numbers in zip(self.variant.calls, self._nested, self._numbers):
            within = stage.hidden_constants()
            for name, here in numbers:
                given = [one for one in walk(call.arguments.get(name, Literal(0.0))) if isinstance(one, Name)]
                if name in within if "__" in name else not given:
                    found.append(here)
        return tuple(found)

    def domain_of(self, field: str) -> Any:
        label, _, within = field.partition("__")
        if not within:
            return super().domain_of(field)
        stages = {call.label: stage for call, stage in zip(self.variant.calls, self._nested)}
        return stages[label].domain_of(within)

    def bind(self, values: dict[str, Value]) -> Any:
        bound = super().bind(values)
        nested = []
        for place, stage in enumerate(self._nested):
            given = {name: values[here] for name, here in self._numbers[place] if here in values}
            if len(given) < len(self._numbers[place]):
                given = self._derived(place, bound) | given
            nested.append(stage.bind(given))
        _hold(bound, tuple(nested), self._numbers, self._program, self._spared)
        return bound

    def _derived(self, place: int, bound: Any) -> dict[str, Any]:
        """The numbers of a stage within that follow from the rule's own, which are letters perhaps."""
        call, stage = self.variant.calls[place], self._nested[place]
        spared = stage.spared_values() if self._spared else {}
        return {
            name: evaluated(call.arguments[name], lambda name: getattr(bound, name))
            for name, _ in self._numbers[place]
            if name in call.arguments and name not in spared
        }

    def replace(self, values: dict[str, Any]) -> Any:
        made: Any = super().replace(values)
        return made.without_decay() if self._spared else made

    def revalued(self, values: dict[str, Any]) -> Any:
        if not self._nested:  # all that it holds beside its fields follows from its switches, which are no numbers
            changed = object.__new__(type(self))
            read = {name: self._read(self.__dataclass_fields__[name], value) for name, value in values.items()}
            changed.__dict__.update(self.__dict__)
            changed.__dict__.update(read)
            return changed
        made = super().revalued(values)
        calls = zip(self.variant.calls, self._nested)
        made._equip(self._spared, {call.label: stage for call, stage in calls if not call.names & values.keys()})
        return made

    def without_decay(self) -> Any:
        made: Any = super().without_decay()
        made = dataclasses.replace(made) if made is self else made
        made._equip(spared=True)
        return made

    def structure(self) -> tuple[Any, ...]:
        within = [
            (call.label, stage.live_fields(), stage.structure())
            for call, stage in zip(self.variant.calls, self._nested)
        ]
        return (*super().structure(), ("rule", sha256(self.text.encode()).hexdigest()), *within)

    @classmethod
    def field_names(cls) -> tuple[str, ...]:
        """The names of its hyper-parameters, in order."""
        return tuple(cls.domains)

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and self._values() == other._values()  # pyright: ignore[reportAttributeAccessIssue]

    def __hash__(self) -> int:
        return hash((type(self), self._values()))

    def _values(self) -> tuple[Any, ...]:
        return (*(getattr(self, name) for name in self.argument_names()), *self._nested)

    def __reduce__(self) -> Any:
        values = {name: getattr(self, name) for name in self.argument_names()}
        return RuleStage.revive, (self.text, self.name, values, self._spared)


def _check_numbers(stage: RuleStage) -> None:
    """Take a step on values that know nothing: raises FieldError where whole numbers make what is none."""
    live = dict.fromkeys((*stage.live_fields(), *stage.hidden_fields()), ReductionDepth(0))
    memory = stage.init(ReductionDepth(0))
    try:
        stage.bind(live).step(ReductionDepth(0), memory, AnalysisContext())
    except ArithmeticError:
        whole = [name for name, domain in stage.domains.items() if isinstance(domain, Whole)]
        raise FieldError(f"{stage.name}: {' and '.join(whole)} make what is no finite number", whole[0]) from None


def _check_together(name: str, nested: tuple[Any, ...]) -> None:
    """Raises FieldError for stages within a rule that are good one by one and not together."""
    if len({stage.cut for stage in nested if stage.is_matrix}) > 1:
        raise FieldError(f"{name}: its stages cut parameters differently: give them one split and heads", "")
    if len({stage.rhythm for stage in nested} - {""}) > 1 and any(stage.staggers for stage in nested):
        raise FieldError(f"{name}: stages that refresh at different periods can't be staggered", "")


def _nested(label: str, stage: Stage) -> Nested:
    """What the code of a rule depends on of a stage that it runs."""
    return Nested(
        label,
        type(stage.init(0.0)),
        sets_rate=isinstance(stage, RuleStage),
        reads_rate=isinstance(stage, (Wrapper, RuleStage)),
        refreshes=stage.refresh_every > 0,
        bounds=stage.needs_total_norm,
        draws=len(stage.draws("")),
        probes=len(stage.probes("")),
    )


def _form(stage: Stage) -> tuple[Any, ...]:
    """What the code of a rule depends on of a stage within, beside its class."""
    return type(stage.init(0.0)), stage.needs_total_norm, len(stage.draws("")), len(stage.probes(""))


def _hold(stage: Any, nested: tuple[Any, ...], numbers: Any, code: Program, spared: bool) -> None:
    """Give a stage what it holds beside its fields; a function on its own, which torch.compile follows."""
    object.__setattr__(stage, "_nested", nested)
    object.__setattr__(stage, "_numbers", numbers)
    object.__setattr__(stage, "_program", code)
    object.__setattr__(stage, "_spared", spared)
    for one, names in zip(nested, numbers):
        for name, here in names:
            object.__setattr__(stage, here, getattr(one, name))


def _is_due(k: Any, stage: Stage) -> bool:
    try:
        return stage.is_due(int(k))
    except TypeError:  # on paper every stage is shown that is ever refreshed
        return True


class RuleAdaptor(RuleStage, Adaptor):
    """A rule that maps u to another u."""


class RuleUpdate(RuleStage, BaseUpdate):
    """A rule that maps u to Δθ."""


class RuleWrapper(RuleStage, Wrapper):
    """A rule that maps Δθ to another Δθ."""


KINDS = {"adaptor": RuleAdaptor, "update": RuleUpdate, "wrapper": RuleWrapper}
