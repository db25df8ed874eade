"""What is written beside other options, or beside a record, must agree with it."""

import sys

import pytest

from edsl.cli import main as cli
from edsl.lab.executors.driver import run_to_end
from edsl.lab.races.build import open_record, race


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("race")
    chosen = race("digits", ["alto", "sgd(lr=0.1)"], model="linear", steps=2, seeds=1, batch=64, controls=True)
    run_to_end(chosen, open_record(chosen, place, False), lambda _: None)
    return place


@pytest.fixture
def edsl(capsys, monkeypatch):
    """The command in this process: (exit code, stdout, stderr)."""

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["edsl", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return ended.value.code or 0, *capsys.readouterr()

    return run


CONTRADICTIONS = [
    (("--steps", "3"), "--steps is 3 steps, but 2 steps in the record"),
    (("--seconds", "3"), "--seconds is 3 seconds, but 2 steps in the record"),
    (("--epochs", "1"), "--epochs is 19 steps, but 2 steps in the record"),
    (("--batch", "32"), "--batch is 32, but 64 in the record"),
    (("--model", "mlp"), "--model is mlp, but linear in the record"),
    (("--task", "sine"), "--task is sine, but digits in the record"),
    (("--schedule", "cosine"), "--schedule is cosine, but constant in the record"),
    (("--metric", "loss"), "--metric is loss, but accuracy in the record"),
    (("--baseline", "sgd(lr=0.1)"), "--baseline is sgd(lr=0.1), but alto in the record"),
    (("--lr", "auto"), "--lr is auto, but default in the record"),
    (("--tuner", "tpe"), "--tuner is tpe, but none, untuned in the record"),
    (("--trials", "9"), "--trials is 9, but none, untuned in the record"),
    (("--measure", "drift"), "--measure is drift, but none in the record"),
    (("--no-controls",), "controls is off, but on in the record"),
    (("--threads", "2"), "--threads is 2, but 1 in the record"),
    (
        ("--steps", "3", "--batch", "32"),
        "--batch is 32, but 64 in the record; --steps is 3 steps, but 2 steps in the record",
    ),
    (("adam",), "not in the record: adam"),
    (("digits", "alto"), "only in the record: sgd(lr=0.1)"),
    (("sine", "alto", "sgd(lr=0.1)"), "--task is sine, but digits in the record"),
    (("--gpus", "1"), "--gpus has no effect without --engine ray"),
]


@pytest.mark.parametrize(("words", "said"), CONTRADICTIONS)
def test_what_contradicts_the_record_is_an_error_with_both_values(words, said, folder, edsl):
    code, out, err = edsl("compare", *words, "--resume", "--out", folder)
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert said in err


def test_a_race_is_extended_and_says_so_but_never_cut(folder, edsl):
    words = ("compare", "--resume", "--out", folder, "--jobs", "1")
    code, out, err = edsl(*words, "--seeds", "2", "--dry-run")
    assert (code, "2 seeds" in out) == (0, True)
    code, out, err = edsl(*words, "--seeds", "2", "--steps", "2", "digits", "alto", "sgd(lr=0.1)")
    assert (code, "2 seeds" in out) == (0, True)
    assert f"the race in {folder} goes on from 1 to 2 seeds" in err
    assert "trial 5/8: alto, seed 1" in err
    code, out, err = edsl(*words)
    assert (code, "2 seeds" in out) == (0, True)
    code, out, err = edsl(*words, "--seeds", "1")
    assert (code, out) == (2, "")
    assert "--seeds 1 is less than the 2 of the race in" in err


def test_resume_with_specs_begins_where_nothing_is_yet(tmp_path, edsl):
    words = ("compare", "digits", "sgd(lr=0.1)", "--model", "linear", "--steps", "2", "--seeds", "1", "--resume")
    for first in (True, False):
        code, _, err = edsl(*words, "--out", tmp_path / "new")
        assert (code, "trial 1/1: sgd(lr=0.1), seed 0" in err) == (0, first)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("compare", "sgd", "--task", "digits", "--task", "sine"), "--task is given twice: digits, sine; give it once"),
        (("compare", "digits", "sgd", "--task", "sine"), "the task is given twice: digits, and --task sine"),
        (("compare", "digits", "sgd", "--seeds=3", "--seeds", "5"), "--seeds is given twice"),
        (("sweep", "alto", "--task", "digits", "--lr", "auto", "--lr", "1,2"), "--lr is given twice: auto, 1,2"),
        (("plan", "alto", "--params", "mlp", "--params", "tiny"), "--params is given twice: mlp, tiny"),
        (("ablate", "alto", "--task", "digits", "--trials", "4"), "--trials has no effect without --lr auto"),
        (("sweep", "alto", "--task", "digits", "--tuner", "tpe"), "--tuner has no effect without --lr auto"),
        (("compare", "digits", "sgd", "--lr", "1,2", "--tuner", "grid"), "--tuner has no effect without --lr auto"),
        (("compare", "digits", "sgd", "--tune-seeds", "4"), "--tune-seeds has no effect without --lr auto, or factors"),
        (("sharpness", "sgd", "--task", "digits", "--address", "auto"), "--address has no effect without --engine ray"),
        (("sweep", "alto", "--resume", "--out", "."), "give both SPEC and --grid, or neither"),
    ],
)
def test_options_that_the_last_would_win_or_that_do_nothing_are_one_line(words, said, edsl):
    code, out, err = edsl(*words)
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert said in err
