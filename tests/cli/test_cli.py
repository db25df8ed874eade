"""The command line as a user types it."""

import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter

import pytest
from shell import PROGRAM, imported_by, run, run_anew
from typer.testing import CliRunner

from edsl.cli import main as cli
from edsl.cli.render import progress as progress_bar
from edsl.cli.render.page import PlainConsole
from edsl.cli.render.progress import trial_text
from edsl.lab.executors.driver import Progress, run_to_end
from edsl.lab.races.build import open_record, race
from edsl.lab.races.forecast import forecast

BUDGET = ("--steps", "5", "--seeds", "2")
RACE = ("compare", "digits", "sgd(lr=0.1)", "torch.SGD(lr=0.1)", "--jobs", "1", *BUDGET)


def test_show_prints_canonical_text_stages_cost_and_recurrences():
    code, out, _ = run("show", "grad | e | lamb(lr=0.01)")
    assert code == 0
    assert out.startswith("grad | e(alpha=-5, beta1=0.99) | lamb(lr=0.01, beta2=0.9")
    assert "fingerprint ac3ab458" in out
    assert "state 12 B and memory traffic ≥ 36 B" in out
    assert "uₖ = gₖ + α (1 − β₁) (gₖ − ḡₖ₋₁)" in out


def test_show_json_is_json():
    code, out, _ = run("show", "alto", "--json")
    shown = json.loads(out)
    assert code == 0
    expected = {"state": 12, "traffic": 36, "forwards": 1, "backwards": 1, "all_reduces": 1, "exchanged": 0}
    assert shown["cost"] == expected
    assert [stage["bytes_per_parameter"] for stage in shown["stages"]] == [0, 4, 8]


def test_list_names_every_stage_recipe_and_task():
    from edsl.lab.tasks.catalogue import TASKS
    from edsl.language.registry.recipes import RECIPES
    from edsl.language.registry.stages import STAGES

    code, out, _ = run("list")
    assert code == 0
    for name in (*STAGES, *RECIPES, *TASKS):
        assert re.search(rf"\b{name}\b", out)
    code, out, _ = run("list", "--json")
    assert {stage["stage"] for stage in json.loads(out)["stages"]} == set(STAGES)


