"""docs/architecture.md names the rooms, files and classes that there are."""

from __future__ import annotations

import importlib.util
import re
import subprocess
from itertools import pairwise
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "architecture.md").read_text()
DIAGRAM = re.findall(r"```mermaid\n(.*?)```", PAGE, re.DOTALL)[0]


def layers() -> tuple[tuple[str, ...], ...]:
    spec = importlib.util.spec_from_file_location("house", ROOT / "tests" / "test_house.py")
    assert spec is not None
    assert spec.loader is not None
    house = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(house)
    return house.LAYERS


def test_diagram_has_the_rows_that_the_house_is_checked_by():
    rows = {int(number): tuple(names.split(" · ")) for number, names in re.findall(r'r(\d+)\["(.*?)"\]', DIAGRAM)}
    assert [set(rows[number]) for number in sorted(rows)] == [set(names) for names in layers()]


def test_every_arrow_of_the_diagram_points_to_the_next_row_below():
    chains = [
        [int(number) for number in re.findall(r"\br(\d+)", line)] for line in DIAGRAM.splitlines() if "-->" in line
    ]
    arrows = [arrow for chain in chains for arrow in pairwise(chain)]
    assert sorted(arrows) == [(row, row - 1) for row in range(1, len(layers()))]


def test_files_and_rooms_that_it_names_are_there():
    named = set(re.findall(r"`([\w.-]+/[\w./-]*)`", PAGE))
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    known = {*tracked, *(f"{parent}/" for path in tracked for parent in Path(path).parents)}
    assert len(named) > 50
    assert not named - known


def test_classes_that_it_names_are_there():
    classes = set(re.findall(r"`([A-Z]\w+[a-z]\w*)`", PAGE))
    text = "".join(path.read_text() for path in (ROOT / "edsl").rglob("*.py"))
    assert classes
    assert not [name for name in classes if f"class {name}" not in text]
