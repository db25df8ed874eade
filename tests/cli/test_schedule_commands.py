"""Every command that meets a schedule, or numbers that differ by layer, takes them or says why not in a line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from shell import run

from edsl.costs.memory import memory
from edsl.lab.benchmarks.bench import bench
from edsl.lab.benchmarks.parameter_sets import parameter_set
from edsl.lab.benchmarks.paths import paths_on
from edsl.lab.benchmarks.warm import warm
from edsl.lab.executors.driver import run_to_end
from edsl.lab.landscapes.landscapes import landscape
from edsl.lab.landscapes.walks import walk
from edsl.lab.races.ablation import ablation
from edsl.lab.races.build import open_record, race, race_from
from edsl.lab.races.sweep import sweep
from edsl.lab.report.conclusions import budget
from edsl.lab.verify import verify

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


@pytest.mark.parametrize("spec", [COSINE, POWER, OWN_STEPS, LAYERS])
def test_what_steps_takes_its_steps_for_t(spec: str, shapes: str) -> None:
    named = parameter_set(shapes)
    assert verify(spec, spec, steps=12).parted is None
    assert len(bench([spec], shapes, device="cpu", steps=12, first_steps=False).run(lambda _: None).rows) == 2
    assert sum(map(len, paths_on(spec, named).values())) == 3
    assert warm(spec, named, device="cpu").tensors > 0
    assert memory(spec, named, "float32", None).parameters == 50


def test_steps_of_verify_are_t() -> None:
    assert verify("sgd(lr=linear(0.1))", "sgd(lr=linear(0.1, steps=20))", steps=20).parted is None
    assert verify("sgd(lr=linear(0.1))", "sgd(lr=linear(0.1, steps=20))", steps=10).parted is not None


def test_steps_of_a_walk_are_t() -> None:
    cardioid = landscape("cardioid")
    starts = cardioid.starts(2)
    walks = [
        walk(cardioid, spec, starts, steps=20) for spec in ("sgd(lr=linear(0.1))", "sgd(lr=linear(0.1, steps=20))")
    ]
    assert (walks[0].points == walks[1].points).all()
    line = landscape("f1")
    assert walk(line, POWER, line.starts(2), 5, [0.1, 0.01]).rates is not None


def test_races_follow_schedules_and_carry_them(tmp_path: Path) -> None:
    spec = f"grad | e(alpha=linear(-5, to=0)) | {COSINE}"
    options: dict[str, Any] = {"model": "linear", "steps": 12, "seeds": 1, "lr": "auto", "trials": 2, "tune_seeds": 1}
    chosen = race("digits", [spec, LAYERS], controls=True, **options)
    assert len(chosen.entrants) == 3  # no twin of an alpha on a schedule
    record = open_record(chosen, tmp_path / "a", False)
    run_to_end(chosen, record, lambda _: None)
    tuned = {trial["spec"] for trial in record.finished}
    assert all("cosine(" in one for one in tuned)
    assert len(tuned) > 3
    assert race_from(chosen.configuration()).entrants == chosen.entrants
    assert "what a spec has on a schedule follows that" in budget(chosen)[0]
    swept = sweep(COSINE, ["lr=0.001,0.01"]).entrants
    assert [one.spec.partition(", beta2")[0] for one in swept] == [
        f"grad | adamw(lr=cosine({lr}, warmup=10)" for lr in (0.001, 0.01)
    ]
    assert all("linear(-5, to=0)" in one.spec or "−e" in one.name for one in ablation(spec))


@pytest.mark.slow
@pytest.mark.parametrize("spec", [COSINE, POWER, OWN_STEPS, LAYERS])
def test_commands_that_step_take_schedules(spec: str, shapes: str) -> None:
    found("verify", spec, "--against", spec, "--steps", "20")
    words = ("--params", shapes, "--steps", "12", "--no-first-step", "--device", "cpu", "--json")
    assert len(json.loads(found("bench", spec, *words))["rows"]) == 2
    assert "plans" in json.loads(found("plan", spec, "--params", shapes, "--json"))
    assert "paths" in json.loads(found("show", spec, "--params", shapes, "--json"))
    assert "warmed" in json.loads(found("warm", spec, "--params", shapes, "--device", "cpu", "--json"))
    assert json.loads(found("train", spec, *QUICK, "--json"))["steps"] == 12


@pytest.mark.slow
def test_commands_that_race_and_draw_take_schedules(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    spec = f"grad | e(alpha=linear(-5, to=0)) | {COSINE}"
    found("compare", spec, LAYERS, *RACED, "--out", "a")
    found("report", "a")
    found("sweep", COSINE, "--grid", "lr=0.001,0.01", *RACED, "--out", "b")
    found("ablate", spec, *RACED, "--out", "c")
    found("sharpness", COSINE, OWN_STEPS, *RACED, "--match-loss", "2", "--out", "d")
    words = ("landscape", "cardioid", spec, "--starts", "3", "--steps", "20", "--out", "valley.png", "--json")
    names = [row["name"] for row in json.loads(found(*words))["rows"]]
    assert len(names) == 2  # no twin
    assert "cosine" in names[1]
    found("landscape", "f1", POWER, "--steps", "5", "--out", "line.png")
    own = "grad | e(alpha=linear(-9, to=-1, steps=10), beta1=0.9) | sgd(lr=linear(0.1, to=0.3, steps=10))"
    for command in ("map", "frequency"):
        _, _, err = run(command, own, "--step", "5", "--out", f"{command}.png")
        assert "its value at step 5" in err
        assert (tmp_path / f"{command}.png").exists()


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


def test_theory_takes_the_numbers_of_one_step_and_says_so() -> None:
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
    assert "in a layer of factor 1" in found("explain", "sgd(lr=depth(0.1, by=0.5))")
