"""What a race leaves behind when it is killed, or when its results can't be written."""

import importlib
import json
import os
import random
import resource
import shutil
import subprocess
import sys
import time

import pytest

from edsl.cli import main as cli
from edsl.lab.executors.driver import run_to_end
from edsl.lab.races.build import open_record, race, race_from
from edsl.lab.races.record import read_configuration

SPECS = ("eadamw(lr=0.01)", "torch.SGD(lr=0.1)")
BUDGET = ("--model", "linear", "--batch", "64", "--steps", "40", "--seeds", "5")
RACE = ("compare", "digits", *SPECS, *BUDGET, "--no-controls", "--jobs", "1")
TIMES = ("step_ms", "optimizer_ms", "first_step_s", "seconds")
EAGER = {**os.environ, "TORCHDYNAMO_DISABLE": "1"}

# Imports once, then runs each command in a child of its own, which it kills with -9 after a while.
KILLER = """
import os, signal, sys, time, json, warnings
warnings.simplefilter("ignore")
import edsl, sklearn.datasets, torch._dynamo
import edsl.cli.compare, edsl.lab.executors.driver, edsl.lab.tasks.digits
from edsl.cli.main import main

torch.set_num_threads(1)
for line in sys.stdin:
    words, seconds, out = json.loads(line)
    child = os.fork()
    if child == 0:
        sys.argv = ["edsl", *words]
        sys.stdin.close()
        sys.stdout = open(out, "w")
        sys.stderr = open(out + ".err", "w")
        try:
            main()
        except SystemExit as ended:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(ended.code or 0)
    deadline = time.monotonic() + (seconds if seconds is not None else 1e9)
    ended, status = 0, 0
    while not ended and time.monotonic() < deadline:
        ended, status = os.waitpid(child, os.WNOHANG)
        time.sleep(0.001)
    if not ended:
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
    print(os.waitstatus_to_exitcode(status), flush=True)
"""


def without_times(value):
    if isinstance(value, dict):
        return {key: without_times(part) for key, part in value.items() if key not in TIMES}
    return [without_times(part) for part in value] if isinstance(value, list) else value


