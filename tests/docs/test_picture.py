"""The picture of README.md: its command draws it, and what README counts is what the pages say."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_command_draws_walks_and_a_race(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(DOCS))
    monkeypatch.delitem(sys.modules, "picture", raising=False)
    picture = importlib.import_module("picture")
    small = {"steps": 4, "batch": 64, "lr": "default", "out": tmp_path / "race", "resume": False, "more": {}}
    measured = picture.measure(starts=2, steps=20, seeds=3, changes=small)
    for name, theme in picture.THEMES.items():
        picture.draw(measured, theme, tmp_path / f"{name}.png")
        with Image.open(tmp_path / f"{name}.png") as image:
            assert image.width == 1600
            assert len(image.convert("RGB").getcolors(1 << 20)) > 20


def test_the_pictures_are_small_and_twice_as_wide_as_they_are_shown():
    for path in re.findall(r'(?:src|srcset)="(docs/[^"]+)"', README):
        assert (ROOT / path).stat().st_size <= 300_000
        with Image.open(ROOT / path) as image:
            assert image.width == 1600


def test_readme_counts_the_verdicts_of_the_reproduction():
    page = (DOCS / "reproduction.md").read_text(encoding="utf-8")
    verdicts = re.findall(r"^\| \[[^\n]*\]\(#\S+\) \| ([\w ]+) \|$", page, re.MULTILINE)
    assert f"Of {len(verdicts)} of its claims" in README
    for verdict in ("reproduced", "partly", "not seen"):
        said = re.search(rf"- \*\*{verdict.capitalize()}, (\d+):\*\*(.*?)(?=\n- |\n\n)", README, re.DOTALL)
        assert said is not None
        assert int(said[1]) == verdicts.count(verdict) == said[2].count("](docs/reproduction.md#")
