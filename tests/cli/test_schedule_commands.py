"""Every command that meets a schedule, or numbers that differ by layer, takes them or says why not in a line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from shell import run

COSINE = "adamw(lr=cosine(0.001, warmup=10))"
POWER = "sgd(lr=power(0.1, exponent=0.3))"
OWN_STEPS = "sgd(lr=linear(0.1, steps=20))"
LAYERS = "adamw(lr=depth(width(cosine(0.01, warmup=2), base=16), by=0.8))"
QUICK = ("--task", "digits", "--model", "linear", "--steps", "12")
RACED = (*QUICK, "--seeds", "1", "--jobs", "1")


@pytest.fixture
def shapes(tmp_path: Path) -> str:
    file = tmp_path / "own.json"
    file.write_text('{"a.weight": [8, 4], "b.weight": [2, 8], "b.bias": [2]}')
    return str(file)


def found(*words: str, code: int = 0) -> str:
    got, out, err = run(*words)
    assert got == code, f"{out}\n{err}"
    assert "Traceback" not in err
    return out


@pytest.mark.parametrize(
    "spec", [LAYERS, *(pytest.param(spec, marks=pytest.mark.slow) for spec in (COSINE, POWER, OWN_STEPS))]
)
def test_commands_that_step_take_their_steps_for_t(spec: str, shapes: str) -> None:
    found("verify", spec, "--against", spec, "--steps", "20")
    words = ("--params", shapes, "--steps", "12", "--no-first-step", "--device", "cpu", "--json")
    assert len(json.loads(found("bench", spec, *words))["rows"]) == 2
    assert "plans" in json.loads(found("plan", spec, "--params", shapes, "--json"))
    assert "paths" in json.loads(found("show", spec, "--params", shapes, "--json"))
    assert "warmed" in json.loads(found("warm", spec, "--params", shapes, "--device", "cpu", "--json"))
    assert json.loads(found("train", spec, *QUICK, "--json"))["steps"] == 12


def test_steps_of_verify_are_t() -> None:
    spec, other = "sgd(lr=linear(0.1))", "sgd(lr=linear(0.1, steps=20))"
    found("verify", spec, "--against", other, "--steps", "20")
    found("verify", spec, "--against", other, "--steps", "10", code=1)


def test_landscapes_walk_schedules(tmp_path: Path) -> None:
    out = str(tmp_path / "valley.png")
    words = ("cardioid", "grad | e(alpha=linear(-5, to=0)) | " + COSINE, "--starts", "3", "--steps", "20", "--json")
    names = [row["name"] for row in json.loads(found("landscape", *words, "--out", out))["rows"]]
    assert len(names) == 2  # no twin of an alpha on a schedule
    assert "cosine" in names[1]


def test_races_follow_schedules_and_carry_them(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    spec = "grad | e(alpha=linear(-5, to=0)) | " + COSINE
    found("compare", spec, LAYERS, *RACED, "--lr", "auto", "--trials", "2", "--tune-seeds", "1", "--out", "a")
    configuration = json.loads((tmp_path / "a" / "race.json").read_text())
    assert len(configuration["entrants"]) == 3  # no twin
    tuned = [json.loads(line)["spec"] for line in (tmp_path / "a" / "trials.jsonl").read_text().splitlines()]
    assert all("cosine(" in one for one in tuned)
    assert len({*tuned}) > 3
    found("report", "a")
    assert "what a spec has on a schedule follows that" in (tmp_path / "a" / "report.html").read_text()
    found("sweep", COSINE, "--grid", "lr=0.001,0.01", *RACED, "--out", "b")
    entrants = json.loads((tmp_path / "b" / "race.json").read_text())["entrants"]
    assert [one["spec"].partition("beta2")[0] for one in entrants] == [
        f"grad | adamw(lr=cosine({lr}, warmup=10), " for lr in (0.001, 0.01)
    ]


@pytest.mark.slow
def test_ablations_sharpness_and_lines_follow_schedules(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    found("ablate", f"grad | e(alpha=linear(-5, to=0)) | {COSINE}", *RACED, "--out", "c")
    found("landscape", "f1", POWER, "--steps", "5", "--out", "line.png")
    found("sharpness", COSINE, OWN_STEPS, *RACED, "--match-loss", "2", "--out", "d")


REFUSED = [
    (("compare", COSINE, *QUICK, "--schedule", "cosine"), "has its own lr=cosine(0.001, warmup=10)"),
    (("compare", COSINE, "--task", "digits", "--seconds", "1"), "lr=cosine(0.001, warmup=10) needs the number of"),
    (("verify", COSINE, "--against", "sgd", "--steps", "5"), "): its warmup is longer than 5 steps; give more"),
    (("bench", COSINE, "--params", "tiny", "--steps", "5"), "its warmup is longer than 5 steps; give more steps"),
    (("equivalent", "sgd", POWER), "edsl equivalent is about constant hyper-parameters"),
    (("equivalent", "sgd", "sgd(lr=depth(0.1, by=0.5))"), "has one value for all layers, got lr=depth(0.1, by=0.5)"),
    (("check-regret", "--spec", "alto(lr=cosine(0.1))"), "nothing is claimed beyond T"),
    (("check-regret", "--spec", "alto(lr=depth(0.1, by=0.5))"), "Theorem 2 has one value for all layers"),
    (("explain", COSINE, "--step", "3"), "lr=cosine(0.001, warmup=10) needs the number of steps"),
    (("explain", OWN_STEPS, "--step", "0"), "--step must be at least 1, got 0"),
    (("landscape", "cardioid", "sgd(lr=depth(1, by=0.5))", "--out", "x.png"), "needs names"),
]  # fmt: skip


@pytest.mark.parametrize(("words", "said"), REFUSED)
def test_what_schedules_and_layers_do_not_go_with_is_refused_in_one_line(words: Any, said: str) -> None:
    code, out, err = run(*words)
    assert (code, out) == (2, "")
    assert said in err
    assert len([line for line in err.splitlines() if line.startswith("edsl:")]) == 1
    assert "Traceback" not in err


def test_theory_takes_the_numbers_of_one_step_and_says_so(tmp_path: Path) -> None:
    spec = "grad | e(alpha=linear(-9, to=-1, steps=10), beta1=0.9) | sgd(lr=linear(0.1, to=0.3, steps=10))"
    explained = json.loads(found("explain", spec, "--json"))
    assert "alpha=-9" in explained["spec"]
    assert "lr=0.3" in explained["spec"]
    assert explained["taken"][0] == "lr=linear(0.1, to=0.3, steps=10): 0.3 is taken, its largest value"
    explained = json.loads(found("explain", spec, "--step", "5", "--json"))
    assert "alpha=-5" in explained["spec"]
    assert "0.2 is taken, its value at step 5" in explained["taken"][0]
    report = json.loads(found("check-stability", "--spec", spec, "--step", "10", "--curvature", "0:1", "--json"))
    assert "its value at step 10" in report["notes"][0]
    for command in ("map", "frequency"):
        out = tmp_path / f"{command}.png"
        _, _, err = run(command, spec, "--step", "5", "--out", str(out))
        assert "its value at step 5" in err
        assert out.exists()
    assert "in a layer of factor 1" in found("explain", "sgd(lr=depth(0.1, by=0.5))")
