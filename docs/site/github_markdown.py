"""Pages as GitHub reads them, made ready for Python-Markdown: links, code without a language, tables, formulas."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES_ELSEWHERE = {  # what lies outside docs/ and is a page of the site, and where
    "README.md": "index.md",
    "CONTRIBUTING.md": "CONTRIBUTING.md",
    "CHANGELOG.md": "CHANGELOG.md",
    "examples/README.md": "examples/README.md",
}
_LINK = re.compile(r"(\]\(|\b(?:src|href|srcset)=\")([^)\s\"#]+)")
_SHELL = re.compile(
    r"(?:\$ )?(?:edsl|make|pip|python3?|torchrun|git|cd|gh|pre-commit|\.ci/run|\.venv/\S+|[A-Z_]+=\S+) ?"
)
_SPEC = re.compile(r"@(?:adaptor|update|wrapper)|[a-z_.A-Z]+(?:\(.*?\))?(?: \| |$)")


def slug(title: str, separator: str = "-") -> str:
    """A heading's anchor, as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", re.sub("<[^>]*>", "", title).strip().lower()).replace(" ", separator)


def place_in_site(path: str) -> str:
    """Where a file of the repository is in the site."""
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    return PAGES_ELSEWHERE.get(path, f"files/{path}")


def source_of(page: str) -> str:
    """The file of the repository that a page of the site is."""
    return next((source for source, place in PAGES_ELSEWHERE.items() if place == page), f"docs/{page}")


def linked_files(text: str, page: str) -> set[str]:
    """Files outside docs/ that a page links to and that are no pages."""
    return {
        path
        for _, link in _LINK.findall(_prose(text))
        if (path := _target(link, page)) and place_in_site(path).startswith("files/")
    }


def for_the_site(text: str, page: str) -> str:
    """A page's Markdown as Python-Markdown wants it, with links to where things are in the site."""

    def link(found: re.Match[str]) -> str:
        path = _target(found[2], page)
        return found[1] + (os.path.relpath(place_in_site(path), Path(page).parent) if path else found[2])

    text = _outside_fences(text, lambda prose: _fenced(_pipes(_LINK.sub(link, prose))))
    text = _fences("mermaid", layers, text)
    return _fences("math", formula, text)


def formula(latex: str) -> str:
    """LaTeX as MathML, on a line of its own.

    Raises:
        ValueError: for a command that stays as it is written.
    """
    from latex2mathml.converter import convert

    mathml = convert(latex.strip().replace("{aligned}", "{align*}"), display="block")
    if left := re.findall(r"\\\w*|<mi>&</mi>", mathml):
        raise ValueError(f"no MathML for {left} in {latex!r}")
    return f'<div class="formula">{mathml}</div>\n'


def aligned(lines: list[str]) -> str:
    """Equations in LaTeX, one below the other, aligned at their first =."""
    rows = [line.replace(" = ", " &= ", 1) if " = " in line else f"& {line}" for line in lines]
    return "\\begin{aligned}" + " \\\\ ".join(rows) + "\\end{aligned}"


def layers(diagram: str) -> str:
    """A Mermaid flowchart of groups of rows one below the other, as HTML: no script draws it."""
    found = ['<div class="layers">']
    for title, group in re.findall(r"subgraph \w+ \[(.*?)\]\n(.*?)\n *end$", diagram, re.DOTALL | re.MULTILINE):
        rows = {int(number): names for number, names in re.findall(r'\br(\d+)\["(.*?)"\]', group)}
        lines = [f"<p>{names}</p>" for _, names in sorted(rows.items(), reverse=True)]
        found += [f"<section><h6>{title}</h6>", *lines, "</section>"]
    return "\n".join([*found, "</div>", ""])


def _fences(language: str, change: Callable[[str], str], text: str) -> str:
    fence = rf"^```{language}\n(.*?)^```$"
    return re.sub(fence, lambda found: change(found[1]), text, flags=re.DOTALL | re.MULTILINE)


def _target(link: str, page: str) -> str:
    """The file of the repository that a link leads to, "" if it leads elsewhere."""
    if re.match(r"[a-z]+:", link):
        return ""
    path = os.path.normpath(Path(source_of(page)).parent / link)
    return path if (ROOT / path).is_file() else ""


def _prose(text: str) -> str:
    return re.sub(r"```.*?```|`[^`\n]*`", "", text, flags=re.DOTALL)


def _outside_fences(text: str, change: Callable[[str], str]) -> str:
    parts = re.split(r"(^```.*?^```$)", text, flags=re.DOTALL | re.MULTILINE)
    return "".join(part if part.startswith("```") else change(part) for part in parts)


def _pipes(text: str) -> str:
    r"""In a table GitHub wants `a \| b` for `a | b` in code; Python-Markdown wants it as it is."""
    return re.sub(r"^\|.*$", lambda row: re.sub(r"`[^`]*`", _unescaped, row[0]), text, flags=re.MULTILINE)


def _unescaped(code: re.Match[str]) -> str:
    return code[0].replace(r"\|", "|")


def _fenced(text: str) -> str:
    """Code that is set in by four spaces, with the language it is in."""
    block = r"(?:^(?: {4}.*)\n(?:\n(?= {4}))*)+"
    return re.sub(rf"(?<=\n\n){block}", _with_language, text, flags=re.MULTILINE)


def _with_language(block: re.Match[str]) -> str:
    before = block.string[: block.start()].rstrip("\n").rpartition("\n")[2]
    if re.match(r" |[-*] |\d+\. ", before):  # it belongs to an item of a list
        return block[0]
    code = "\n".join(line[4:] for line in block[0].rstrip("\n").split("\n"))
    return f"```{language_of(code)}\n{code}\n```\n"


def language_of(code: str) -> str:
    """What Pygments calls the language of a block: a shell's, Python's for specs and rules, or none."""
    first = code.split("\n")[0]
    if _SHELL.match(first):
        return "console" if first.startswith("$ ") else "bash"
    return "python" if _SPEC.match(first) else "text"
