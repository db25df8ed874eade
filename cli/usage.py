"""What is wrong with the words of a command line, said as edsl says it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from edsl.errors import either, shown

_UNKNOWN = re.compile(r"No such (option:|command) (?P<name>.+?)[.]?(?: \(Possible options: (?P<options>.+)\))?", re.S)
_SUGGESTED = re.compile(r"[.] Did you mean (?P<names>.+)\?", re.S)
_EXTRA = re.compile(r"Got unexpected extra argument\(s\) \((?P<words>.+)\)", re.S)
_NUMBERS = {"integer": "a whole number", "float": "a number", "number": "a number"}  # typer's words for what it reads


def usage_message(error: Any) -> str:
    """One sentence: with the word that was meant, or the command whose help says more."""
    said = error.format_message().rstrip(".")
    suggested = _SUGGESTED.search(said)
    if suggested is not None:
        said = f"{said[: suggested.start()]}; did you mean {suggested['names']}?"
    elif extra := _EXTRA.fullmatch(said):
        said = f"unexpected argument {shown(extra['words'])}"
    elif (unknown := _UNKNOWN.fullmatch(said)) and unknown["options"]:
        said = f"No such option: {unknown['name']}; did you mean {either(unknown['options'].split(', '))}?"
    command = error.ctx.command_path if error.ctx is not None else "edsl"
    return said if said.endswith("?") else f"{said}; see `{command} --help`"


def number_message(error: Any, given: Mapping[str, Any]) -> str | None:
    """What a number must be and what was given; None for other errors.

    Args:
        given: the words of the command line, by the name of their parameter.
    """
    kind = next((said for word, said in _NUMBERS.items() if f"valid {word}" in error.format_message()), None)
    option = error.param
    text = given.get(option.name) if option is not None else None
    if kind is None or option is None or not isinstance(text, str):
        return None
    return f"{max(option.opts, key=len)} must be {kind}, got {shown(text)}"