BAD = [
    (("show", "grad | foo | sgd"), "unknown stage 'foo'"),
    (("show", ""), "the spec is empty"),
    (("show", "grad | e(alpha=-500) | sgd"), "|alpha| must be less than"),
    (("compare", "nope", "sgd"), "unknown task 'nope'"),
    (("compare", "digits", "sgd", "grad | sgd"), "given twice"),
    (("compare", "digits", "sgd", "--batch", "5000"), "batch must be at most the 1257 training examples"),
    (("compare", "digits", "sgd", "--steps", "0"), "steps must be at least 1, got 0"),
    (
        ("compare", "digits", "sgd", "--steps", "1", "--epochs", "1"),
        "seconds, got steps and epochs",
    ),
    (("compare", "digits", "sgd", "--model", "gpt"), "unknown model 'gpt'"),
    (("compare", "digits", "sgd", "--device", "cuda:99"), "device 'cuda:99' can't be used"),
    (("compare", "digits", "sgd", "--device", "toaster"), "device 'toaster' can't be used"),
    (("compare", "digits", "sgd", "--target", "70"), "target must be an accuracy above 0 and at most 1"),
    (("compare", "digits", "sgd", "--target", "nan"), "target must be an accuracy above 0 and at most 1"),
    (("compare", "sine", "sgd", "--target", "inf"), "target must be a finite loss, got inf"),
    (("compare", "digits", "sgd", "--resume"), "--resume needs --out"),
    (("compare",), "name a task and at least one spec"),
    (("compare", "alto"), "name a task, such as"),
    (("compare", "digits"), "name at least one spec, such as"),
    (("show", "mine.edsl"), "write @mine.edsl"),
    (("show", "qzx"), "unknown stage 'qzx'; stages and recipes: see `edsl list`"),
    (("compare", "digits", "sgd", "--out", ""), "--out must name a folder of its own"),
    (("compare", "--resume", "--out", "nothing-here"), "nothing-here holds no race"),
    (("compare", "digits", "sgd", "--threads", "100000"), "threads must be at most"),
    (("compare", "digits", "sgd", "--device", "hpu"), "device 'hpu' can't be used"),
    (("compare", "digits", "sgd", "--model", ""), "unknown model ''"),
    (("compare", "digits", "torch.AdamW(betas=())"), "torch.AdamW rejected these arguments"),
    (("compare", "digits", "sgd", "--out", "/proc/nope/x"), "can't write results to /proc/nope/x"),
    (("compare", "digits", "sgd", "--seeds", "many"), "--seeds must be a whole number, got 'many'"),
    (("compare", "digits", "grad | e | torch.LBFGS()"), "it can't be combined with other stages"),
    (("compare", "alto", "--task", "digts"), "did you mean 'digits'?"),
    (("compare", "alto", "--task", "digits", "--jobs", "0"), "jobs must be at least 1, got 0"),
    (("compare", "alto", "--task", "digits", "--engine", "cloud"), "engine must be local or ray"),
    (("compare", "alto", "--task", "digits", "--lr", "soon"), "lr must be default, auto, or factors"),
    (("compare", "alto", "--task", "digits", "--schedule", "cosin"), "did you mean 'cosine'?"),
    (("compare", "alto", "--task", "digits", "--baseline", "lamb(lr=3)"), "baseline 'lamb(lr=3)' is not in the race"),
    (("compare", "alto", "--task", "sine", "--metric", "accuracy"), "task sine has no accuracy"),
    (("sweep", "alto", "--grid", "alpha=1"), "name a spec and a task"),
    (("sweep", "alto", "--task", "digits"), "a sweep needs at least one grid"),
    (("sweep", "alto", "--task", "digits", "--grid", "alpha"), "a grid is NAME=VALUE,VALUE"),
    (("sweep", "--resume"), "--resume needs --out"),
    (("ablate", "sgd", "--task", "digits"), "sgd has nothing to ablate"),
    (("report", "nothing-here"), "nothing-here holds no race"),
    (("reproduce", "fig2"), "unknown claim 'fig2'"),
    (("nonsense",), "nonsense"),
]


@pytest.mark.parametrize(("words", "part"), BAD)
def test_bad_input_is_one_message_and_exit_code_2(words, part, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["edsl", *words])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    out, err = capsys.readouterr()
    assert ended.value.code == 2
    assert out == ""
    assert part in err
    assert "Traceback" not in err


def test_race_prints_a_table_and_leaves_its_results(tmp_path):
    code, out, err = run(*RACE, "--out", str(tmp_path / "race"), env={**os.environ, "COLUMNS": "140"})
    assert code == 0
    assert "digits (mlp), batch 128, 5 steps, 2 seeds, cpu" in out
    assert re.search(r"sgd\(lr=0\.1\) +\d\.\d+ ± \d\.\d+ ", out)
    assert "trial 4/4: " in err
    assert len((tmp_path / "race" / "trials.jsonl").read_text().splitlines()) == 4


def test_race_json_goes_to_stdout_and_progress_to_stderr(tmp_path):
    code, out, err = run(*RACE, "--json", "--out", str(tmp_path / "race"))
    rows = json.loads(out)["rows"]
    assert code == 0
    assert "trial 1/4" in err
    assert rows[0]["train_loss"] == pytest.approx(rows[1]["train_loss"], rel=1e-4)  # sgd is torch's


def test_dry_run_says_how_many_trials_and_how_long_and_runs_none(tmp_path):
    words = ("compare", "alto", "lamb", "--task", "digits", "--steps", "50", "--lr", "auto", "--trials", "6", "--json")
    code, out, _ = run(*words, "--dry-run", "--out", str(tmp_path / "race"))
    said = json.loads(out)
    assert code == 0
    assert said["trials"] == 3 * (6 * 2 + 2 * 5)  # alto, lamb, alto's twin
    assert 0 < said["seconds"] < 600
    assert not (tmp_path / "race").exists()


