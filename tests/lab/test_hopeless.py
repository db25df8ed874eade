"""Tuning trials that are stopped early: by one rule for all, and the same in any order, in processes, and resumed."""

import math
from itertools import accumulate
from statistics import median

import pytest
from shell import run

import edsl
from edsl.cli.templates.task import task as circle
from edsl.lab.executors.driver import run_to_end
from edsl.lab.executors.engines import executor
from edsl.lab.races.build import open_record, race
from edsl.lab.trials.hopeless import FEWEST, GRACE, Bar, bar
from edsl.lab.trials.trial import CHECKPOINTS

SPACE = "lr=log(1e-3,10), momentum=(0,.99)"
ASKED = {"tune": SPACE, "trials": 16, "tuner": "quasi", "tune_seeds": 1, "seeds": 1, "steps": 24, "prune": True}


MORE = ("prune", "tuner", "tune_seeds")


def trial(values, status="ok", key="validation_loss"):
    return {"status": status, "checkpoints": [{key: None}, *({key: value} for value in values)]}


def test_the_bar_is_the_median_of_the_running_means():
    curves = [[9, 8, 7, 6], [5, 4, 3, 2], [1, 1, 1, 1], [4, 8, 4, 8]]
    found = bar("loss", [trial(curve) for curve in curves])
    means = [[total / (place + 1) for place, total in enumerate(accumulate(curve))] for curve in curves]
    assert found is not None
    assert found.values == (math.inf, *(median(column) for column in zip(*means)))
    assert bar("loss", [trial(curve) for curve in curves[: FEWEST - 1]]) is None
    assert bar("loss", [trial(curves[0], "diverged")] * 9) is None
    accurate = bar("accuracy", [trial(curve, key="accuracy") for curve in curves])
    assert accurate is not None
    assert accurate.values[1:] == tuple(-median(column) for column in zip(*means))


def test_a_trial_is_stopped_by_its_best_value_after_a_quarter_and_never_at_its_end():
    height = Bar("loss", (math.inf, *[1.0] * CHECKPOINTS))
    bad, mended = [2.0] * CHECKPOINTS, [2.0, 0.9, *[2.0] * (CHECKPOINTS - 2)]
    missed = [height.is_missed(trial(bad[:count])["checkpoints"]) for count in range(CHECKPOINTS + 1)]
    assert missed == [False] * GRACE + [True] * (CHECKPOINTS - GRACE) + [False]
    assert not any(height.is_missed(trial(mended[:count])["checkpoints"]) for count in range(CHECKPOINTS + 1))
    assert height.is_missed(trial([math.nan] * GRACE)["checkpoints"])


def test_all_optimizers_get_the_same_trials_and_the_rest_is_saved_by_one_rule(tmp_path):
    specs = ["sgd(lr=0.1, momentum=0.9)", "torch.SGD(lr=0.5, momentum=0.1)"]
    whole = edsl.compare(specs, task=circle, out=tmp_path / "a", **_asked({**ASKED, "prune": False}))
    found = edsl.compare(specs, task=circle, out=tmp_path / "b", **_asked(ASKED))
    for one, other in zip(found.results.rows, whole.results.rows):
        assert one.lr_tried == other.lr_tried == ASKED["trials"]
        assert other.tuning_steps > 0.8 * ASKED["trials"] * ASKED["steps"]  # some diverge
        stopped = [t for t in _of(found, one) if t["status"] == "stopped"]
        assert (one.tuning_stopped, one.tuning_steps) == (len(stopped), sum(t["steps"] for t in _of(found, one)))
        assert one.tuning_stopped >= 2
        assert one.tuning_steps < other.tuning_steps
        assert one.lr == other.lr  # what is hopeless is not chosen
    again = edsl.compare(specs, task=circle, out=tmp_path / "b", resume=True, **_asked(ASKED))
    assert again.finished == found.finished
    page = again.report().read_text()
    assert "the median of the running means" in page
    assert "stopped)" in page


def _asked(settings):
    own = {name: value for name, value in settings.items() if name not in MORE}
    return {**own, "controls": False, "more": {name: settings[name] for name in MORE}}


def _of(found, row):
    """The tuning trials of a row."""
    entrant = next(one for one in found.race.entrants if one.name == row.name)
    trials = {(t["spec"], t["seed"]): t for t in found.finished}
    scores = found.race.tuned(entrant, trials)[0]
    return [trials[work.key] for factor in scores for work in found.race.tuning_work(entrant, factor)]


@pytest.mark.slow
def test_processes_stop_the_same_trials_as_a_serial_race(tmp_path):
    chosen = race(circle, ["sgd(momentum=0.5)", "torch.SGD(lr=0.1, momentum=0.9)"], **ASKED)

    def told(name, runner):
        record = open_record(chosen, tmp_path / name, False)
        run_to_end(chosen, record, lambda _: None, runner)
        return {(t["spec"], t["seed"]): (t["status"], t["steps"], t["train_loss"]) for t in record.finished}

    serial = told("a", None)
    assert serial == told("b", executor("local", 2))
    assert any(status == "stopped" for status, *_ in serial.values())


def test_what_would_do_nothing_is_refused():
    for words in (("--prune",), ("--prune", "--lr", "0.1,1")):
        code, _, err = run("compare", "sgd", "--task", "sine", *words)
        assert (code, err) == (2, "edsl: --prune has no effect without --lr auto, or --tune\n")
