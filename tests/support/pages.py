"""Tables of the documentation, as their readers see them."""

from __future__ import annotations

import re
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"


def table(page: str, *titles: str) -> list[list[str]]:
    """The cells of the rows of the table whose first titles are these, without backticks.

    Args:
        page: a file in docs/.
    """
    lines = iter((DOCS / page).read_text(encoding="utf-8").splitlines())
    for line in lines:
        if line.startswith("|") and _cells(line)[: len(titles)] == [*titles]:
            next(lines)  # the rule below the titles
            rows = []
            for row in lines:
                if not row.startswith("|"):
                    break
                rows.append(_cells(row))
            return rows
    raise AssertionError(f"docs/{page} has no table that begins with {' | '.join(titles)}")


def as_number(text: str) -> float:
    """A number as pages print it: 1,000, −5, .99."""
    return float(text.replace(",", "").replace("−", "-"))


def numbers(text: str) -> list[float]:
    """All numbers of a text, separated by commas and words."""
    return [as_number(found) for found in re.findall(r"[−-]?(?:\d[\d,]*\d|\d)?\.?\d+", text)]


def _cells(line: str) -> list[str]:
    return [cell.strip().replace(r"\|", "|").replace("`", "") for cell in re.split(r"(?<!\\)\|", line.strip())[1:-1]]
