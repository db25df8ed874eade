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
from edsl.lab.executors.driver import run_to_end
from edsl.lab.races.build import open_record, race
from edsl.lab.races.record import Record, read_configuration
from edsl.lab.report import conclusions
from edsl.lab.results.result_tables import outcomes, reading
from edsl.lab.results.results import results, together
from edsl.lab.tasks.catalogue import task
from edsl.lab.trials.run import run_trial
from edsl.lab.trials.setting import Setting
from edsl.lab.trials.training import batches, fair_groups
from edsl.lab.trials.trial import failed

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
    with pytest.raises(edsl.EdslError, match="continue it with --resume"):
        open_record(chosen, tmp_path, False)
    assert rows_of(chosen, open_record(chosen, tmp_path, True), pytest.fail) == rows


def test_folder_of_another_race_is_an_error_that_shows_the_difference(tmp_path):
    open_record(race("digits", ["sgd"], steps=2), tmp_path, False)
    with pytest.raises(edsl.EdslError, match="holds another race \\(budget 2 in the record, 3 here\\)"):
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
from edsl.lab.executors.driver import run_to_end
from edsl.lab.races.build import open_record, race
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


def ends(chosen, accuracies):
    """A record of final trials whose test accuracies are these, by entrant; None for one that diverged."""
    return [
        {
            **finished(entrant.spec, seed, 1.0, "diverged" if end is None else "ok"),
            "test_accuracy": end,
            "test_examples": 270,
        }
        for entrant in chosen.entrants
        for seed, end in enumerate(accuracies[entrant.name])
    ]


def test_the_flagship_race_reads_es_sentence_from_both_controls():
    chosen = race("digits", ["alto", "lamb"], seeds=5, controls=True, steps=2)
    better, worse = [0.90, 0.91, 0.92, 0.90, 0.93], [0.80, 0.80, 0.83, 0.80, 0.83]
    for ends_of, said in {
        (0, 1, 1): "It helps beyond another momentum.",
        (0, 1, 0): "What it gains over its base, another momentum may gain too.",
        (0, 0, 1): "It is better than its twin, but no gain over its base is shown.",
        (1, 0, 1): "It is worse with E than without.",
    }.items():
        names = ("alto", "lamb", "alto, twin")
        values = {name: (better, worse)[end] for name, end in zip(names, ends_of)}
        found = results(chosen, ends(chosen, values))
        (sentence,) = conclusions.effects_of_e(chosen, found)
        assert sentence.startswith("E in alto, against the same without E, lamb: ")
        assert "against its twin: " in sentence
        assert sentence.endswith(said)
        assert not [doubt for doubt in conclusions.doubts(chosen, found) if "twin" in doubt or "without E" in doubt]


def test_an_e_without_a_twin_is_not_said_to_lack_its_controls():
    chosen = race("digits", ["elion"], seeds=3, controls=True, steps=2)
    found = results(chosen, [])
    said = " ".join(conclusions.doubts(chosen, found))
    assert "elion has no linear twin (lion averages no gradients here: it has no momentum that could be slower)" in said
    assert "did not run" not in said
    alone = race("digits", ["eadam"], seeds=3, steps=2)
    said = " ".join(conclusions.doubts(alone, results(alone, [])))
    assert "eadam did not run without E, so" in said
    assert "The linear twin of eadam did not run" in said


def test_two_seeds_that_differ_by_one_image_have_no_winner():
    chosen = race("digits", ["sgd", "adam"], seeds=2, steps=2)
    found = results(chosen, ends(chosen, {"sgd": [262 / 270, 250 / 270], "adam": [263 / 270, 251 / 270]}))
    assert found.rows[1].effects[0].verdict == "not comparable"
    assert found.verdicts == 0
    assert "with fewer than 3 seeds nothing is compared: give --seeds 5 or more" in reading(chosen, found)