class Killer:
    """`edsl` commands in processes that may be killed; each answers with its exit code, −9 where it was."""

    def __init__(self, folder):
        self.said = folder / "said"
        self.process = subprocess.Popen(
            [sys.executable, "-c", KILLER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=EAGER
        )

    def run(self, *words, seconds=None):
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps([words, seconds, str(self.said)]) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def summary(self, folder, *words):
        """The rows of a race's table, but for its times, when it has been run to its end."""
        code = self.run(*(words or ("compare", "--resume")), "--out", str(folder), "--json")
        assert code == 0, self.said.with_suffix(".err").read_text()
        rows = json.loads(self.said.read_text())["rows"]
        return [without_times(row) for row in rows]

    def close(self):
        self.process.communicate()


@pytest.fixture
def killer(tmp_path):
    started = Killer(tmp_path)
    yield started
    started.close()


def assert_readable(folder, tmp_path):
    """Every line but a torn last one parses, and the race can be resumed from it."""
    trials = folder / "trials.jsonl"
    if trials.exists():
        for line in trials.read_bytes().split(b"\n")[:-1]:
            json.loads(line)
    if (folder / "race.json").exists():
        copy = tmp_path / "copy"
        shutil.copytree(folder, copy)
        chosen = race_from(read_configuration(copy))
        open_record(chosen, copy, resume=True)
        shutil.rmtree(copy)


TUNED = ("--lr", "auto", "--trials", "5", "--tune-seeds", "2", "--jobs", "1", "--no-controls")
LONG_RACE = (
    "compare",
    "digits",
    *SPECS,
    "--model",
    "linear",
    "--batch",
    "64",
    "--steps",
    "20",
    "--seeds",
    "10",
    *TUNED,
)


@pytest.mark.slow
def test_a_race_of_60_trials_killed_20_times_stays_readable_and_ends_as_an_undisturbed_one(killer, tmp_path):
    killer.run("list")  # which waits for its imports
    began = time.monotonic()
    expected = killer.summary(tmp_path / "undisturbed", *LONG_RACE)
    assert 50 <= len((tmp_path / "undisturbed" / "trials.jsonl").read_text().splitlines()) <= 60
    lasts = time.monotonic() - began
    moments = random.Random(20)
    killed, races = 0, 0
    while killed < 20:
        races += 1
        folder = tmp_path / f"race{races}"
        code = -9
        while code == -9 and killed < 20:
            again = ("--resume",) if (folder / "race.json").exists() else ()  # killed before there was a race
            code = killer.run(*LONG_RACE, *again, "--out", str(folder), seconds=moments.uniform(0, lasts / 2))
            assert code in (0, -9), killer.said.with_suffix(".err").read_text()
            killed += code == -9
            assert_readable(folder, tmp_path)
        if (folder / "race.json").exists():
            assert killer.summary(folder) == expected


def test_a_torn_last_line_is_dropped_without_rewriting_the_others(tmp_path):
    chosen = race("digits", ["torch.SGD(lr=0.1)"], model="linear", steps=2, seeds=2)
    run_to_end(chosen, open_record(chosen, tmp_path, False), lambda _: None)
    trials = tmp_path / "trials.jsonl"
    whole = trials.read_bytes()
    trials.write_bytes(whole + b'{"spec": "torch.S')
    place = trials.stat().st_ino
    record = open_record(chosen, tmp_path, True)
    assert trials.read_bytes() != whole  # only who holds the folder changes it
    with record.locked():
        assert trials.read_bytes() == whole
    assert trials.stat().st_ino == place


def limited(folder, size, *words):
    """A command whose process can write no file beyond a size: a disk that is full."""
    program = f"""
import resource, torch  # which may import packages that look for a folder to write to
from edsl.cli.main import main
resource.setrlimit(resource.RLIMIT_FSIZE, ({size}, {size}))
main()
"""
    done = subprocess.run(
        [sys.executable, "-c", program, *words, "--out", str(folder)], capture_output=True, text=True, env=EAGER
    )
    return done.returncode, done.stdout, done.stderr


def on_a_full_disk(folder, monkeypatch, capsys):
    """The race in this process while it can write to no file: what it ends with, before anything trains."""
    importlib.import_module("sklearn.datasets")  # which looks for a folder to write to
    monkeypatch.setattr(sys, "argv", ["edsl", *RACE, "--out", str(folder)])
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        with pytest.raises(SystemExit) as ended:
            cli.main()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    return ended.value.code, *capsys.readouterr()


def test_a_disk_that_is_full_at_the_start_is_one_line_and_leaves_nothing(tmp_path, monkeypatch, capsys):
    code, out, err = on_a_full_disk(tmp_path / "new" / "race", monkeypatch, capsys)
    assert (code, out) == (2, "")
    assert err.splitlines() == [f"edsl: can't write results to {tmp_path / 'new' / 'race'}: File too large"]
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_is_full_at_the_start_leaves_a_folder_that_was_there(tmp_path, monkeypatch, capsys):
    (tmp_path / "mine").write_text("kept")
    code, _, err = on_a_full_disk(tmp_path, monkeypatch, capsys)
    assert code == 2
    assert "Traceback" not in err
    assert [(place.name, place.read_text()) for place in tmp_path.iterdir()] == [("mine", "kept")]


def test_a_disk_that_fills_up_midway_is_one_line_and_leaves_a_record_that_resume_finishes(tmp_path, killer):
    folder = tmp_path / "race"
    code, out, err = limited(folder, 6000, *RACE)
    last = f"can't write results to {folder}: File too large; edsl compare --resume --out {folder} finishes the race"
    assert (code, out) == (2, "")
    assert "Traceback" not in err
    told = ("trial ", "warning: the C++ compiler failed")  # whose own file may be the one that is too large
    assert [line for line in err.splitlines() if not line.startswith(told)] == [f"edsl: {last}"]
    assert_readable(folder, tmp_path)
    assert 0 < (folder / "trials.jsonl").read_bytes().count(b"\n") < 10
    assert killer.summary(folder) == killer.summary(tmp_path / "undisturbed", *RACE)


@pytest.mark.parametrize("out", ["file/race", "/proc/race", "/sys/race", "/dev/null/race"])
def test_an_out_that_can_not_be_written_is_one_line_before_anything_runs(out, tmp_path, capsys, monkeypatch):
    (tmp_path / "file").write_text("kept")
    monkeypatch.setattr(sys, "argv", ["edsl", *RACE, "--out", str(tmp_path / out)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    printed, err = capsys.readouterr()
    assert (ended.value.code, printed) == (2, "")
    assert len(err.splitlines()) == 1
    assert err.startswith(f"edsl: can't write results to {tmp_path / out}: ")
    assert [(child.name, child.read_text()) for child in tmp_path.iterdir()] == [("file", "kept")]


def test_a_package_that_is_missing_is_one_line():
    program = "import sys; sys.modules['torch'] = None; sys.argv = ['edsl', 'plan', 'alto', '--params', 'tiny']\n"
    done = subprocess.run(
        [sys.executable, "-c", program + "from edsl.cli.main import main; main()"], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert done.stderr.startswith("edsl: this command needs torch, which is not installed")
    assert done.stderr.count("\n") == 1
