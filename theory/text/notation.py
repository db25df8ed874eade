"""The recurrences of a pipeline, written by running its stages on letters.

Each stage's own `step` is run on expressions that remember how they were made, so what is printed
is what is computed, for exactly these switches and with zero terms gone.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from edsl.errors import EdslError, shown
from edsl.language.context import Draws, NamedAt
from edsl.language.domain import plain
from edsl.language.pipeline import Pipeline
from edsl.language.rules.stage import RuleStage
from edsl.language.stage import BaseUpdate, Estimator, Stage, Wrapper
from edsl.theory.text.alphabet import Alphabet
from edsl.theory.text.formula import ATOM, POWER, PRODUCT, QUOTIENT, SUM, Formula, is_number, letter
from edsl.theory.text.locals import in_order_of_locals

_SUBSCRIPTS = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")
_INDEX = re.compile("(⁽[⁰¹²³⁴⁵⁶⁷⁸⁹]+⁾)?ₖ")
_LETTERS = {  # memory fields whose letter isn't their name
    "mean": "ḡ",
    "average": "θ̄",
    "slow": "φ",
    "left": "L",
    "right": "R",
    "left_root": "L̃",
    "right_root": "R̃",
    "left_basis": "Q",
    "right_basis": "P",
}


_CONDITIONS = {
    **{sign: f"{{0}} {sign} {{1}}" for sign in "<>≤≥"},
    "equal": "{0} = {1}",
    "either": "{0} or {1}",
    "isfinite": "{0} is finite",
}


class Writer(NamedAt):
    """Where a step happens, on paper: each new quantity gets a line of its own."""

    def __init__(self, alphabet: Alphabet) -> None:
        self.alphabet = alphabet
        self.theta = letter("θₖ₋₁")
        self.k = letter("k")
        self.gradient = letter("gₖ")
        self.total_norm = letter("‖all g‖")
        self.hessian = letter("Dₖ")
        self.looks = letter("j")
        self.rows = letter("rows")
        self.columns = letter("columns")
        self.looks_each_step = True
        self.normals = Draws(self._noise)
        self._noises: dict[int, Formula] = {}
        self.lines: list[str] = []
        self.locals: list[tuple[str, Any]] = []  # what a rule calls the values on its way
        self.named: dict[str, str] = {}  # the name of what a line has defined, by its text

    def _noise(self, number: int) -> Formula:
        if number not in self._noises:
            self._noises[number] = made = letter(f"{self.alphabet.claim('ξ')}ₖ")
            self.lines.append(f"{made.name} ~ N(0, 1) for every element")
        return self._noises[number]

    def fresh(self, x: Any, otherwise: Any) -> Any:
        return x if self.looks_each_step else Formula("fresh", x, otherwise)

    def function(self, name: str, *arguments: Any) -> Any:
        if name in ("blocks", "whole"):
            return arguments[0]  # how a matrix is cut is no part of the recurrence
        return Formula(name, *arguments)

    def debias(self, x: Any, beta: Any, count: Any = None) -> Formula:
        return x if is_number(beta, 0) else Formula("debias", x, beta, self.k if count is None else count)

    def ratio(self, x: Any, y: Any, where: Any = None) -> Formula:
        return Formula("/", x, y)

    def note(self, name: str, value: Any) -> Any:
        """What a rule calls a value, which gets a line of that name."""
        self.locals.append((name, value))
        return value

    def define(self, name: str, value: Any) -> None:
        """A line `name = value`; from here on the value prints as its name."""
        text = self.text(value)
        if text != name:
            self.lines.append(f"{name} = {text}")
        if isinstance(value, Formula) and value.name is None:
            value.name = name
            self.named[text] = name

    def text(self, value: Any) -> str:
        return self._write(value)[0]

    def _write(self, value: Any) -> tuple[str, int]:
        """An expression's text, and how tightly it binds."""
        if not isinstance(value, Formula):
            text = _number(value)
            return text, PRODUCT if text.startswith("−") else ATOM
        if value.name is not None:
            return value.name, POWER if "⁽" in value.name else ATOM
        text, binds = self._compose(value.operation, value.parts)
        return (self.named[text], ATOM) if text in self.named else (text, binds)

    def _compose(self, operation: str, parts: tuple[Any, ...]) -> tuple[str, int]:
        if operation in ("+", "−"):
            left, right = self._in(parts[0], SUM), self._in(parts[1], SUM if operation == "+" else QUOTIENT)
            if right.startswith("−"):
                operation, right = {"+": "−", "−": "+"}[operation], right[1:]
            return f"{left} {operation} {right}", SUM
        if operation == "·":
            if parts[0] is parts[1]:
                return f"{self._in(parts[0], ATOM)}²", POWER
            return self._juxtaposed(*parts), PRODUCT
        if operation == "/":
            return f"{self._in(parts[0], PRODUCT)} / {self._in(parts[1], POWER)}", QUOTIENT
        if operation == "^":
            exponent = self.text(parts[1])
            return f"{self._in(parts[0], ATOM)}{'ᵏ' if exponent == 'k' else f'^({exponent})'}", POWER
        if operation == "neg":
            text = self._in(parts[0], PRODUCT)
            return text[1:] if text.startswith("−") else f"−{text}", PRODUCT
        if operation == "product":
            return self._juxtaposed(*parts), PRODUCT
        if operation in ("<", ">", "≤", "≥"):
            return f"{self.text(parts[0])} {operation} {self.text(parts[1])}", SUM
        if operation == "transpose":
            return f"{self._in(parts[0], ATOM)}ᵀ", ATOM
        return self._function(operation, parts), ATOM

    def _juxtaposed(self, left: Any, right: Any) -> str:
        """A product: side by side, with a dot before a number."""
        first, second = self._in(left, PRODUCT), self._in(right, PRODUCT)
        if second.startswith("−"):
            second = f"({second})"
        return f"{first} · {second}" if second[0].isdigit() else f"{first} {second}"

    def _function(self, operation: str, parts: tuple[Any, ...]) -> str:
        if operation == "sqrt":
            return f"√{self._in(parts[0], ATOM)}"
        if operation == "norm":
            if parts[0].name is None:  # a norm is of something worth a line of its own
                self.define(f"{self.alphabet.claim('r')}ₖ", parts[0])
            return f"‖{self.text(parts[0])}‖"
        if operation == "debias":
            return self._debiased(*parts)
        if operation == "first":
            return f"[{self.text(parts[0])} if k = 1 else {self.text(parts[1])}]"
        if operation == "where":
            return f"[{self.text(parts[1])} if {self.text(parts[0])} else {self.text(parts[2])}]"
        if operation in _CONDITIONS:
            return _CONDITIONS[operation].format(*map(self.text, parts))
        if operation == "every":
            return f"[{self.text(parts[1])} if {parts[0]} divides k else {self.text(parts[2])}]"
        if operation == "finite":
            return f"[{self.text(parts[0])} if finite else 0]"
        if operation == "fresh":
            return f"[{self.text(parts[0])} if Dₖ is new else {self.text(parts[1])}]"
        if operation == "clamp":
            bound = self.text(parts[1])
            return f"clamp({self.text(parts[0])}, −{bound}, {bound})"
        if operation == "abs":
            return f"|{self.text(parts[0])}|"
        if operation == "where":
            return f"[{self.text(parts[1])} if {self.text(parts[0])} else {self.text(parts[2])}]"
        if operation in ("row_mean", "column_mean"):
            return f"{operation.removesuffix('_mean')} mean({self.text(parts[0])})"
        if operation == "positive":
            return f"[{self.text(parts[0])} > 0]"
        if operation == "orthogonal":
            return f"NS{str(parts[1]).translate(_SUBSCRIPTS)}({self.text(parts[0])})"
        if operation == "inverse_power":
            x, exponent, eps = self.text(parts[0]), self._in(parts[1], ATOM), self._in(parts[2], POWER)
            return f"({x} + {eps} λ₁({x}) I)^(−{exponent})"
        if operation == "eigenbasis":
            return " leading ".join([*map(str, parts[1:]), f"eigenvectors({self.text(parts[0])})"])
        if operation == "refined":
            return f"qr({self.text(parts[1])} {self._in(parts[0], PRODUCT)})"
        return f"{operation}({', '.join(self.text(part) for part in parts)})"

    def _debiased(self, x: Any, beta: Any, count: Any) -> str:
        base = f"1 − {self._in(beta, ATOM)}{'ᵏ' if count is self.k else f'^({self.text(count)})'}"
        text = self.text(x)
        if "ₖ" not in text or " " in text:  # nothing that could wear a hat
            return f"({text}) / ({base})"
        hat = _INDEX.sub("\u0302\\g<0>", text, count=1)
        line = f"{hat} = {self._in(x, PRODUCT)} / ({base})"
        if line not in self.lines:
            self.lines.append(line)
        return hat

    def _in(self, value: Any, least: int) -> str:
        text, binds = self._write(value)
        return text if binds >= least else f"({text})"


