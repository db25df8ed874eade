"""The command that writes cpu.md and matrices.md keeps what it has measured."""

import importlib
import json
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "docs" / "benchmarks"


@pytest.fixture
def writer(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    yield importlib.import_module("write")
    sys.modules.pop("write", None)


def parts_of(writer, ran, cut_off_at=""):
    def measured(name):
        if name == cut_off_at:
            raise KeyboardInterrupt
        ran.append(name)
        return f"## {name}"

    return [writer.Part(name, lambda name=name: measured(name), last=name == "first") for name in ("first", "a", "b")]


def test_a_run_that_is_cut_off_goes_on_with_what_was_measured_on_this_machine(writer, tmp_path, capsys):
    page, ran = writer.Page(tmp_path / "cpu.md", writer.PAGE, ("torch",)), []
    with pytest.raises(KeyboardInterrupt):
        page.write(parts_of(writer, ran, cut_off_at="b"))
    assert page.place.read_text().endswith("## a\n\n## first\n")  # the page is there, of all parts so far
    beside = tmp_path / "cpu.jsonl"
    lines = beside.read_text().splitlines()
    elsewhere = {**json.loads(lines[1]), "asked": "b", "machine": {"Model name": "another"}}
    cut = lines[0][:-5]  # as a full disk leaves it
    beside.write_text("\n".join([*lines, json.dumps(elsewhere), cut]) + "\n")
    page.write(parts_of(writer, ran))
    assert ran == ["first", "a", "b"]
    assert "a: kept in cpu.jsonl" in capsys.readouterr().err
    text = page.place.read_text()
    assert text.endswith("## a\n\n## b\n\n## first\n")
    assert f"| torch | {writer.installed('torch')} |" in text


def test_each_set_and_contest_is_a_part_of_its_own(writer):
    tables = writer.cpu_parts(("mlp", "tiny"), 5)
    assert [part.asked for part in tables[2:]] == ["schedules", "rules"]
    assert tables[1].asked.startswith("edsl bench alto eadamw --params tiny ")
    assert f"\n    {tables[0].asked.replace('--steps 5', '--steps 30')}\n" in (FOLDER / "cpu.md").read_text()
    begun, *contests = writer.matrices_parts(writer.CONTESTS, 20, 20.0, tuple(writer.FIRST_STEPS))
    assert begun.last
    titles = [line[3:] for line in (FOLDER / "matrices.md").read_text().splitlines() if line.startswith("## ")]
    assert [one.asked.rpartition(":")[0] for one in contests] == titles[:-1]


def test_what_is_said_to_be_met_is_met_by_the_targets_of_the_code(writer):
    targets = [target for contest in writer.CONTESTS for target in contest.targets]
    for one, row in zip(targets, rows_of("matrices.md", "| optimizer | beside |"), strict=True):
        ours, theirs, ratio, _, most, said = row
        assert [ours, theirs, most] == [f"`{one.ours}`", f"`{one.theirs}`", f"≤ {one.most:g}"]
        assert said == ("met" if float(ratio) <= one.most else "not met")
    for spec, cold, warm, most, said in rows_of("matrices.md", "| optimizer | cold s |"):
        known = writer.FIRST_STEPS[spec.strip("`")]
        assert most == ("–" if known is None else f"≤ {known[0]:g}, ≤ {known[1]:g}")
        assert known is None or (said == "met") == (float(cold) <= known[0] and float(warm) <= known[1])


def rows_of(page, titles):
    """The cells of all tables of a page whose titles begin so."""
    text = (FOLDER / page).read_text(encoding="utf-8")
    tables = [part.partition("\n\n")[0] for part in text.split(f"\n{titles}")[1:]]
    lines = [line for table in tables for line in table.splitlines()[2:]]
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