def test_a_task_may_stand_first_or_by_itself(tmp_path):
    for number, words in enumerate((("digits", "sgd"), ("sgd", "--task", "digits"))):
        code, out, err = run(
            "compare",
            *words,
            *("--steps", "2", "--seeds", "1", "--jobs", "1", "--json", "--out"),
            str(tmp_path / str(number)),
        )
        assert code == 0, err
        assert json.loads(out)["task"] == "digits"


def test_tables_have_no_colour_where_none_is_wanted(tmp_path):
    words = ("compare", "digits", "sgd(lr=1000)", "--steps", "5", "--seeds", "1", "--out", str(tmp_path / "race"))
    words = (*words, "--jobs", "1")
    _, out, _ = run(*words, env={**os.environ, "NO_COLOR": "1", "FORCE_COLOR": "0"})
    assert "1 of 1 diverged" in out
    assert "\x1b[3" not in out


def heeding_ctrl_c():
    """As a terminal starts a command; one in the background of a script ignores it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_ctrl_c_leaves_a_race_that_resume_finishes(tmp_path):
    words = [*RACE[:-4], "--steps", "200", "--seeds", "3", "--out", str(tmp_path / "race")]
    child = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *words], stderr=subprocess.PIPE, text=True, preexec_fn=heeding_ctrl_c
    )
    assert child.stderr is not None
    for line in child.stderr:
        if "trial 2/6" in line:
            break
    os.kill(child.pid, signal.SIGINT)
    rest = child.communicate()[1]
    assert child.returncode == 130
    assert "Traceback" not in rest
    assert f"continue with:\n    edsl compare --resume --out {tmp_path / 'race'}\n" in rest
    code, _, err = run("compare", "--resume", "--jobs", "1", "--out", str(tmp_path / "race"))
    assert code == 0
    assert "trial 1/6" not in err
    assert "trial 6/6" in err


@pytest.mark.parametrize("delay", [0.1, 3.0])
def test_ctrl_c_in_the_first_seconds_is_one_line(delay, tmp_path):
    words = [*RACE[:4], "--steps", "100000", "--seeds", "3", "--jobs", "2", "--out", str(tmp_path / "race")]
    program = "import sys; from edsl.cli.main import main; print('begun', file=sys.stderr, flush=True); main()"
    child = subprocess.Popen(
        [sys.executable, "-c", program, *words],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=heeding_ctrl_c,
    )
    assert child.stderr is not None
    assert child.stderr.readline() == "begun\n"  # before, it is Python that starts
    time.sleep(delay)
    os.killpg(child.pid, signal.SIGINT)  # as a terminal does, to all processes of the group
    err = child.communicate(timeout=60)[1]
    assert child.returncode == 130
    (line,) = [line for line in err.splitlines() if not line.startswith("trial ")]
    assert line.startswith("edsl: interrupted")


def test_ctrl_c_within_a_callback_that_drops_it_ends_the_command():
    """Imports make weak references, and an exception in one's callback goes nowhere."""
    program = """
import signal, sys, weakref
from edsl.cli import main

class Module:
    pass

def import_slowly(*_, **__):
    module = Module()
    reference = weakref.ref(module, lambda _: [signal.raise_signal(signal.SIGINT), *range(1000)])
    del module
    while True:
        pass

main.app = import_slowly
main.main()
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, preexec_fn=heeding_ctrl_c
    )
    assert (done.returncode, done.stderr) == (130, "edsl: interrupted\n")


@pytest.mark.parametrize("columns", ["60", "80"])
def test_at_60_and_80_columns_nothing_is_cut_off(columns):
    narrow = {**os.environ, "COLUMNS": columns}
    _, out, _ = run("plan", "alto", "grad | e | clip(norm=1) | lamb", "--bandwidth", "3350", env=narrow)
    assert re.search(r"^ +alto +(\S+ [kMG]?B +)*1\.34( +1\.78)?$", out, re.MULTILINE)  # what --bandwidth asks for
    assert "…" not in out
    _, whole, _ = run("list", env={**os.environ, "COLUMNS": "200"})
    _, out, _ = run("list", env=narrow)
    assert all(len(line) <= int(columns) for line in out.splitlines() if line[:1] in "┏┃┡│├└")
    assert squeezed(out) == squeezed(whole)
    _, whole, _ = run("show", "emuon", env={**os.environ, "COLUMNS": "200"})
    _, out, _ = run("show", "emuon", env=narrow)
    assert all(len(line) <= int(columns) for line in out.splitlines() if line[:1] in "┏┃┡│├└")
    assert squeezed(out) == squeezed(whole)


def squeezed(table):
    """How often each letter stands in a table, however its cells are broken."""
    return Counter(character for character in table if not character.isspace() and not "─" <= character <= "╿")


def test_a_long_name_loses_its_middle_and_what_is_tried_stays():
    progress = Progress(0, 9, "grad | e(alpha=-5, beta1=0.99) | lamb(lr=0.01), without E", "lr=0.0316, tuning seed 1")
    for columns in (60, 80):
        said = trial_text(progress, columns)
        assert len(said) <= columns
        assert said.startswith("grad | e(alpha")
        assert said.endswith("without E, lr=0.0316, tuning seed 1")


@pytest.mark.parametrize("columns", [60, 80])
def test_the_bar_fits_the_terminal_whatever_is_tried(columns, monkeypatch):
    screen = io.StringIO()

    def console(**options):
        return PlainConsole(file=screen, force_terminal=True, width=columns, color_system=None)

    monkeypatch.setattr(progress_bar, "PlainConsole", console)
    values = "lr=0.0316, weight_decay=0.000123, beta2=0.912, beta3=0.998, eps1=1e-07, alpha=-12.3, tuning seed 1"
    names = ("grad | e(alpha=-5, beta1=0.99) | lamb(lr=0.01), without E", "adam")
    with progress_bar.race_progress() as watch:
        for place, name in enumerate(names):
            watch(Progress(12344 + place, 99999, name, values, 30, 100))
            time.sleep(0.3)  # it is drawn ten times a second
    lines = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "\n", screen.getvalue()).splitlines()
    assert any("trial 12345/99999" in line for line in lines)
    assert any("tuning seed 1" in line and "lr=0.0316" in line for line in lines)
    assert max(map(len, lines)) <= columns


@pytest.mark.slow
@pytest.mark.parametrize("model", ["linear", "cnn"])
def test_a_forecast_is_within_a_factor_of_two_of_a_real_race(model, tmp_path):
    chosen = race("digits", ["adam(lr=0.003)", "grad | e | lamb"], model=model, steps=120, seeds=3)
    expected = forecast(chosen)
    began = time.perf_counter()
    run_to_end(chosen, open_record(chosen, tmp_path, False), lambda _: None)
    assert 0.5 <= (time.perf_counter() - began) / expected <= 2


def test_help_shows_an_example_of_each_command():
    for command in ("compare", "show"):
        result = CliRunner().invoke(cli.app, [command, "--help"], env={"COLUMNS": "120"})
        assert result.exit_code == 0
        assert "Example: edsl" in result.output


def test_help_list_and_show_import_neither_torch_nor_sympy():
    for words in (("--help",), ("list",), ("show", "alto")):
        assert not {"torch", "sympy", "numpy", "sklearn"} & imported_by(*words)


@pytest.mark.parametrize("words", [("show", "alto"), ("show", "alto", "--json"), ("list",), ("list", "--json")])
def test_terminal_without_unicode_gets_replacements_and_no_traceback(words):
    code, out, err = run_anew(*words, env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert code == 0
    assert out
    assert "Traceback" not in err


@pytest.mark.parametrize("columns", ["80", "140"])
def test_piped_tables_keep_to_columns_and_end_in_no_spaces(columns):
    for words in (("list",), ("show", "alto")):
        _, out, _ = run(*words, env={**os.environ, "COLUMNS": columns})
        tables = [line for line in out.splitlines() if line[:1] in "┏┃│└"]
        assert tables
        assert all(len(line) <= int(columns) for line in tables)
        assert all(line == line.rstrip() for line in out.splitlines())


def test_full_disk_is_one_line():
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full here")
    with open("/dev/full", "w") as full:
        done = subprocess.run([sys.executable, "-c", PROGRAM, "list"], stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1
    assert "can't write the output" in done.stderr
    assert "Traceback" not in done.stderr