@dataclass(frozen=True)
class Recurrence:
    """One stage on paper: its label, its lines, and the letters of its hyper-parameters."""

    label: str
    stage: Stage
    lines: tuple[str, ...]
    letters: tuple[tuple[str, str], ...]  # (field, letter)


def recurrences(pipeline: Pipeline) -> list[Recurrence]:
    """What each stage computes at step k, as text.

    Raises:
        EdslError: for another package's optimizer, whose recurrence can't be read.

    Example:
        >>> import edsl
        >>> from edsl.theory.text.notation import recurrences
        >>> for part in recurrences(edsl.parse("grad | e | sgd(lr=0.1)")):
        ...     print(*part.lines, sep="; ")
        gₖ = ∇f(θₖ₋₁)
        ḡₖ = β₁ ḡₖ₋₁ + (1 − β₁) gₖ; uₖ = gₖ + α (1 − β₁) (gₖ − ḡₖ₋₁)
        θₖ = θₖ₋₁ − η uₖ
    """
    alphabet = Alphabet()
    if "" in pipeline.branches:
        return _written(pipeline, alphabet, range(len(pipeline.stages)))
    written: list[Recurrence] = []
    for route, branch in pipeline.branches.items():
        for index, part in enumerate(_written(branch, alphabet, _owners(pipeline, branch, route))):
            if index >= pipeline.update_index:
                written.append(Recurrence(f"{route}: {part.label}", part.stage, part.lines, part.letters))
            elif len(written) == index:  # the stages before the routes, once
                written.append(part)
    return written


