"""The zoo and other packages on the command line."""

import json

import pytest
from shell import run

from edsl.language.registry.zoo import zoo_names

FREE = "schedulefree.AdamWScheduleFree(lr=0.01)"


def test_list_zoo_names_every_entry_with_what_it_is_and_its_source():
    code, out, _ = run("list", "--zoo", "--json")
    entries = {entry["entry"]: entry for entry in json.loads(out)["zoo"]}
    assert code == 0
    assert {*entries} == {*zoo_names()}
    assert all(entry["about"].endswith(".") and entry["source"].endswith((".", ")")) for entry in entries.values())
    assert entries["nadam"]["source"].startswith("Dozat, Incorporating Nesterov Momentum into Adam")
    code, out, _ = run("list", "--zoo")
    assert code == 0
    assert all(name in out for name in zoo_names())


def test_list_says_where_the_zoo_and_other_packages_are():
    code, out, _ = run("list")
    assert code == 0
    assert "edsl list --zoo" in out
    assert "pytorch_optimizer" in out


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("nadam", "grad | nadam(lr=0.002"),
        ("grokfast", "grad | grokfast(decay=0.98, amplification=2) | adamw("),
        ("radial_brake", "| radial_brake(outward=0.5, inward=1)"),
    ],
)
def test_show_takes_an_entry_by_its_name_and_says_where_it_is_from(name, line):
    code, out, _ = run("show", name)
    assert code == 0
    assert line in out
    assert f"def {name}(" in out
    assert any(year in out for year in ("2016", "2024", "2026"))


def test_show_says_what_another_packages_optimizer_keeps():
    pytest.importorskip("schedulefree")
    code, out, _ = run("show", FREE, "--json")
    assert code == 0
    stage = json.loads(out)["stages"][-1]
    assert (sorted(stage["buffers"]), stage["bytes_per_parameter"]) == (["exp_avg_sq", "z"], 8)


@pytest.mark.parametrize(
    "words",
    [
        ("explain", FREE),
        ("check-stability", "--spec", FREE),
        ("check-regret", "--spec", FREE),
        ("equivalent", FREE, "adamw"),
        ("map", FREE, "--out", "nothing.png"),
        ("frequency", FREE, "--out", "nothing.png"),
        ("show", FREE, "--params", "tiny"),
    ],
    ids=lambda words: words[0],
)
def test_what_edsl_cannot_know_of_another_packages_optimizer_is_refused_in_one_line(words, tmp_path, monkeypatch):
    pytest.importorskip("schedulefree")
    monkeypatch.chdir(tmp_path)
    code, out, err = run(*words)
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert "schedulefree" in err
    assert not list(tmp_path.iterdir())


def test_a_race_of_several_packages_is_run_resumed_and_reported(tmp_path):
    pytest.importorskip("schedulefree")
    folder = str(tmp_path / "race")
    specs = ("sgd(lr=0.1)", FREE, "grad | e | schedulefree.SGDScheduleFree(lr=1)", "torch_optimizer.Yogi")
    budget = ("--steps", "4", "--seeds", "1", "--jobs", "1", "--no-controls", "--schedule", "cosine")
    code, out, err = run("compare", "digits", *specs, *budget, "--out", folder)
    assert code == 0, err
    assert all(spec in out for spec in specs)
    code, _, err = run("compare", "--resume", "--out", folder, "--seeds", "2", "--jobs", "1")
    assert code == 0, err
    trials = [json.loads(line) for line in (tmp_path / "race" / "trials.jsonl").read_text().splitlines()]
    assert len(trials) == 8
    assert {trial["status"] for trial in trials} <= {"ok", "diverged"}
    code, _, err = run("report", folder)
    assert code == 0, err
    assert FREE in (tmp_path / "race" / "report.html").read_text()
