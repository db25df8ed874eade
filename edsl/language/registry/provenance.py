"""Which stages of somebody else's a checkpoint was made with: where each was written, and the hash of its text.

A pipeline's text names stages, and two files may define different ones of one name. So param groups hold a mark of
each that is not edsl's own, `smooth=my_plugin:Smooth@3f2a9c0d41be`, which a checkpoint keeps.
"""

from __future__ import annotations

import inspect
from hashlib import sha256
from typing import Any

from edsl.errors import EdslError, malformed_checkpoint, shown
from edsl.language.pipeline import Pipeline
from edsl.language.registry.blame import is_authored
from edsl.language.registry.plugins import difference, plugins_of
from edsl.language.rules.names import rules_of
from edsl.language.rules.syntax.canonical import canonical
from edsl.language.stage import Stage

KEY = "stages"  # of the marks in a param group


def marks(pipeline: Pipeline) -> str:
    """The marks of all stages of a pipeline that are not edsl's own; "" where there is none."""
    stages = [stage for stage in pipeline.all_stages if is_authored(type(stage))]
    return "; ".join(sorted({_mark(stage) for stage in stages}))


def compared(saved: Any, own: str) -> list[str]:
    """A line for each stage whose text was another when a checkpoint was saved.

    Raises:
        EdslError: for a stage that is another altogether: written elsewhere, in other words.
    """
    if not isinstance(saved, str):
        raise malformed_checkpoint(f"{KEY} must be a text, got {shown(saved)}")
    there, here = _read(saved), _read(own)
    edited = []
    for name in sorted(there.keys() | here.keys()):
        (place, text), (place_here, text_here) = there.get(name, ("edsl", "")), here.get(name, ("edsl", ""))
        if text == text_here:
            continue
        if place != place_here:
            raise EdslError(
                f"this checkpoint has a different stage {name}: {_said(place, text)} in the checkpoint, "
                f"{_said(place_here, text_here)} here; to load it anyway, delete {KEY!r} from its param groups"
            )
        edited.append(
            f"the stage {name} was edited since this checkpoint was saved (sha256 {text} then, {text_here} now): its "
            "state is taken as it is"
        )
    return edited


def different_rules(before: Pipeline, now: Pipeline) -> list[str]:
    """For each rule of two pipelines that differs, what was and what is, by its lines."""
    ours, theirs = ({one.name: one for one in rules_of(pipeline.stages).values()} for pipeline in (now, before))
    found = []
    for name in sorted(ours.keys() & theirs.keys()):
        if ours[name] != theirs[name]:
            lines = difference(canonical([theirs[name]]), canonical([ours[name]]))
            found.append(f"the rule {name} differs, - there and + here:\n{lines}")
    for name in sorted(ours.keys() ^ theirs.keys()):
        found.append(f"{name} is a rule {'here' if name in ours else 'there'}, and not the other")
    return found


def _mark(stage: Stage) -> str:
    kind = type(stage)
    return f"{stage.name}={kind.__module__}:{kind.__qualname__}@{sha256(_text(stage).encode()).hexdigest()[:12]}"


def _text(stage: Stage) -> str:
    """What the stage does, as it was written: its whole file where it is a plugin, else its class."""
    plugins = plugins_of([stage])
    if plugins:
        return plugins[0].text
    try:
        return inspect.getsource(type(stage))
    except (OSError, TypeError):  # written at a prompt
        codes = [getattr(value, "__code__", None) for value in vars(type(stage)).values()]
        return repr([(code.co_code, code.co_names, [*map(type, code.co_consts)]) for code in codes if code is not None])


def _read(text: str) -> dict[str, tuple[str, str]]:
    """By a stage's name: where it was written, and its hash."""
    found = {}
    for mark in filter(None, text.split("; ")):
        name, _, rest = mark.partition("=")
        place, _, digest = rest.rpartition("@")
        found[name] = (place, digest)
    return found


def _said(place: str, text: str) -> str:
    return f"{place} (sha256 {text})" if text else "edsl's own"