def test_verdicts_of_a_race_are_family_wise_beside():
    specs = ["sgd", *(f"sgd(lr={lr})" for lr in (0.1, 0.2, 0.3, 0.4))]
    chosen = race("digits", specs, seeds=5, steps=2)
    alike = [0.90, 0.91, 0.92, 0.90, 0.93]
    lead = [one + step / 270 for one, step in zip(alike, (3, 1, 4, 1, 5))]  # p = 0.021
    values = {**dict.fromkeys(specs, alike), "sgd(lr=0.1)": lead, "sgd(lr=0.2)": [one + 0.05 for one in lead]}
    found = results(chosen, ends(chosen, values))
    said = {row.name: (row.effects[0].verdict, row.effects[0].family_wise) for row in found.rows[1:]}
    assert said["sgd(lr=0.1)"] == ("better", "no difference shown")
    assert said["sgd(lr=0.2)"] == ("better", "better")
    assert said["sgd(lr=0.3)"] == ("no difference shown", "no difference shown")
    assert found.verdicts == 4
    assert "family-wise\n(Holm)" in outcomes(chosen, found).titles


def test_several_races_on_one_page_are_one_family():
    alike = [0.90, 0.91, 0.92, 0.90, 0.93]
    lead = [one + step / 270 for one, step in zip(alike, (3, 1, 4, 1, 5))]  # p = 0.021
    races = [race("digits", ["sgd", "adam"], model=model, seeds=5, steps=2) for model in ("linear", "mlp", "cnn")]
    found = [(chosen, results(chosen, ends(chosen, {"sgd": alike, "adam": lead}))) for chosen in races]
    assert [one.rows[1].effects[0].family_wise for _, one in found] == ["better"] * 3
    page = together(found)
    assert [one.rows[1].effects[0].verdict for one in page] == ["better"] * 3
    assert [one.rows[1].effects[0].family_wise for one in page] == ["no difference shown"] * 3
    assert [one.verdicts for one in page] == [3] * 3


def test_an_optimizer_whose_trials_failed_is_judged_by_ranks_or_not_at_all():
    chosen = race("digits", ["sgd", "adam"], seeds=8, steps=2)
    well, badly = [0.9 + step / 270 for step in range(8)], [0.8] * 6 + [None, None]
    effect = results(chosen, ends(chosen, {"sgd": well, "adam": badly})).rows[1].effects[0]
    assert (effect.verdict, effect.interval.method, effect.interval.low) == ("worse", "signed ranks", None)
    fewer = race("digits", ["sgd", "adam"], seeds=5, steps=2)
    effect = results(fewer, ends(fewer, {"sgd": well[:5], "adam": [None] * 5})).rows[1].effects[0]
    assert effect.verdict == "not comparable: trials that diverged or failed: 5 here"


def test_a_resumed_race_takes_more_seeds_and_nothing_else(tmp_path):
    fewer, more = (race("digits", ["sgd", "adam"], steps=2, seeds=seeds) for seeds in (1, 3))
    rows_of(fewer, open_record(fewer, tmp_path / "a", False))
    record = open_record(more, tmp_path / "a", True)
    assert read_configuration(tmp_path / "a")["seeds"] == 1  # until it runs
    extended = rows_of(more, record)
    assert read_configuration(tmp_path / "a")["seeds"] == 3
    at_once = rows_of(more, open_record(more, tmp_path / "b", False))
    assert [row.test_loss for row in extended] == [row.test_loss for row in at_once]
    with pytest.raises(edsl.EdslError, match=r"holds another race \(seeds 3 in the record, 1 here\)"):
        open_record(fewer, tmp_path / "a", True)
    with pytest.raises(edsl.EdslError, match="holds another race"):
        open_record(race("digits", ["sgd"], steps=2, seeds=9), tmp_path / "a", True)


def test_accuracies_are_whole_counts_of_examples():
    result = trial("sgd(lr=0.1)")
    assert result.test_examples == 270
    assert result.test_accuracy is not None
    assert result.test_accuracy * 270 == round(result.test_accuracy * 270)


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
    assert {id(p) for _, p in groups[1]["params"]} == {id(named[name]) for name in spared}
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
