"""`edsl convert`: a checkpoint of torch.optim as edsl's, and back."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from edsl.cli.render.page import print_json, print_text
from edsl.optim.conversion.files import ConvertedFile, convert_file


def convert(source: Path, target: Path, place: str, optimizer: str | None, steps: int, as_json: bool) -> None:
    """Convert a file, and say how to go on with it."""
    found = convert_file(source, target, place, optimizer, steps)
    if as_json:
        print_json(asdict(found))
    else:
        print_text("\n".join(_lines(found)))


def _lines(found: ConvertedFile) -> list[str]:
    groups = f"{found.groups} param group{'s' if found.groups != 1 else ''}"
    where = f", at {found.place}" if found.place else ""
    lines = [
        f"{found.target}: {groups}, state of {found.with_state} of {found.parameters} parameters{where}",
        f"load it into {found.optimizer}",
    ]
    if found.split:
        lines.append(f"build that with these {groups}: what edsl excluded from weight decay is in groups of its own")
    return lines
