"""Texts: definitions of rules, and one last pipeline.

A text's own definitions come first, then edsl's stages, files that were loaded, plugins, and the zoo. Only a text may
define the name of a stage or a recipe: a record that carries its rules reads the same under any later edsl. A file may
take the name of an entry of the zoo, so that a later zoo breaks nobody's rules.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edsl.errors import EdslError
from edsl.language.registry.lookup import is_stage, registered_names, stage_class, stage_names
from edsl.language.registry.recipes import RECIPES
from edsl.language.registry.zoo import SUFFIX
from edsl.language.rules.classes import Outside, classes_of
from edsl.language.rules.names import loaded_rules
from edsl.language.rules.stage import RuleStage
from edsl.language.rules.syntax.grammar import read_definition
from edsl.language.rules.syntax.source import Source
from edsl.language.rules.syntax.tree import Definition

MOST_RULES = 64


@dataclass(frozen=True)
class Text:
    """A text in its parts.

    Attributes:
        rules: the classes of its definitions, by name.
        line: its pipeline, "" for none; `number` is the line it stands on.
    """

    rules: Mapping[str, type[RuleStage]]
    line: str
    number: int
    source: Source


def has_rules(text: str) -> bool:
    """Whether a text defines rules, beside its pipeline."""
    return any(line.startswith(("@", "def ", "#")) for line in text.splitlines())


def read_text(text: str, name: str = "", outside: Outside | None = None) -> Text:
    """A text with definitions.

    Args:
        name: of the file that holds it, for messages.
        outside: the stages that it does not define; all that are known, unless they are given.

    Raises:
        SpecError: with line and caret.
    """
    source = Source(text.replace("\r\n", "\n").replace("\r", "\n"), name)
    definitions: dict[str, Definition] = {}
    pipeline: ast.stmt | None = None
    for node in source.parsed():
        if pipeline is not None:
            source.refuse("the pipeline is the last line: nothing can follow it", node)
        if isinstance(node, ast.Expr):
            pipeline = node
            continue
        definition = read_definition(node, source)
        if definition.name in definitions:
            source.refuse(f"{definition.name} is defined twice", node)
        definitions[definition.name] = definition
        if len(definitions) > MOST_RULES:
            source.refuse(f"a text has at most {MOST_RULES} rules", node)
    rules = classes_of(definitions, source, outside or OUTSIDE)
    if pipeline is None:
        return Text(rules, "", len(source.lines), source)
    line = "\n".join(source.lines[pipeline.lineno - 1 : pipeline.end_lineno])
    return Text(rules, line, pipeline.lineno, source)


def line_of(text: str) -> str:
    """What a spec is called in a table: itself, or of a text with rules its pipeline, as it is written."""
    if not has_rules(text):
        return " ".join(text.split())
    return " ".join(read_text(text).line.split())


def read_rules(text: str, name: str = "") -> Mapping[str, type[RuleStage]]:
    """The rules of a text, whatever pipeline it ends with."""
    return read_text(text, name).rules


def load_rules(path: Any) -> tuple[str, ...]:
    """Take up the rules of a file, or of each file NAME.edsl in a folder; returns their names.

    From then on a spec may name them. Rules are data: nothing in the file is run.

    Raises:
        EdslError: for a file that can't be read, or a rule under a name that is taken.
    """
    place = Path(path)
    files = sorted(place.glob(f"*{SUFFIX}")) if place.is_dir() else [place]
    if not files:
        raise EdslError(f"rules {place}: the folder holds no file NAME{SUFFIX}")
    names: list[str] = []
    for file in files:
        found = read_rules(read_file(file), str(file))
        if not found:
            raise EdslError(f"rules {file}: no rule found; define one by @update def name(u, *, lr=0.001): …")
        for name, kind in found.items():
            before = loaded_rules().get(name)
            if is_known(name) if before is None else before is not kind:
                raise EdslError(f"rules {file}: the name {name!r} is taken; give the rule another")
        loaded_rules().update(found)
        names += found
    return tuple(names)


def read_file(path: Any) -> str:
    """What a file of rules, or of a spec, holds; raises EdslError when it can't be read."""
    file = Path(path)
    try:
        if not file.exists():
            raise EdslError(f"{file}: no such file")
        if not file.is_file():
            raise EdslError(f"{file}: expected a regular file with a spec")
        return file.read_bytes().decode()
    except OSError as reason:
        raise EdslError(f"{file}: {reason.strerror or reason}") from None
    except EdslError:
        raise
    except ValueError:  # no UTF-8, or no name of a file
        raise EdslError(f"{file}: expected text in UTF-8") from None


def is_known(name: str) -> bool:
    """Whether edsl or a plugin has a stage or a recipe of this name; the zoo's names are free for files to take."""
    return name in registered_names() or name in RECIPES


def revived(text: str, name: str, values: dict[str, Any], spared: bool) -> Any:
    """A stage from the text that defines it, as copies and other processes make it."""
    stage = read_rules(text)[name](**values)
    return stage.without_decay() if spared else stage


def _find(name: str) -> Any:
    return stage_class(name) if is_stage(name) else None


OUTSIDE = Outside(_find, stage_names)
RuleStage.revive = staticmethod(revived)
