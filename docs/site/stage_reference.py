"""What the site adds to the language's pages and to the API's: stages and names, from their docstrings."""

from __future__ import annotations

import html
import inspect
import re
from collections.abc import Callable, Iterator
from typing import Any

import edsl
from edsl.cli.details import detail
from edsl.errors import EdslError
from edsl.language.registry.lookup import stage_class
from edsl.language.registry.stages import STAGES
from edsl.language.spec import parse
from edsl.theory.text.latex import latex
from edsl.theory.text.notation import recurrences
from github_markdown import aligned, formula

MARK = re.compile(r"<!-- reference: ([\w ]+) -->\n.*?<!-- end -->", re.DOTALL)
NAMES = re.compile(r"^<!-- edsl\.(\w+) -->$", re.MULTILINE)
_RECURRENCE = re.compile(r"^```text\n(.*?)^```\n", re.DOTALL | re.MULTILINE)
_MARKS = str.maketrans({mark: f"&#{ord(mark)};" for mark in "|[]*_"})
_ALONE = {
    "sgd": "sgd(momentum=0.9)",
    "route": "route(matrix=muon, other=adamw)",
    "clip": "grad | clip(norm=1) | sgd",
    "galore": "galore(rank=128)",
}


def with_reference(text: str, page: str) -> str:
    """A page with every stage of the kind that it asks for, and with every name of edsl that it asks for.

    The zoo's recurrences, which `notation` wrote, become formulas.
    """
    if page == "zoo.md":
        text = _RECURRENCE.sub(lambda found: formula(aligned([latex(line) for line in found[1].splitlines()])), text)
    text = MARK.sub(lambda found: "\n".join(of_kind(found[1])), text)
    return NAMES.sub(lambda found: "\n".join(of_name(found[1])), text)


def stages_of(kind: str) -> list[str]:
    """The stages that a page lists: of a kind, and of the updates those of matrices and `route` apart."""
    choose: dict[str, Callable[[str], bool]] = {
        "matrix update": lambda name: stage_class(name).is_matrix,
        "route": lambda name: name == "route",
        "update": lambda name: stage_class(name).kind == "base update" and not stage_class(name).is_matrix,
    }
    chosen = choose.get(kind, lambda name: stage_class(name).kind == kind)
    return [name for name in STAGES if chosen(name) and (name != "route" or kind == "route")]


def of_kind(kind: str) -> Iterator[str]:
    for name in stages_of(kind):
        yield from of_stage(name)


def of_stage(name: str) -> Iterator[str]:
    """A stage: its docstring by mkdocstrings, arguments with defaults and bounds, and what it computes."""
    cls, known = stage_class(name), detail(name)
    yield from (f"### {name}", "", f"::: {place_of(cls)}", "")
    yield from ("    options:", "      show_docstring_parameters: false", "")
    about = _arguments(cls.__doc__ or "")
    rows = [(row["argument"], f"`{row['default']}`", row["values"]) for row in known["arguments"]]
    rows += [(synonym, "", "") for synonym in about if synonym not in {row[0] for row in rows}]  # betas
    if rows:
        yield from ("| argument | default | values | what it is |", "|---|---|---|---|")
        yield from (
            f"| `{name}` | {default} | {_cell(values)} | {_cell(about.get(name, ''))} |"
            for name, default, values in rows
        )
        yield ""
    lines = _lines(name)
    if lines:
        yield from ("At step k:", "", formula(aligned([latex(line) for line in lines])), "")


def of_name(name: str) -> Iterator[str]:
    """A name of edsl: how it is called, and its docstring by mkdocstrings."""
    found = getattr(edsl, name)
    if not (isinstance(found, type) and issubclass(found, (Exception, Warning))):
        yield from ("```python", f"edsl.{name}{_signature(found)}", "```", "")
    yield f"::: {place_of(found)}"


def _signature(found: Any) -> str:
    """Its arguments, one a line where one line is too short; annotations as they are written."""
    parameters = list(inspect.signature(found).parameters.values())
    written, kind = [], None
    for one in parameters:
        if one.kind is one.KEYWORD_ONLY and kind is not one.KEYWORD_ONLY:
            written.append("*")
        kind = one.kind
        written.append(str(one).replace(f": '{one.annotation}'", f": {one.annotation}"))
    line = f"({', '.join(written)})"
    return line if len(line) < 80 else "(\n" + "".join(f"    {one},\n" for one in written) + ")"


def place_of(found: Any) -> str:
    """Where a class or function stands in the repository: some rooms get their names in edsl when it is installed."""
    return re.sub(r"^edsl\.(?=adapters\.|theory\.|cli\.)", "", f"{found.__module__}.{found.__qualname__}")


def _arguments(doc: str) -> dict[str, str]:
    """What a docstring says of each argument."""
    listed = re.search(r"^ *Args:\n(.*?)(?:\n\s*\n|\Z)", doc, re.DOTALL | re.MULTILINE)
    if listed is None:
        return {}
    found = re.findall(r"^ {8}([\w, ]+): (.*(?:\n {9,}.*)*)", listed[1], re.MULTILINE)
    return {name.strip(): " ".join(text.split()) for names, text in found for name in names.split(",")}


def _cell(text: str) -> str:
    r"""Plain text in a table: |, <, [ and * are no marks, but code in backticks stays code."""
    return "".join(
        part if part.startswith("`") else html.escape(part).translate(_MARKS) for part in re.split("(`[^`]*`)", text)
    )


def _lines(name: str) -> tuple[str, ...]:
    """The recurrence of a stage as it is computed, () where it has none of its own."""
    forms = {"estimator": "{} | sgd", "adaptor": "grad | {} | sgd", "wrapper": "sgd | {}"}
    if name == "route":
        return ()
    spec = _ALONE.get(name, forms.get(stage_class(name).kind, "{}").format(name))
    try:
        return next((part.lines for part in recurrences(parse(spec)) if part.stage.name == name), ())
    except EdslError:
        return ()
