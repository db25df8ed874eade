"""Several processes and Ray give what one process gives, and lose no trial when a worker dies."""

import contextlib
import os
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
import shell

import edsl
from edsl.lab.executors.driver import run, run_to_end
from edsl.lab.executors.engines import executor
from edsl.lab.executors.processes import Processes
from edsl.lab.races.build import open_record, race
from edsl.language.registry.plugins import load_once

SPECS = ["sgd(lr=0.1)", "adam(lr=0.01)"]
BUDGET = {"model": "linear", "batch": 64, "steps": 30, "seeds": 3, "lr": "auto", "trials": 4, "tune_seeds": 2}
TIMES = ("step_ms", "optimizer_ms", "first_step_s", "seconds")


def without_times(value):
    if isinstance(value, dict):
        return {key: without_times(part) for key, part in value.items() if key not in TIMES}
    return [without_times(part) for part in value] if isinstance(value, (list, tuple)) else value


def ignore(_):
    pass


def table(found):
    return [without_times(row.record()) for row in found.rows]


@pytest.fixture(scope="module")
def serial(tmp_path_factory):
    chosen = race("digits", SPECS, **BUDGET)
    return table(run_to_end(chosen, open_record(chosen, tmp_path_factory.mktemp("serial"), False), ignore))


def test_two_processes_give_the_serial_table_bit_for_bit(serial, tmp_path):
    chosen = race("digits", SPECS, **BUDGET)
    found = run_to_end(chosen, open_record(chosen, tmp_path, False), ignore, Processes(2))
    assert table(found) == serial
    lines = (tmp_path / "trials.jsonl").read_text().splitlines()
    assert len(lines) <= chosen.planned


def kill_some(pool, times):
    """Kill a worker that runs a trial, so many times."""
    killed = 0
    while killed < times:
        busy = [worker for worker in list(pool.workers) if worker.work is not None and worker.process.is_alive()]
        if busy:
            with contextlib.suppress(ProcessLookupError):
                os.kill(busy[0].process.pid, signal.SIGKILL)
                killed += 1
        time.sleep(0.2)


def test_workers_killed_midway_change_nothing(serial, tmp_path):
    chosen = race("digits", SPECS, **BUDGET)
    record, pool = open_record(chosen, tmp_path, False), Processes(2)
    killer = threading.Thread(target=kill_some, args=(pool, 2))
    killer.start()
    found = run_to_end(chosen, record, ignore, pool)
    killer.join()
    assert table(found) == serial
    keys = [(trial["spec"], trial["seed"]) for trial in record.finished]
    assert len(set(keys)) == len(keys)


PLUGIN = """
import os
import torch
from dataclasses import dataclass
from typing import ClassVar
from edsl.stage import Adaptor

@dataclass(frozen=True)
class Deadly(Adaptor):
    \"\"\"Ends the process that steps.\"\"\"

    name: ClassVar[str] = "deadly"

    def step(self, x, memory, at):
        if isinstance(x, torch.Tensor):
            os._exit(7)
        return x, memory
"""


def test_a_trial_that_kills_every_worker_fails_alone(tmp_path):
    plugin = tmp_path / "deadly.py"
    plugin.write_text(PLUGIN)
    load_once([plugin])
    chosen = race("digits", ["sgd(lr=0.1)"], model="linear", steps=5, seeds=2, plugins=[plugin])
    works = [*chosen.ready({})]
    bad = replace(works[0], spec="grad | deadly | sgd(lr=0.1)")
    with Processes(2) as pool:
        pool.submit(bad)
        pool.submit(works[1])
        answers = dict(pool.next(lambda *_: None) for _ in range(2))
    assert answers[works[1].key]["status"] == "ok"
    assert answers[bad.key]["status"] == "failed"
    assert "its process died 3 times" in answers[bad.key]["reason"]


def test_an_error_of_the_users_reaches_them_from_a_worker():
    chosen = race("digits", ["sgd(lr=0.1)"], model="linear", steps=5, seeds=1)
    with Processes(1) as pool:
        pool.submit(replace(next(chosen.ready({})), spec="nonsense"))
        with pytest.raises(edsl.EdslError, match="unknown stage 'nonsense'"):
            pool.next(lambda *_: None)


def test_interrupted_race_leaves_no_process(tmp_path):
    chosen = race("digits", SPECS, **BUDGET)
    pool = Processes(2)

    def interrupt(progress):
        if progress.done >= 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(chosen, open_record(chosen, tmp_path, False), pool, interrupt)
    assert pool.workers == []


def test_workers_end_by_themselves_so_that_what_they_started_ends_too():
    chosen = race("digits", ["sgd(lr=0.1)", "adam(lr=0.01)"], model="linear", steps=10**9, seeds=1)
    quick, endless = replace(chosen.setting, budget=2), chosen.setting
    first, second = chosen.ready({})
    pool = Processes(2)
    with pool:
        pool.submit(replace(first, setting=endless))
        pool.submit(replace(second, setting=quick))
        assert pool.next(lambda *_: None)[0] == second.key
        processes = [worker.process for worker in pool.workers]
    assert [process.exitcode for process in processes] == [0, 0]  # killed ones have −9


@pytest.mark.slow
def test_a_matrix_pipeline_in_workers_leaves_nothing_on_stderr(tmp_path):
    words = ("compare", "digits", "sgd", "emuon", "--steps", "20", "--seeds", "2", "--jobs", "2", "--no-controls")
    code, _, err = shell.run(*words, "--out", str(tmp_path / "race"))
    assert code == 0
    assert [line for line in err.splitlines() if not line.startswith("trial ")] == [
        f"results: {tmp_path / 'race'}; a page of them:",
        f"    edsl report {tmp_path / 'race'}",
    ]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("cloud", 1), "engine must be local or ray"),
        (("local", 0), "jobs must be at least 1"),
        (("local", 10**6), "at most"),
    ],
)
def test_bad_engines_are_one_line(words, message):
    with pytest.raises(edsl.EdslError, match=message):
        executor(*words)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_ray_with_a_killed_worker_gives_the_serial_table(serial, tmp_path):
    pytest.importorskip("ray")
    from edsl.lab.executors.cluster import Cluster

    chosen = race("digits", SPECS, **BUDGET)
    record, cluster = open_record(chosen, tmp_path, False), Cluster(2, None, 0)
    killed: list[int] = []

    def kill_one():
        while not killed:
            for place in Path("/proc").glob("[0-9]*/cmdline"):
                with contextlib.suppress(OSError):
                    if b"ray::run_on_cluster" in place.read_bytes():
                        os.kill(int(place.parent.name), signal.SIGKILL)
                        killed.append(int(place.parent.name))
                        return
            time.sleep(0.02)

    killer = threading.Thread(target=kill_one, daemon=True)
    killer.start()
    found = run_to_end(chosen, record, ignore, cluster)
    killer.join(timeout=5)
    assert killed
    assert table(found) == serial
