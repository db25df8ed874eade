"""A claim as Markdown, with its pictures beside it."""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edsl.lab.claims.claim import Claim


def markdown(claim: Claim, pictures: Path, within: Path) -> str:
    """The claim as a section; its pictures are copied to a folder, and named from `within`."""
    pictures.mkdir(parents=True, exist_ok=True)
    lines = [f"## {claim.title}: {claim.verdict}", ""]
    lines += [f"**The paper.** {claim.paper}", "", f"**Here.** {claim.ours}", ""]
    for rows in claim.tables:
        lines += [*_table(rows), ""]
    for number, picture in enumerate(claim.pictures, start=1):
        name = f"{claim.name}-{number}-{picture.stem}{picture.suffix}"
        shutil.copyfile(picture, pictures / name)
        lines += [f"![{claim.title}, {picture.stem}]({(pictures / name).relative_to(within)})", ""]
    lines += [f"*Verdict rule.* {_sentence(claim.rule)}", ""]
    lines += [f"*Limitations.* {claim.caveat}", ""]
    lines += [f"    edsl reproduce {claim.name}", *(f"    {line}" for line in claim.commands.splitlines()), ""]
    return "\n".join(lines)


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}{'' if text.endswith('.') else '.'}"


def _table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    columns = list(dict.fromkeys(column for row in rows for column in row))
    lines = [f"| {' | '.join(columns)} |", f"|{'|'.join('---' for _ in columns)}|"]
    return lines + [f"| {' | '.join(_cell(row.get(column, '')) for column in columns)} |" for row in rows]


def cell_text(value: Any) -> str:
    """A table's value: four digits of a number, an interval as [low, high]."""
    if isinstance(value, (tuple, list)):
        return f"[{', '.join(cell_text(part) for part in value)}]"
    if isinstance(value, float):
        return "–" if math.isnan(value) else f"{value:.4g}"
    return "" if value is None else str(value)


def _cell(value: Any) -> str:
    return cell_text(value).replace("|", "\\|")
