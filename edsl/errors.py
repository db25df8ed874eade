"""edsl's errors: each says what was given, what was expected and what to do."""

from __future__ import annotations

from collections.abc import Iterable
from unicodedata import category

_WINDOW = 72  # characters of a long spec shown around the caret


class EdslError(ValueError):
    """Bad input from a user. The message is complete; the command line prints it and exits with 2."""


class FieldError(EdslError):
    """A hyper-parameter's value is of the wrong type or outside its domain."""

    def __init__(self, message: str, field: str) -> None:
        super().__init__(message)
        self.message = message
        self.field = field

    def __reduce__(self):
        return FieldError, (self.message, self.field)


class OrderError(EdslError):
    """A chain of stages in an invalid order; `index` is the stage at fault."""

    def __init__(self, message: str, index: int) -> None:
        super().__init__(message)
        self.message = message
        self.index = index

    def __reduce__(self):
        return OrderError, (self.message, self.index)


class SpecError(EdslError):
    """A spec that can't be parsed: the message, the text and a caret under the mistake, unless there is no text."""

    def __init__(self, message: str, text: str, place: int) -> None:
        super().__init__(f"{message}\n{_pointed(text, place)}" if text.strip() else message)
        self.message = message
        self.text = text
        self.place = place

    def __reduce__(self):
        return SpecError, (self.message, self.text, self.place)


class ShapeError(EdslError):
    """A parameter whose shape its update can't take, or for which there is no route."""


class CompilerFailed(EdslError):
    """A compiler that is there could not compile a step; the reason is in its first line."""

    def __init__(self, compiler: str, reason: object) -> None:
        super().__init__(f"{compiler} failed ({brief(reason, 200)})")
        self.compiler, self.reason = compiler, brief(reason, 200)

    def __reduce__(self):
        return CompilerFailed, (self.compiler, self.reason)


class Interrupted(Exception):
    """Ctrl-C during something that can be continued later; the message says how."""


class EdslWarning(UserWarning):
    """Something that runs, but may not do what its author intended."""


def _pointed(text: str, place: int) -> str:
    start = max(0, place - _WINDOW // 2) if len(text) > _WINDOW else 0
    part = text[start : start + _WINDOW]
    before = "…" if start > 0 else ""
    after = "…" if start + _WINDOW < len(text) else ""
    # One column for each character: anything that would move the cursor is replaced.
    line = "".join(" " if c.isspace() else c if c.isprintable() else "�" for c in part)
    return f"    {before}{line}{after}\n    {' ' * (len(before) + place - start)}^"


_LISTED = 40  # names that an error lists where a command does, too


def nearest(name: str, known, what: str, listed_by: str = "") -> str:
    """A sentence that offers the known name closest to a mistyped one, or lists them.

    Args:
        listed_by: the command that lists them; of many names the sentence says it instead.
    """
    from difflib import get_close_matches

    known = list(known)
    close = get_close_matches(name, known, n=1, cutoff=0.6) if len(name) <= 60 else []
    if close:
        return f"did you mean {close[0]!r}?"
    return f"{what}: see `{listed_by}`" if listed_by and len(known) > _LISTED else f"{what}: {', '.join(known)}"


def either(options: Iterable[object]) -> str:
    """What may be chosen, as a sentence lists it: "a, b or c"."""
    *others, last = map(str, options)
    return f"{', '.join(others)} or {last}" if others else last


def parameter_called(name: str | None) -> str:
    """A parameter as an error names it, by its name if it has one."""
    return f"parameter {name}" if name else "a parameter"


def malformed_checkpoint(what: str) -> EdslError:
    """The error about a checkpoint of which something is missing or of the wrong type."""
    return EdslError(f"malformed checkpoint: {what}")


def brief(reason: object, most: int | None = None) -> str:
    """What an error or a compiler says, in one line of at most so many characters; its type where it says nothing."""
    return (str(reason).strip().splitlines() or [type(reason).__name__])[0][:most]


def first_line(reason: BaseException, most: int | None = None) -> str:
    """The type of an error, and what it says in one line of at most so many characters."""
    said = (str(reason).strip().splitlines() or [""])[0][:most]
    return f"{type(reason).__name__}: {said}".removesuffix(": ")


def shown(value: object) -> str:
    """A value as an error quotes it: its repr, cut to one short line."""
    try:
        text = repr(value)
    except Exception:  # a value of the user's own type may raise anything
        text = f"a {type(value).__name__}"
    text = " ".join(line.strip() for line in text.splitlines())  # tensors and modules have several
    return text if len(text) <= 40 else f"{text[:37]}..."


def printable(text: str) -> str:
    """Text for a terminal: characters that would command it, or reorder what it shows, are replaced."""
    return text if text.isprintable() else "".join(map(_harmless, text))


def _harmless(character: str) -> str:
    return "�" if character not in "\n\t" and category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp") else character
