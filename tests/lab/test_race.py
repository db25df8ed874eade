"""Races: fair, recorded as they run, and resumable."""

import json
import math
import os
import signal
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

import edsl
from edsl.lab.driver import run_to_end
from edsl.lab.race import open_record, race
from edsl.lab.record import Record
from edsl.lab.results import results
from edsl.lab.tasks import task
from edsl.lab.trial import Setting, batches, failed, fair_groups, run_trial

TIMES = ("step_ms", "optimizer_ms", "first_step_s", "seconds")


def ignore(_):
    pass


def rows_of(chosen, record, watch=ignore):
    """The rows of a race that is run to its end."""
    return run_to_end(chosen, record, watch).rows


def without_times(value):
    """A record without what depends on the clock."""
    if isinstance(value, dict):
        return {key: without_times(part) for key, part in value.items() if key not in TIMES}
    return [without_times(part) for part in value] if isinstance(value, (list, tuple)) else value


def trial(spec, name="digits", steps=20, seed=0, model="mlp", batch=64):
    return run_trial(task(name), Setting(name, model, batch, steps, "cpu", 1), spec, seed)


@pytest.mark.parametrize("name", ["digits", "sine", "cancer"])
def test_task_has_three_splits_and_models_that_train(name):
    chosen = task(name)
    data = chosen.data()
    sizes = [len(split.inputs) for split in data]
    assert sizes[0] > sizes[1] > 0
    assert all(len(split.inputs) == len(split.targets) for split in data)
    for model in chosen.models:
        result = trial("adam(lr=0.01)", name, model=model)
        assert result.status == "ok"
        assert result.train_loss < result.start_loss


def test_digits_splits_share_no_image_and_hold_every_digit():
    data = task("digits").data()
    rows = [tuple(image.flatten().tolist()) for split in data for image in split.inputs]
    assert len(rows) == 1797
    assert len(set(rows)) == len(rows)
    assert all(split.targets.unique().numel() == 10 for split in data)


def test_sine_is_the_papers_appendix_a():
    data = task("sine").data()
    assert len(data.train.inputs) == 32768
    assert (data.train.inputs.min() >= -10, data.train.inputs.max() <= 10) == (True, True)
    noise = data.train.targets - data.train.inputs.sin()
    assert abs(noise.std() - 0.1) < 0.002


def test_each_epoch_sees_each_full_batch_once_in_a_new_order():
    rows = batches(10, 4, seed=0)
    first, second = [torch.cat([next(rows), next(rows)]) for _ in range(2)]
    assert len(first.unique()) == 8
    assert not torch.equal(first, second)


def test_every_optimizer_sees_the_same_weights_and_batches():
    ours, theirs = trial("sgd(lr=0.1, momentum=0.9)"), trial("torch.SGD(lr=0.1, momentum=0.9)")
    assert ours.start_loss == theirs.start_loss
    for (_, a), (_, b) in zip(ours.curve, theirs.curve, strict=True):
        assert a == pytest.approx(b, rel=1e-4)


def test_same_seed_gives_the_same_trial_and_another_seed_another():
    first, again, other = trial("alto"), trial("alto"), trial("alto", seed=1)
    assert without_times(first.record()) == without_times(again.record())
    assert first.train_loss != other.train_loss


def test_diverged_and_failed_trials_are_reported_and_do_not_end_the_race(tmp_path):
    specs = ["sgd(lr=1000)", "torch.SparseAdam(lr=0.1)", "sgd(lr=0.1)"]
    chosen = race("digits", specs, steps=20, seeds=1)
    rows = rows_of(chosen, open_record(chosen, tmp_path, False), ignore)
    assert [(row.ok, row.diverged, row.failed) for row in rows] == [(0, 1, 0), (0, 0, 1), (1, 0, 0)]
    assert rows[0].train_loss is None
    assert "SparseAdam does not support dense gradients" in rows[1].reasons[0]
    assert rows[2].train_loss is not None
    for line in (tmp_path / "trials.jsonl").read_text().splitlines():
        json.loads(line, parse_constant=pytest.fail)  # no NaN, no Infinity


