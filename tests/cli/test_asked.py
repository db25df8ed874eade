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
    (("--steps", "3"), "with a budget of 2 steps instead of 3 steps: leave out what differs, or choose another --out"),
    (("--seconds", "3"), "with a budget of 2 steps instead of 3 seconds"),
    (("--epochs", "1"), "with a budget of 2 steps instead of 19 steps"),
    (("--batch", "32"), "with --batch 64 instead of 32"),
    (("--model", "mlp"), "with --model linear instead of mlp"),
    (("--task", "sine"), "with --task digits instead of sine"),
    (("--schedule", "cosine"), "with --schedule constant instead of cosine"),
    (("--metric", "loss"), "with --metric accuracy instead of loss"),
    (("--baseline", "sgd(lr=0.1)"), "with --baseline alto instead of sgd(lr=0.1)"),
    (("--lr", "auto"), "with --lr default instead of auto"),
    (("--tuner", "tpe"), "with --tuner none (untuned) instead of tpe"),
    (("--trials", "9"), "with --trials none (untuned) instead of 9"),
    (("--measure", "drift"), "with --measure none instead of drift"),
    (("--no-controls",), "with controls on instead of off"),
    (("--threads", "2"), "with --threads 1 instead of 2"),
    (
        ("--steps", "3", "--batch", "32", "adam", "alto"),
        "was begun with --batch 64 instead of 32, with a budget of 2 steps instead of 3 steps, without adam and with "
        "sgd(lr=0.1) too: leave out what differs, or choose another --out",
    ),
    (("digits", "alto"), "was begun with sgd(lr=0.1) too:"),
    (("sine", "alto", "sgd(lr=0.1)"), "with --task digits instead of sine"),
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


@pytest.mark.parametrize(
    "words",
    [
        ("compare", "digits", "sgd(lr=0.1)"),
        ("compare",),
        ("sweep", "alto", "--grid", "alpha=1,2", "--task", "digits"),
        ("ablate", "alto", "--task", "digits"),
        ("sharpness", "sgd(lr=0.1)", "--task", "digits"),
    ],
)
def test_nothing_is_resumed_where_there_is_no_race(words, tmp_path, edsl):
    for place in (tmp_path, tmp_path / "new"):
        code, out, err = edsl(*words, "--resume", "--out", place)
        assert (code, out) == (2, "")
        assert err == f"edsl: {place} holds no race to resume; drop --resume to start one there\n"
    assert not (tmp_path / "new").exists()


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
        (("train", "sgd", "--task", "digits", "--parallel", "fsdp"), "--parallel fsdp needs two processes or more"),
        (("train", "sgd", "--task", "digits", "--parallel", "ddp"), "--parallel ddp needs two processes or more"),
        (
            ("landscape", "f1", "adam", "--out", "a.png", "--seed", "1"),
            "one start and many learning rates: drop --seed",
        ),
        (("check-stability", "--spec", "esgd", "--beta2", "0.5"), "--spec has its own --beta2"),
        (("check-stability", "--spec", "esgd", "--momentum", "sum", "--lr", "1"), "its own --momentum and --lr"),
    ],
)
def test_options_that_the_last_would_win_or_that_do_nothing_are_one_line(words, said, edsl):
    code, out, err = edsl(*words)
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert said in err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("show", "adam(lr=1e-400)"), "1e-400 is too small for a float, which would be 0"),
        (("show", "adan(betas=(0.9, 1E-999, 0.9))"), "1E-999 is too small for a float"),
        (("show", "grad | e(alpha=-1e400) | adam"), "1e400 is too large for a float"),
        (("sweep", "alto", "--task", "digits", "--grid", "alpha=1,1e-400"), "1e-400 is too small for a float"),
        (("check-stability", "-5", "1e-400"), "BETA1: 1e-400 is too small"),
        (("check-stability", "-5", ".9", "--lr=1e-400", "--curvature", "0:1"), "--lr: 1e-400 is too small"),
        (("check-stability", "-5", ".9", "--lr", "1", "--curvature", "1e-400:1"), "--curvature: 1e-400 is too small"),
        (("map", "esgd", "--out", "a.png", "--curvature", "1e999"), "--curvature: 1e999 is too large"),
        (("map", "esgd", "--out", "a.png", "--y", "beta1=1e-400:0.5"), "--y: 1e-400 is too small"),
        (("compare", "digits", "sgd", "--seconds", "1e-400"), "--seconds: 1e-400 is too small"),
    ],
)
def test_a_number_that_no_float_holds_is_no_zero_and_no_infinity(words, said, edsl):
    code, out, err = edsl(*words)
    assert (code, out) == (2, "")
    assert said in err


@pytest.mark.parametrize("text", ["0e-400", "0.0", "1e-320", "1e308", "-0.000"])
def test_every_other_number_reads_as_it_is_written(text):
    from edsl.language.domain import read_number

    assert read_number(text) == float(text)


def test_a_sweep_that_refuses_all_says_every_reason_once(edsl):
    words = ("--grid", "alpha=-500,500", "--grid", "beta1=0.99,1.5", "--no-controls")
    code, _, err = edsl("sweep", "alto", "--task", "digits", *words)
    assert code == 2
    assert err.count("|alpha| must be less than") == 1
    assert err.count("beta1 must lie in [0, 1), got 1.5") == 1


def test_training_that_fails_is_no_success(edsl):
    words = ("train", "torch.Muon", "--task", "digits", "--steps", "2")
    code, out, _ = edsl(*words)
    assert (code, "failed: ValueError: Muon only supports 2D" in out) == (1, True)
    assert edsl("train", "torch.SGD(lr=0.1)", *words[2:])[0] == 0


def test_help_names_every_mode_of_verify(edsl):
    from edsl.engine.engine import MODES

    _, out, _ = edsl("verify", "--help")
    assert [mode for mode in MODES if mode not in out] == []
