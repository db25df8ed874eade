"""Sharpness at matched loss, and the edge of stability where theory puts it."""

import json
import math
import re
from importlib import util

import pytest
from shell import run

import edsl
from edsl.lab.claims.edge_of_stability import plateau, plateaus, spec_at, stable_sharpness
from edsl.lab.executors.driver import run_to_end
from edsl.lab.races.build import open_record, race
from edsl.lab.report.matched_loss import picture
from edsl.lab.results.matched_loss import Seen, matched, seen_in
from edsl.lab.trials.levels import END, read_levels
from edsl.theory.stability.report import check_pipeline

pytestmark = [
    pytest.mark.skipif(util.find_spec("curvlinops") is None, reason="curvlinops is not installed"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning"),
]
SPECS = ("adam(lr=0.003)", "eadam(lr=0.003, alpha=-50)")


@pytest.mark.parametrize(("alpha", "expected"), [(-50, 8.0404), (0, 4.0), (50, 2.6622)])
def test_theorys_stable_sharpness_is_that_of_the_tables(alpha, expected):
    assert stable_sharpness(alpha) == pytest.approx(expected, abs=1e-3)
    assert check_pipeline(edsl.parse(spec_at(alpha))) is not None


@pytest.mark.slow
def test_sharpness_levels_off_within_15_percent_of_theory_ordered_by_alpha():
    found = plateaus((-50.0, 0.0, 50.0), 3600)
    assert all(one.error < 0.15 for one in found)
    assert found[0].level > found[1].level > found[2].level


def test_plain_gradient_descent_comes_to_2_over_lr():
    found = plateau(spec_at(0.0), stable_sharpness(0.0), 1200)
    assert found.theory == 4
    assert found.error < 0.15
    assert found.curve[0][1] > 0


def looks(folder, steps, levels):
    """The looks at one run of Adam, and its trial."""
    chosen = race("digits", SPECS[:1], batch=512, steps=steps, seeds=1, levels=levels)
    record = open_record(chosen, folder, False)
    run_to_end(chosen, record, lambda _: None)
    return chosen, seen_in(chosen, record.finished), record.finished[0]


def test_every_run_is_looked_at_when_its_loss_first_falls_to_a_level(tmp_path):
    _, found, trial = looks(tmp_path, 60, (1.0, 0.3))
    assert [look.level for look in found] == [1.0, 0.3, END]
    assert all(look.loss <= look.level for look in found[:2])
    assert found[0].step < found[1].step < found[2].step == 60
    assert found[0].drift < found[1].drift < found[2].drift
    assert found[2].loss == trial["train_loss"]


def test_looking_changes_no_bit_of_a_run(tmp_path):
    _, _, looked = looks(tmp_path / "looked", 40, (1.0, 0.5))
    _, none, alone = looks(tmp_path / "alone", 40, ())
    assert none == []
    for key in ("curve", "train_loss", "test_loss", "test_accuracy"):
        assert looked[key] == alone[key]


def test_ratios_are_paired_by_seed_to_the_first_spec():
    chosen = race("digits", SPECS, steps=2, seeds=3)
    first = [Seen(0.5, 10, 0.5, 2.0 + seed, 1.0, SPECS[0], seed) for seed in range(3)]
    factors = (1.18, 1.2, 1.22)
    second = [Seen(0.5, 9, 0.5, (2.0 + s) * factors[s], 1.5 + s, SPECS[1], s) for s in range(3)]
    one, two = matched(chosen, [*first, *second])
    assert one.sharpness_ratio is None
    assert two.sharpness_ratio is not None
    assert two.sharpness_ratio.mean == pytest.approx(math.prod(factors) ** (1 / 3))
    assert two.sharpness_ratio.low > 1
    assert two.drift_difference is not None
    assert two.drift_difference.mean == pytest.approx(1.5)


def test_a_level_that_nobody_reaches_is_not_in_the_way(tmp_path):
    chosen, found, _ = looks(tmp_path, 5, (1e-9,))
    rows = matched(chosen, found)
    assert [(row.level, row.reached) for row in rows] == [(END, 1)]


def test_runs_that_end_badly_are_at_no_end_and_levels_of_nobody_are_named(tmp_path):
    words = (
        "sharpness",
        "sgd(lr=0.1)",
        "sgd(lr=5000)",
        "--task",
        "digits",
        "--batch",
        "512",
        "--steps",
        "20",
        "--jobs",
        "1",
    )
    code, out, err = run(*words, "--seeds", "2", "--match-loss", "0.001", "--out", str(tmp_path / "sharp"))
    assert code == 0, err
    assert re.search(r"sgd\(lr=0\.1\) +2 of 2 +20 ", out)
    assert re.search(r"sgd\(lr=5000\) +0 of 2 +never ", out)
    assert "No run reached a training loss of 0.001" in out
    assert "seed 1: the training loss went from" in err
    assert "no picture: no run reached a level" in err
    code, _, err = run("report", str(tmp_path / "sharp"))
    assert (code, "sharpness.png" in err) == (0, False)


@pytest.mark.parametrize("text", ["", "a", "0", "-1", "1,nan", "inf"])
def test_bad_levels_are_one_line(text):
    with pytest.raises(edsl.EdslError, match="--match-loss takes training losses above 0"):
        read_levels(text)


def test_command_prints_ratios_and_draws(tmp_path):
    words = ("sharpness", *SPECS, "--task", "digits", "--batch", "512", "--steps", "30", "--seeds", "2", "--jobs", "1")
    code, out, err = run(*words, "--match-loss", "1.5", "--no-controls", "--json", "--out", str(tmp_path / "sharp"))
    assert code == 0, err
    said = json.loads(out)
    assert [row["level"] for row in said["rows"]] == [1.5, 1.5, END, END]
    assert (tmp_path / "sharp" / "sharpness.png").stat().st_size > 10_000
    code, out, err = run("sharpness", "--resume", "--jobs", "1", "--out", str(tmp_path / "sharp"))
    assert code == 0, err
    assert "when the training loss first was 1.5 or less" in out
    code, out, err = run("report", str(tmp_path / "sharp"))
    assert code == 0, err
    page = (tmp_path / "sharp" / "report.html").read_text()
    assert "Where the training loss first is 1.5, " in page
    assert page.count("<td>2 of 2</td>") == 4


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("sharpness", "adam"), "name a task, such as"),
        (("sharpness", "--resume"), "--resume needs --out"),
        (("sharpness", "adam", "--task", "digits", "--match-loss", "low"), "--match-loss takes"),
    ],
)
def test_bad_words_are_one_line(words, message):
    code, out, err = run(*words)
    assert (code, out) == (2, "")
    assert message in err
    assert len(err.splitlines()) == 1


def test_picture_has_a_line_for_each_spec():
    pytest.importorskip("matplotlib")
    chosen = race("digits", SPECS, steps=2, seeds=1)
    found = [Seen(level, 1, level, 3.0, 1.0, spec, 0) for spec in SPECS for level in (1.0, 0.3)]
    figure = picture(chosen, found)
    assert all(len(axes.lines) == 2 for axes in figure.axes)