def _owners(pipeline: Pipeline, branch: Pipeline, route: str) -> list[Any]:
    """Who owns a branch's letters: stages around the routes are one and the same in every branch."""
    before, behind = pipeline.update_index, len(pipeline.stages) - pipeline.update_index - 1
    count = len(branch.stages)
    return [
        index if index < before else index - count if index >= count - behind else (route, index)
        for index in range(count)
    ]


def _written(pipeline: Pipeline, alphabet: Alphabet, owners: Sequence[Any]) -> list[Recurrence]:
    written: list[Recurrence] = []
    letters = _letters(pipeline, alphabet, owners)
    flow = letter("gₖ")
    lr: Any = letter(letters[pipeline.update_index].get("lr", "η"))
    primes = 0
    for stage, label, named in zip(pipeline.stages, pipeline.labels, letters):
        at = Writer(alphabet)
        at.lr = lr
        at.looks_each_step = pipeline.estimator.looks(2) > pipeline.estimator.looks(1)
        last = stage is pipeline.stages[-1]
        live = tuple((field, named[field]) for field in stage.live_fields() if field in named)
        if isinstance(stage, Estimator):
            at.lines.extend(stage.equations)
        else:
            at.total_norm = letter(f"‖all {flow.name}‖")
            try:
                refreshed = _refreshed(stage, flow, at, named)
                begun = _begun(stage, flow, at, named, {field for field, _, _ in refreshed})
                out, memory = _run(stage, flow, at, named, begun)
                _define_memory(at, memory, refreshed, begun)
            except EdslError as reason:
                written.append(Recurrence(label, stage, (str(reason),), ()))
                continue
            except Exception as reason:  # a plugin's step may do what letters can't, such as to branch on a value
                said = f"{stage.name}: its step can't be written in letters: {shown(str(reason))}"
                written.append(Recurrence(label, stage, (said,), ()))
                continue
            primes = 0 if isinstance(stage, BaseUpdate) else primes
            if last:
                text = at.text(out)
                at.lines.append(f"θₖ = θₖ₋₁ − {text[1:]}" if text.startswith("−") else f"θₖ = θₖ₋₁ + {text}")
            elif out is not flow:
                name = f"{'Δ' if isinstance(stage, (BaseUpdate, Wrapper)) else 'u'}{'′' * primes}ₖ"
                at.define(name, out)
                flow = letter(name)
                primes += 1
            if isinstance(stage, BaseUpdate):
                lr = 0 if getattr(stage, "lr", 1) == 0 else lr
        written.append(Recurrence(label, stage, tuple(at.lines), live))
    return written


def _letters(pipeline: Pipeline, alphabet: Alphabet, owners: Sequence[Any]) -> list[dict[str, str]]:
    """Letters of each stage's hyper-parameters that are not 0, and of its buffers, by field.

    The estimator claims first, whose equations are texts, then the base update, as for names.
    """
    first = (0, pipeline.update_index)
    order = sorted(range(len(pipeline.stages)), key=lambda index: (index not in first, index))
    found = {index: alphabet.claim_all(owners[index], _wanted(pipeline.stages[index])) for index in order}
    return [found[index] for index in range(len(pipeline.stages))]


