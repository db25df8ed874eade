"""docs/zoo.md has every entry of the zoo, and is what the rules and docs/zoo.json make it."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType

import pytest

import edsl
from edsl.language.registry.zoo import zoo_names

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def writer() -> ModuleType:
    spec = importlib.util.spec_from_file_location("zoo_page", DOCS / "zoo.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_has_a_line_and_a_section_for_every_entry(writer):
    page = writer.PAGE.read_text(encoding="utf-8")
    sections = re.findall(r"^## (\w+)$", page, re.MULTILINE)
    assert sections == list(writer.entries())
    assert {*sections} > {*zoo_names()}
    assert all(f"| [`{name}`](#{name}) |" in page for name in sections)


def test_the_page_is_what_rules_references_and_the_recorded_race_say(writer):
    measured = json.loads(writer.RESULTS.read_text(encoding="utf-8"))
    assert writer.PAGE.read_text(encoding="utf-8") == writer.page(measured), "run: python docs/zoo.py --page"


def test_every_entry_is_raced_by_a_spec_that_names_it(writer):
    for name in writer.entries():
        pipeline = edsl.parse(writer.trained(name))
        assert any(stage.name == name for branch in pipeline.branches.values() for stage in branch.stages)


def test_every_entry_trains_the_digits(writer):
    rows = json.loads(writer.RESULTS.read_text(encoding="utf-8"))["tasks"]["digits"]["rows"]
    assert rows.keys() == {writer.BASELINE, *writer.entries()}
    assert not {name: row for name, row in rows.items() if row["not_well"] or row["accuracy"][0] < 0.85}


def test_what_is_raced_anew_replaces_what_is_known_of_it_alone(writer):
    known = json.loads(writer.RESULTS.read_text(encoding="utf-8"))
    before = {task: dict(one["rows"]) for task, one in known["tasks"].items()}
    new = {"tasks": {task: {"rows": {"nadam": {"lr": 1.0}}} for task in known["tasks"]}}
    after = writer.merged(known, new)["tasks"]
    for task, rows in before.items():
        assert list(after[task]["rows"]) == list(rows)
        assert after[task]["rows"] == {**rows, "nadam": {"lr": 1.0}}


def test_an_entry_that_was_not_raced_yet_has_a_dash_and_its_section(writer):
    measured = json.loads(writer.RESULTS.read_text(encoding="utf-8"))
    for task in measured["tasks"].values():
        del task["rows"]["nadam"]
    page = writer.page(measured)
    assert re.search(r"\| \[`nadam`\]\(#nadam\) \| base update \| 8 \| 28 \| – \| – \|", page)