def test_the_distance_to_the_least_loss_is_told_where_that_is_known(tmp_path):
    known = race("quadratic", ["sgd(lr=0.001)"], steps=5, seeds=2)
    found = run_to_end(known, open_record(known, tmp_path / "known", False), lambda _: None).rows[0]
    assert found.suboptimality is not None
    assert found.train_loss is not None
    assert found.suboptimality.mean == pytest.approx(found.train_loss.mean - task("quadratic").optimum())
    assert found.suboptimality.mean > 0
    unknown = race("digits", ["sgd(lr=0.1)"], model="linear", steps=2, seeds=1)
    (row,) = run_to_end(unknown, open_record(unknown, tmp_path / "unknown", False), lambda _: None).rows
    assert row.suboptimality is None


def test_loss_above_its_start_counts_as_diverged():
    result = trial("sgd(lr=20)", steps=10)
    assert result.status == "diverged"
    assert not math.isnan(result.start_loss)


def test_second_run_into_the_same_folder_is_an_error_unless_resumed(tmp_path):
    chosen = race("digits", ["sgd"], steps=2, seeds=1)
    rows = rows_of(chosen, open_record(chosen, tmp_path, False), ignore)
    with pytest.raises(edsl.EdslError, match="--resume finishes it"):
        open_record(chosen, tmp_path, False)
    assert rows_of(chosen, open_record(chosen, tmp_path, True), pytest.fail) == rows


def test_folder_of_another_race_is_an_error_that_shows_the_difference(tmp_path):
    open_record(race("digits", ["sgd"], steps=2), tmp_path, False)
    with pytest.raises(edsl.EdslError, match="holds another race \\(budget 2 there, 3 here\\)"):
        open_record(race("digits", ["sgd"], steps=3), tmp_path, True)


def test_line_cut_short_by_a_kill_is_dropped_and_its_trial_runs_again(tmp_path):
    chosen = race("digits", ["sgd", "adam"], steps=2, seeds=2)
    undisturbed = rows_of(chosen, open_record(chosen, tmp_path / "a", False), ignore)
    record = open_record(chosen, tmp_path / "b", False)
    rows_of(chosen, record, ignore)
    file = tmp_path / "b" / "trials.jsonl"
    file.write_bytes(file.read_bytes()[:-100])
    resumed = open_record(chosen, tmp_path / "b", True)
    assert len(resumed.finished) == 3
    rows = rows_of(chosen, resumed, ignore)
    for row, expected in zip(rows, undisturbed, strict=True):
        assert (row.train_loss, row.test_loss, row.ok) == (expected.train_loss, expected.test_loss, expected.ok)


def test_damaged_record_is_an_error_that_names_the_line(tmp_path):
    chosen = race("digits", ["sgd"], steps=2, seeds=1)
    open_record(chosen, tmp_path, False)
    (tmp_path / "trials.jsonl").write_text("rubbish\n")
    with pytest.raises(edsl.EdslError, match="line 1 is not JSON"):
        open_record(chosen, tmp_path, True)
    (tmp_path / "race.json").write_text("rubbish")
    with pytest.raises(edsl.EdslError, match="is not JSON"):
        open_record(chosen, tmp_path, True)


def test_killed_race_loses_at_most_the_trial_in_flight(tmp_path):
    program = f"""
from pathlib import Path
from edsl.lab.driver import run_to_end
from edsl.lab.race import open_record, race
chosen = race("digits", ["sgd", "torch.Adam()"], steps=100, seeds=3)
record = open_record(chosen, Path({str(tmp_path / "killed")!r}), False)
run_to_end(chosen, record, lambda p: print(p.done + 1, flush=True))
"""
    child = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    for line in child.stdout:
        if line.strip() == "4":
            os.kill(child.pid, signal.SIGKILL)
            break
    child.communicate()
    chosen = race("digits", ["sgd", "torch.Adam()"], steps=100, seeds=3)
    record = open_record(chosen, tmp_path / "killed", True)
    assert len(record.finished) >= 3
    rows = rows_of(chosen, record, ignore)
    undisturbed = rows_of(chosen, open_record(chosen, tmp_path / "whole", False), ignore)
    for row, expected in zip(rows, undisturbed, strict=True):
        assert (row.train_loss, row.test_accuracy) == (expected.train_loss, expected.test_accuracy)


