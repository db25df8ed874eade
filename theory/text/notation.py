"""The recurrences of a pipeline, written by running its stages on letters.

Each stage's own `step` is run on expressions that remember how they were made, so what is printed
is what is computed, for exactly these switches and with zero terms gone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from edsl.errors import EdslError, shown
from edsl.language.pipeline import Pipeline
from edsl.language.rules.stage import RuleStage
from edsl.language.stage import BaseUpdate, Estimator, Stage, Wrapper
from edsl.theory.text.alphabet import Alphabet
from edsl.theory.text.formula import Formula, letter
from edsl.theory.text.locals import in_order_of_locals
from edsl.theory.text.writer import Writer

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
    bound, later = _bound(stage, named), stage.rhythm
    is_rare = later != "each step"
    later += ", matrix by matrix" if stage.staggers and is_rare else ""
    calls = [("at step 1", bound.begin), (later, bound.refresh)]
    if not stage.begins_apart:
        calls = [(f"at step 1 and {later}" if later.startswith("every") else later, bound.refresh)]
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
