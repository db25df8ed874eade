"""Several targets, several batches: steps and seconds stand side by side, judged by seed, family-wise."""

import csv
import json
import math
import os

import numpy as np
import pytest
from shell import run

from edsl.lab.races.build import race, scaled_entrants
from edsl.lab.races.suites import read_batches, suite_by_batch
from edsl.lab.report.scaling import scaling_picture
from edsl.lab.results.result_tables import costs
from edsl.lab.results.results import results
from edsl.lab.results.scaling import batch_tables, findings, notes, records, told_together
from edsl.lab.results.statistics import holm, paired
from edsl.lab.trials.trial import failed
from edsl.language.spec import parse

NAMES = ("sgd(lr=0.1)", "adam(lr=0.01)")


def ended(spec, seed, steps_at, budget=100):
    """A trial that comes to accuracies .2, .4 and .6 at three steps."""
    points = [
        {
            "steps": step,
            "seconds": step / 10,
            "evaluations": step,
            "loss": 1.0,
            "validation_loss": 1.0,
            "accuracy": 0.2 * sum(step >= at for at in steps_at),
        }
        for step in range(0, budget + 1, budget // 20)
    ]
    held = {"status": "ok", "steps": budget, "seconds": budget / 10, "checkpoints": points, "test_accuracy": 0.6}
    return {**failed(spec, seed, "").record(), **held}


def raced(batch, first, second):
    """A race whose optimizers' seeds come to the targets at these steps."""
    chosen = race("digits", scaled_entrants(NAMES, 1.0), batch=batch, seeds=len(first), steps=100)
    specs = [entrant.spec for entrant in chosen.entrants]
    return chosen, [
        ended(spec, seed, steps) for spec, each in zip(specs, (first, second)) for seed, steps in enumerate(each)
    ]


SLOW = [(30, 40, 80), (35, 45, 85), (30, 45, 90), (35, 40, 95)]
FAST = [(10, 20, 40), (10, 25, 45), (15, 20, 40), (10, 20, 200)]


@pytest.fixture
def told():
    """At batch 64 the second is faster, at 256 both are alike."""
    return told_together([raced(64, SLOW, FAST), raced(256, FAST, FAST)], (0.2, 0.4, 0.6))


def test_steps_and_seconds_to_each_target_are_the_trials_own(told):
    (_, first), _ = told
    slow, fast = first.rows
    assert [(one.target, one.steps, one.seconds) for one in slow.targets] == [
        (0.2, 32.5, 3.25),
        (0.4, 42.5, 4.25),
        (0.6, 87.5, 8.75),
    ]
    assert (fast.targets[2].reached, fast.targets[2].steps) == (3, 40)
    assert slow.targets[0].difference is None


def test_differences_are_paired_by_seed_and_family_wise_over_all_batches(told):
    pairs = [([s[k] for s in SLOW], [f[k] for f in FAST]) for k in range(2)]
    own = [paired([b - a for a, b in zip(*pair)], resolution=5.0) for pair in pairs]
    (_, first), (_, second) = told
    found = [one.difference for one in first.rows[1].targets]
    assert found[:2] == own
    assert found[2].method == "signed ranks"  # one never came
    judged = [one.difference.p for _, each in told for row in each.rows for one in row.targets if one.difference]
    assert first.timed == second.timed == len(judged) == 6
    raised = holm(judged)
    said = [one.family_wise for _, each in told for row in each.rows for one in row.targets if one.difference]
    assert said == ["better" if p < 0.05 else "no difference shown" for p in raised]
    assert said[:2] == ["better", "better"]
    assert set(said[3:]) == {"no difference shown"}


def test_a_target_that_nobody_asked_for_is_not_judged():
    chosen, finished = raced(64, SLOW, FAST)
    found = results(chosen, finished)
    assert len(found.targets) == 1
    assert (found.timed, found.rows[1].targets[0].difference) == (0, None)


def test_the_table_that_is_shown_fits_80_columns_and_sentences_say_who_and_how_much(told):
    from edsl.lab.results.result_tables import as_text

    (name, table), _ = batch_tables(told)
    assert name == NAMES[0]
    assert table.titles == ("lr", "to 20 %", "to 40 %", "to 60 %", "accuracy, %")
    assert table.lines[0].cells == ("0.1", "32 (3.2 s)", "42 (4.2 s)", "88 (8.8 s)", "60.0 ± 0.0")
    assert batch_tables(told)[1][1].lines[0].cells[3] == "40 (4 s, 3/4)"
    assert all(len(line) <= 80 for line in as_text(table, 80, "batch").splitlines())
    beside, *scaling = findings(told)
    assert beside.startswith(f"{NAMES[1]} beside {NAMES[0]}: fewer steps to 20 % at batch 64 (-21, 95 % ")
    assert beside.endswith("no difference is shown in 4 cases.")
    assert scaling[0].startswith(f"{NAMES[0]}, from batch 64 to 256: 0.47 times the steps and 0.47 times the seconds")
    assert "1/4 = 0.25 of the steps would be perfect scaling" in scaling[0]
    assert "to 40 %" in scaling[0]  # all trials came there at both


def test_rates_and_budgets_are_told_as_they_were(told):
    assert any("can't be told apart" in line for line in notes(told))
    assert any("times the root of the batch's ratio" in line for line in notes(told, "sqrt"))
    assert any("at batch 256 that is 4 times the examples of 64" in line for line in notes(told))


def test_costs_have_steps_and_seconds_for_each_target(told):
    race_, found = told[0]
    titles = costs(race_, found).titles
    assert titles[:6] == ("steps to\n20 %", "seconds\nto 20 %", "steps to\n40 %", "seconds\nto 40 %", *titles[4:6])
    rows = records(told)
    assert [(row["batch"], row["target"], row["steps"], row["seconds"]) for row in rows[:2]] == [
        (64, 0.2, 32.5, 3.25),
        (64, 0.4, 42.5, 4.25),
    ]


def test_the_picture_has_a_column_for_each_target_steps_above_seconds(told):
    figure = scaling_picture(told)
    assert len(figure.axes) == 6
    line = figure.axes[0].get_lines()[0]
    assert list(line.get_xdata()) == [64, 256]
    assert list(line.get_ydata()) == [32.5, 10]


@pytest.mark.parametrize(("rule", "rates"), [(None, [0.1, 0.1]), ("linear", [0.1, 0.4]), ("sqrt", [0.1, 0.2])])
def test_rates_follow_the_batch_by_the_rule(rule, rates):
    suite = suite_by_batch("digits", read_batches("256, 64"), None, rule)
    specs = [scaled_entrants(NAMES[:1], suite.rate_factor(one))[0] for one in suite.workloads]
    assert [parse(one.spec).update.lr for one in specs] == rates
    assert {one.name for one in specs} == {NAMES[0]}


def test_alike_optimizers_have_a_winner_in_at_most_6_percent_of_simulated_races():
    generator, races, named = np.random.default_rng(0), 1500, 0
    for _ in range(races):
        steps = np.ceil(generator.lognormal(math.log(400), 0.25, (2, 5)) / 50) * 50  # twenty readings
        named += paired((steps[0] - steps[1]).tolist(), resolution=50.0).decides
    assert named / races <= 0.06 + 2.6 * math.sqrt(0.06 * 0.94 / races)


@pytest.mark.slow
def test_batches_are_raced_resumed_extended_and_reported(tmp_path):
    folder = tmp_path / "b"
    words = ("--model", "linear", "--steps", "20", "--no-controls", "--jobs", "1", "--out", str(folder))
    how = ("--batch", "64,256", "--targets", "20%,0.5", "--scale-lr", "sqrt", "--seeds", "3")
    code, out, err = run("compare", *NAMES, "--task", "digits", *how, *words, env={**os.environ, "COLUMNS": "80"})
    assert code == 0, err
    assert out.startswith("digits (linear), batches 64, 256, 3 seeds, cpu, compared to sgd(lr=0.1)\n")
    assert "\nbatch   lr " in out
    assert all(len(line) <= 80 for line in out.splitlines())
    code, out, err = run("compare", "--resume", "--seeds", "4", "--json", "--jobs", "1", "--out", str(folder))
    assert code == 0, err
    held = json.loads(out)
    assert held["targets"] == [0.2, 0.5]
    assert [row["trials"] for row in held["times"]] == [4] * 8
    assert [each["batch"] for each in held["races"]] == [64, 256]
    assert [row["lr"]["lr"] for each in held["races"] for row in each["rows"]] == [0.1, 0.01, 0.2, 0.02]
    code, out, err = run("report", str(folder), "--targets", "30%")
    assert code == 0, err
    page = (folder / "report.html").read_text()
    assert "digits (linear) at 2 batches" in page
    assert page.count("<article>") == 3
    assert (folder / "scaling.png").stat().st_size > 10_000
    with (folder / "times.csv").open() as file:
        assert [row["target"] for row in csv.DictReader(file)] == ["0.3"] * 4


def test_batches_tuned_at_each_are_forecast():
    words = ("--lr", "auto", "--trials", "3", "--tune-seeds", "1", "--seeds", "2", "--model", "linear", "--steps", "2")
    code, out, err = run(
        "compare", "sgd", "--task", "digits", "--batch", "64,128", *words, "--dry-run", "--json", "--jobs", "1"
    )
    assert code == 0, err
    assert [(one["batch"], one["trials"]) for one in json.loads(out)["tasks"]] == [(64, 7), (128, 7)]


BAD = [
    (("--batch", "64,many"), "--batch takes whole numbers of examples, such as 128 or 128,1024,8192, got '64,many'"),
    (("--batch", "64,64"), "--batch 64,64: 64 is given twice"),
    (("--batch", "64,9999"), "batch must be at most the 1257 training examples"),
    (("--batch", "64,128", "--scale-lr", "cubic"), "--scale-lr must be linear, sqrt or tuned, got 'cubic'"),
    (("--scale-lr", "sqrt"), "--scale-lr has no effect without several batches"),
    (("--batch", "64,128", "--scale-lr", "sqrt", "--lr", "auto"), "leave out --lr auto, or give --scale-lr tuned"),
    (("--batch", "64,128", "--targets", "20%,20%"), "20% is given twice"),
    (("--targets", "soon"), "--targets takes values such as 20%,40% or 0.3,0.1, got 'soon'"),
    (("--targets", "20%", "--metric", "loss"), "--targets 20%: a loss is no share"),
    (("--batch", "64,128", "--resume", "--out", "nothing-here"), "nothing-here holds no race to resume"),
]


@pytest.mark.parametrize(("words", "message"), BAD)
def test_wrong_words_about_batches_and_targets_are_one_line(words, message):
    code, out, err = run("compare", "sgd", "--task", "digits", *words)
    assert (code, out) == (2, "")
    assert message in err
    assert len(err.splitlines()) == 1