def finished(spec, seed, loss, status="ok"):
    """A trial's record with these figures."""
    record = failed(spec, seed, "").record()
    figures = dict.fromkeys(
        ("test_loss", "test_accuracy", "step_ms", "optimizer_ms", "first_step_s", "state_bytes"), 1.0
    )
    return {**record, **figures, "status": status, "train_loss": loss}


def test_results_are_mean_and_sample_standard_deviation():
    chosen = race("digits", ["sgd"], steps=2, seeds=3)
    spec = chosen.entrants[0].spec
    trials = [finished(spec, 0, 1.0), finished(spec, 1, 3.0), finished(spec, 2, 99.0, "diverged")]
    stray = finished(spec, 9, 77.0)
    row = results(chosen, [*trials, trials[0], stray]).rows[0]
    assert row.train_loss is not None
    assert row.train_loss.mean == 2
    assert row.train_loss.sd == pytest.approx(math.sqrt(2))
    assert (row.ok, row.diverged) == (2, 1)


def test_unwritable_folder_is_an_error_before_anything_runs(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(edsl.EdslError, match="can't write results"):
        Record(tmp_path / "file" / "race", {}, False)


@pytest.mark.parametrize("line", ["null", "3", "{}", "[]", '{"spec": "sgd"}', "NaN", "[" * 5000])
def test_line_that_is_no_trial_is_an_error_that_names_it(line, tmp_path):
    chosen = race("digits", ["sgd"], steps=2, seeds=1)
    open_record(chosen, tmp_path, False)
    (tmp_path / "trials.jsonl").write_text(line + "\n")
    with pytest.raises(edsl.EdslError, match="line 1 is not"):
        open_record(chosen, tmp_path, True)


def test_two_processes_can_not_run_one_race(tmp_path):
    chosen = race("digits", ["sgd"], steps=2, seeds=1)
    first, second = open_record(chosen, tmp_path, False), open_record(chosen, tmp_path, True)
    with first.locked(), pytest.raises(edsl.EdslError, match="another process is running the race"):
        rows_of(chosen, second, ignore)
    assert rows_of(chosen, second, ignore)[0].ok == 1
    assert rows_of(chosen, first, pytest.fail)[0].ok == 1  # it sees what the other one wrote


def test_no_optimizer_decays_what_another_leaves_out():
    model = task("digits").models["cnn"]()
    groups = fair_groups(edsl.parse("torch.AdamW(lr=0.1, weight_decay=0.5)"), model)
    spared = edsl.compile("adamw", model).param_groups[0]["exclude"]
    named = dict(model.named_parameters())
    assert groups[1]["weight_decay"] == 0
    assert {id(p) for p in groups[1]["params"]} == {id(named[name]) for name in spared}
    assert sum(len(group["params"]) for group in groups) == len(named)
    ours, theirs = trial("adamw(lr=0.01, weight_decay=1)"), trial("torch.AdamW(lr=0.01, weight_decay=1)")
    assert ours.train_loss == pytest.approx(theirs.train_loss, rel=1e-3)


def test_optimizer_that_refuses_the_parameters_is_a_failed_trial():
    result = trial("torch.Muon(lr=0.1)")
    assert result.status == "failed"
    assert "Muon only supports 2D" in result.reason


def test_a_pipeline_that_cannot_take_the_model_is_refused_before_anything_runs():
    with pytest.raises(edsl.EdslError, match=r"muon takes matrices .* 1\.bias"):
        race("digits", ["adamw(lr=0.003)", "muon"], steps=2, seeds=1)


def test_steps_of_an_accumulation_are_optimizer_steps():
    setting = Setting("digits", "linear", 64, 3, "cpu", 1)
    trial = run_trial(task("digits"), setting, "grad(accumulate=4) | sgd(lr=0.1)", seed=0)
    whole = run_trial(task("digits"), replace(setting, batch=256), "sgd(lr=0.1)", seed=0)
    assert trial.steps == whole.steps == 3
    assert trial.train_loss == pytest.approx(whole.train_loss, abs=0.01)


def test_all_optimizers_take_one_seed_before_the_next():
    chosen = race("digits", ["sgd", "adam", "lamb"], steps=2, seeds=3)
    trials: dict = {}
    order = []
    while works := list(chosen.ready(trials)):
        order.append(works[0].seed)
        trials[works[0].key] = {}
    assert order == [0, 0, 0, 1, 1, 1, 2, 2, 2]
