"""`edsl fmt`: the canonical text of rules and a pipeline."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edsl.cli.render.page import print_note
from edsl.errors import EdslError
from edsl.language.rules.names import ordered
from edsl.language.rules.syntax.canonical import canonical
from edsl.language.rules.texts import has_rules, read_file, read_text
from edsl.language.spec import read


def format_files(files: Sequence[Path], write: bool) -> None:
    """Print the canonical text of each file, or write it there; @FILE is FILE, as in every other command."""
    for given in files:
        file = Path(str(given).removeprefix("@")) if not given.exists() else given
        held = read_file(file)
        text = formatted(held, str(file))
        if not write:
            print(text)
        elif text + "\n" != held:
            try:
                file.write_text(text + "\n")
            except OSError as reason:
                raise EdslError(f"{file}: {reason.strerror or reason}") from None
            print_note(f"{file}: written anew")


def formatted(text: str, name: str = "") -> str:
    """All rules of a text, and its pipeline, if it has one, as edsl prints them."""
    if not has_rules(text):
        return str(read(text))
    parts = read_text(text, name)
    if not parts.rules and not parts.line:
        raise EdslError(f"{name}: no rule and no pipeline found")
    rules = canonical(ordered([kind.rule for kind in parts.rules.values()]))
    return "\n\n".join(filter(None, [rules, read(text).line if parts.line else ""]))
