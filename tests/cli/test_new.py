"""edsl new: each file runs as it is and passes its own test; no name that clashes, no file that is there."""

import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from shell import run

from edsl.cli import new as command
from edsl.cli.new import KINDS, new
from edsl.errors import EdslError

NAMES = {"stage": "smooth_it", "rule": "my_momentum", "task": "mytask"}


def own_tests(folder):
    """pytest in a process of its own, on the files of a folder."""
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error", str(folder)]
    return subprocess.run(words, capture_output=True, text=True, check=False, cwd=folder)


@pytest.fixture
def files(tmp_path, monkeypatch, capsys):
    """A folder with a file of each kind and its test."""
    monkeypatch.chdir(tmp_path)
    for kind, name in NAMES.items():
        new(kind, name)
        assert f"pytest test_{name}.py" in capsys.readouterr().out
    return tmp_path


def test_every_file_passes_its_own_test_as_it_is(files):
    assert {path.name for path in files.iterdir()} == {
        *(f"{name}{KINDS[kind].suffix}" for kind, name in NAMES.items()),
        *(f"test_{name}.py" for name in NAMES.values()),
    }
    assert not [path for path in files.iterdir() if re.search("my_(stage|rule|task)|My(Stage|Rule)", path.read_text())]
    for name in NAMES.values():
        held = runpy.run_path(str(files / f"test_{name}.py"))
        tests = [test for key, test in held.items() if key.startswith("test_")]
        assert tests
        for test in tests:
            test()


@pytest.mark.slow
def test_they_pass_under_pytest_with_warnings_as_errors(files):
    done = own_tests(files)
    assert done.returncode == 0, done.stdout
    assert "7 passed" in done.stdout


@pytest.mark.slow
def test_a_changed_recurrence_fails_the_test_that_came_with_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    new("rule", "mine")
    file = tmp_path / "mine.edsl"
    file.write_text(file.read_text().replace("debias(m, beta)", "m"))
    assert "2 failed, 1 passed" in own_tests(tmp_path).stdout


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_the_command_that_it_names_runs(kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = NAMES[kind]
    code, out, err = run("new", kind, name)
    assert (code, err) == (0, "")
    words = out.splitlines()[0].partition("edsl ")[2].replace("'", "")
    if kind == "stage":
        before, _, spec = words.partition(" show ")
        asked = [*before.split(), "show", spec]
    else:
        asked = words.split() + (["--steps", "9", "--seeds", "3", "--jobs", "1"] if kind == "task" else [])
    code, out, err = run(*asked)
    assert code == 0, err
    assert name in out
    if kind == "task":
        code, out, err = run("compare", "mytask.py", "sgd", "--task", "digits")
        assert (code, out) == (2, "")
        assert err == "edsl: the task is given twice: mytask.py, and --task digits; give it once\n"


@pytest.mark.parametrize(
    ("kind", "name", "said"),
    [
        ("stage", "my-stage", "name a file by letters, digits and _, such as mystage, got 'my-stage'"),
        ("stage", "class", "name a file by letters, digits and _"),
        ("rule", "_hidden", "name a file by letters, digits and _"),
        ("task", "größe", "name a file by letters, digits and _"),
        ("task", "", "name a file by letters, digits and _"),
        ("stage", "adamw", "adamw is a stage of edsl already; choose another name"),
        ("rule", "alto", "alto is a recipe of edsl already"),
        ("rule", "prodigy", "prodigy is a stage of edsl already"),
        ("rule", "torch", "torch is a package that specs name"),
        ("task", "digits", "digits is a task of edsl already"),
        ("task", "torch", "torch is a Python module, which torch.py would hide"),
        ("stage", "statistics", "statistics is a Python module, which statistics.py would hide"),
        ("rule", "ema", "ema"),
        ("paper", "x", "edsl new writes a stage, rule or task, got 'paper'"),
        ("task", "no/where/a", "can't write no/where/a.py: No such file"),
        ("task", "a" * 300, "File name too long"),
    ],
)
def test_a_name_that_can_not_be_is_refused_in_one_line(kind, name, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(EdslError) as refused:
        new(kind, name)
    assert said in str(refused.value)
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize("there", ["mine.py", "test_mine.py"])
def test_a_file_that_is_there_stays_and_nothing_is_written_beside_it(there, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / there).write_text("mine")
    with pytest.raises(EdslError, match=f"{there} exists already; choose another name"):
        new("stage", "mine")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(there, "mine")]


def test_a_disk_that_fills_up_leaves_neither_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    real = Path.open

    def full(path, *words, **options):
        if path.name.startswith("test_") and words:
            raise OSError(28, "No space left on device")
        return real(path, *words, **options)

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(EdslError, match=r"can't write test_mine\.py: No space left on device"):
        command.new("task", "mine")
    assert not [*tmp_path.iterdir()]