def _wanted(stage: Stage) -> dict[str, str]:
    """The letters that a stage's author gave its fields and its buffers; a buffer's key ends in ₖ."""
    is_estimator = isinstance(stage, Estimator)
    wanted = {
        field.name: field.metadata["letter"] or field.name
        for field in fields(stage)
        if (is_estimator and field.metadata["letter"])
        or (field.name in stage.live_fields() and getattr(stage, field.name) != 0)
    }
    if not is_estimator:
        kind: Any = type(stage.init(0.0))
        wanted |= {f"{field}ₖ": _buffer_letter(stage, field) for field in kind._fields}
    return wanted


def _buffer_letter(stage: Stage, field: str) -> str:
    """What a buffer is called: by a letter, or as its own rule calls it."""
    name = field.rpartition("__")[2]
    return name if isinstance(stage, RuleStage) and name == field else _LETTERS.get(name, name)


def _begun(stage: Stage, flow: Formula, at: Writer, named: dict[str, str], fresh: set[str]) -> dict[str, str]:
    """The names of the memory as the step finds it, with a dash where it was refreshed and will change once more."""
    kind: Any = type(stage.init(0.0))
    old = kind(*[letter(named[f"{field}ₖ"]) for field in kind._fields])
    lines = [*at.lines]
    _, new = _bound(stage, named).step(flow, old, at)
    at.lines[:] = lines
    ends = {field: "′ₖ" if after is not before else "ₖ" for field, before, after in zip(kind._fields, old, new)}
    return {field: named[f"{field}ₖ"] + (end if field in fresh else "ₖ₋₁") for field, end in ends.items()}


def _run(
    stage: Stage, flow: Formula, at: Writer, named: dict[str, str], begun: dict[str, str]
) -> tuple[Any, list[tuple[str, Any]]]:
    """A step on letters: what flows out, and each new memory entry with its name."""
    kind: Any = type(stage.init(0.0))
    old = kind(*[letter(begun[field]) for field in kind._fields])
    bound = _bound(stage, named)
    out, new = (bound.written if isinstance(stage, RuleStage) else bound.step)(flow, old, at)
    kept = []
    for field, before, entry in zip(kind._fields, old, new):
        if entry is flow and flow.name is not None:  # what came in is remembered: its letter serves, a step older
            before.name = flow.name.replace("ₖ", "ₖ₋₁")
        else:
            kept.append((f"{named[f'{field}ₖ']}ₖ", entry))
    return out, kept


def _refreshed(stage: Stage, flow: Formula, at: Writer, named: dict[str, str]) -> list[tuple[str, Any, str]]:
    """What a stage computes only every few steps: (field, entry, when)."""
    if stage.refresh_every == 0:
        return []
    bound, period = _bound(stage, named), stage.refresh_every
    later = f"every {period} steps" if period > 1 else "each step"
    later += ", matrix by matrix" if stage.staggers and period > 1 else ""
    calls = [("at step 1", bound.begin), (later, bound.refresh)]
    if type(stage).begin is Stage.begin:
        calls = [(f"at step 1 and {later}" if period > 1 else later, bound.refresh)]
    kind: Any = type(stage.init(0.0))
    old = kind(*[letter(f"{named[f'{field}ₖ']}ₖ₋₁") for field in kind._fields])
    return [
        (field, entry, when)
        for when, call in calls
        for field, before, entry in zip(kind._fields, old, call(flow, old, at))
        if entry is not before
    ]


def _bound(stage: Stage, named: dict[str, str]) -> Any:
    """The stage with letters for its live values, and zeros where they are zero."""
    live = stage.live_fields()
    return stage.bind({name: letter(named[name]) if name in named else 0 for name in live})


def _define_memory(
    at: Writer, names: list[tuple[str, Any]], refreshed: list[tuple[str, Any, str]], begun: dict[str, str]
) -> None:
    inner = at.lines
    at.lines = []
    for name, entry in in_order_of_locals(names, at.locals, at.alphabet):
        at.define(name, entry)
    for field, entry, when in refreshed:
        text = at.text(entry)
        at.lines.append(f"{begun[field]} = {text}   ({when})")
    at.lines.extend(inner)


def _number(value: Any) -> str:
    """A number as one writes it: six digits would be too few for 1234567, seventeen too many for 0.1 + 0.2."""
    if not isinstance(value, (int, float)):
        return str(value)
    return plain(float(f"{value:.12g}") + 0.0).replace("-", "−")
