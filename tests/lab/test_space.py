"""Hyper-parameters tuned together: equal trials, a known best found, and the same whatever ends first."""

import math
from statistics import median

import numpy as np
import pytest
import torch
from shell import run

import edsl
from edsl.lab.races.build import race
from edsl.lab.races.tuning.space import next_candidates, on_edge, read_space, sensitivities
from edsl.lab.trials.trial import failed

pytest.importorskip("optuna")
HERE = [
    "gp",
    "tpe",
    "quasi",
    pytest.param(
        "cmaes", marks=pytest.mark.skipif(not __import__("importlib").util.find_spec("cmaes"), reason="needs cmaes")
    ),
]
CONDITION = 100.0
BEST = (math.sqrt(CONDITION) - 1) / (math.sqrt(CONDITION) + 1)  # Polyak's contraction per step, at its lr and momentum


def contraction(lr, momentum, condition=CONDITION):
    """The spectral radius of heavy ball, θ ← θ − lr g + momentum (θ − θ′), on curvatures 1 and 1/condition."""
    roots = [
        np.linalg.eigvals(np.array([[1 + momentum - lr * h, -momentum], [1.0, 0.0]])) for h in (1.0, 1 / condition)
    ]
    return max(float(np.abs(root).max()) for root in roots)


def tuned(sampler, space, score, trials, own=None, accepts=lambda _: True):
    scores: dict = {}
    while found := next_candidates(sampler, space, own or {}, scores, trials, accepts):
        scores |= {candidate: score(**dict(candidate)) for candidate in found}
    return scores


@pytest.mark.parametrize("trials", [1, 5, 24])
@pytest.mark.parametrize("sampler", HERE)
def test_every_optimizer_gets_the_same_number_of_trials(sampler, trials):
    space = read_space("lr=log(1e-4,1), beta2=(.8,.99)")
    for best in (1e-3, 0.3):
        for own in ({}, {"lr": 0.01, "beta2": 0.9}):
            scores = tuned(sampler, space, lambda lr, beta2, best=best: math.log(lr / best) ** 2, trials, own)
            assert len(scores) == trials


def test_the_best_of_polyaks_heavy_ball_is_known():
    lr, momentum = (2 / (1 + math.sqrt(1 / CONDITION))) ** 2, BEST**2
    assert contraction(lr, momentum) == pytest.approx(BEST, abs=1e-3)


STARTS = [{}, {"lr": 0.1, "momentum": 0.9}, {"lr": 0.03, "momentum": 0.5}, {"lr": 1.0, "momentum": 0.0}]
STARTS += [{"lr": 0.3, "momentum": 0.95}, {"lr": 0.02, "momentum": 0.8}, {"lr": 0.5, "momentum": 0.3}]


def excess(sampler, condition, own, box="lr=log(1e-2,10), momentum=(0,.99)"):
    """By how much 24 trials miss the best contraction, relative to it."""

    def score(lr, momentum):
        found = contraction(lr, momentum, condition)
        return math.inf if found >= 1 else found

    scores = tuned(sampler, read_space(box), score, 24, own)
    assert len(scores) == 24
    return min(scores.values()) * (math.sqrt(condition) + 1) / (math.sqrt(condition) - 1) - 1


def test_joint_tuning_finds_a_contraction_at_most_a_tenth_worse_than_the_best_within_24_trials():
    assert max(excess("gp", 100, own) for own in STARTS[1:4]) <= 0.1


@pytest.mark.slow
@pytest.mark.parametrize(("condition", "most", "middle"), [(10, 0.25, 0.1), (30, 0.2, 0.07), (100, 0.15, 0.06)])
def test_a_gaussian_process_comes_near_the_best_from_any_start_and_nearer_than_tpe(condition, most, middle):
    """The optimum is the narrower the smaller the condition: at 10 a tenth holds for 0.12 % of the box."""
    boxes = ["lr=log(1e-2,10), momentum=(0,.99)", "lr=log(1e-3,10), momentum=(0,.99)"]
    found = {s: [excess(s, condition, own, box) for own in STARTS for box in boxes] for s in ("gp", "tpe")}
    assert max(found["gp"]) <= most
    assert median(found["gp"]) <= middle
    assert median(found["gp"]) < median(found["tpe"])


def bowl():
    """Half of Σ h θ², with h from 1/100 to 1, as a task: its loss after k steps contracts by the rate's 2k-th power."""

    class Bowl(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.theta = torch.nn.Parameter(torch.ones(2))

        def forward(self, curvatures):
            return curvatures * self.theta.square() / 2

    rows = torch.tensor([[1.0, 1 / CONDITION]])
    return edsl.Task(
        data=((rows, rows), (rows, rows), (rows, rows)), models=Bowl, loss=lambda o, _: o.sum(), batch=1, steps=60
    )


def test_a_race_tunes_rate_and_momentum_together_for_all(tmp_path):
    asked = {"tune": "lr=log(1e-2,10), momentum=(0,.99), beta2=(0,.99)", "trials": 24, "more": {"tune_seeds": 1}}
    asked |= {"task": bowl(), "seeds": 1, "out": tmp_path}
    found = edsl.compare(["sgd(lr=0.1, momentum=0.9)", "adam(lr=0.1)"], **asked)
    sgd, adam = found.results.rows
    assert (sgd.lr_tried, adam.lr_tried) == (24, 24)
    assert (set(sgd.lr), set(adam.lr)) == ({"lr", "momentum"}, {"lr", "beta2"})
    assert sgd.train_loss is not None
    assert (sgd.train_loss.mean / (0.5 * (1 + 1 / CONDITION))) ** (1 / 120) <= 1.1 * BEST
    assert set(sgd.sensitivity) == {"lr", "momentum"}
    assert sum(sgd.sensitivity.values()) == pytest.approx(1)
    again = edsl.compare(["sgd(lr=0.1, momentum=0.9)", "adam(lr=0.1)"], **asked, resume=True)
    assert again.finished == found.finished  # nothing runs twice
    assert found.report().exists()
    assert (tmp_path / "space.png").exists()


@pytest.mark.parametrize("order", [1, -1])
def test_joint_tuning_tries_the_same_whatever_ends_first(order):
    chosen = race(
        "sine", ["sgd", "adam"], seeds=2, tune="lr=log(1e-4,1), weight_decay=log(1e-6,1)", trials=10, tune_seeds=2
    )
    trials: dict = {}
    while works := list(chosen.ready(trials)):
        work = works[::order][0]
        rate = edsl.parse(work.spec).hyperparameters["lr"]
        score = abs(math.log(rate / 0.07))
        trials[work.key] = {
            **failed(*work.key, "").record(),
            "status": "ok",
            "validation_loss": score,
            "test_loss": score,
        }
    assert len(trials) == chosen.planned
    assert [chosen.chosen(entrant, trials) for entrant in chosen.entrants] == EXPECTED.setdefault(
        "chosen", [chosen.chosen(entrant, trials) for entrant in chosen.entrants]
    )


EXPECTED: dict = {}


def test_what_the_language_refuses_costs_no_trial():
    chosen = race("digits", ["eadam"], tune="alpha=(-200,0), beta1=(.5,.99)", trials=12, tune_seeds=1, seeds=1)
    (entrant,) = chosen.entrants
    trials: dict = {}
    while works := [work for work in chosen.ready(trials) if work.seed >= 1_000_000]:
        for work in works:
            trials[work.key] = {**failed(*work.key, "").record(), "status": "ok", "validation_accuracy": 0.5}
    scores, missing = chosen.tuned(entrant, trials)
    assert (len(scores), missing) == (12, [])


def test_dimensions_map_shares_to_values_and_back():
    text = "a=log(1e-4,1), b=(.8,.99), c=int(1,10), d={False,True}, e=decay(.9,.9999)"
    log, linear, whole, words, decay = read_space(text)
    assert [decay.at(0.0), decay.at(1 / 3), decay.at(2 / 3), decay.at(1.0)] == [0.9, 0.99, 0.999, 0.9999]
    assert [log.at(0.0), log.at(0.5), log.at(1.0)] == [1e-4, 0.01, 1.0]
    assert [whole.at(0.0), whole.at(0.999), whole.at(1.0)] == [1, 10, 10]
    assert [words.at(0.2), words.at(1.0)] == [False, True]
    for dimension in (log, linear, whole, words, decay):
        for share in (0.1, 0.5, 0.9):
            back = dimension.share(dimension.at(share))
            assert back is not None
            assert dimension.at(back) == dimension.at(share)
    assert log.share(2.0) is None
    assert read_space(", ".join(map(str, (log, linear, whole, words, decay)))) == (log, linear, whole, words, decay)


def test_the_end_of_a_range_is_told():
    space = read_space("lr=log(1e-4,1), beta2=(.8,.99)")
    assert on_edge(space, (("lr", 0.95), ("beta2", 0.9))) == ["lr"]
    assert on_edge(space, (("lr", 0.01), ("beta2", 0.9))) == []


def test_sensitivity_finds_what_matters():
    space = read_space("a=(0,1), b=(0,1)")
    scores = tuned("quasi", space, lambda a, b: (a - 0.3) ** 2 + 0.01 * b, 24)
    found = sensitivities(space, scores)
    assert found["a"] > 0.8
    assert sensitivities(space, dict(list(scores.items())[:5])) == {}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tune": "lr"}, "--tune takes NAME=RANGE, … with ranges such as"),
        ({"tune": "lr=(1,0)"}, "a range goes from a number to a larger one"),
        ({"tune": "lr=log(0,1)"}, "a range on a log scale begins above 0"),
        ({"tune": "lr=decay(.9,1)"}, "a range of decays ends below 1, got decay(.9,1)"),
        ({"tune": "lr=(1,2,3)"}, "a range is two numbers"),
        ({"tune": "lr=(a,b)"}, "a range is two numbers"),
        ({"tune": "lr=int(1,2.5)"}, "ends in whole numbers"),
        ({"tune": "lr={1}"}, "give two different options or more"),
        ({"tune": "lr=(0,1), lr=(0,2)"}, "takes each hyper-parameter once, got lr, lr"),
        ({"tune": "momentun=(0,.9)"}, "no optimizer here has 'momentun'; did you mean 'momentum'?"),
        ({"tune": "alpha=(0,.9)"}, "no optimizer here has 'alpha'"),
        ({"tune": "momentum=(0,.9)", "specs": ["sgd", "adam"]}, "adam has none of momentum; known: lr, beta2"),
        ({"tune": "lr=(.1,.9)", "lr": "auto"}, "give --tune or --lr auto, not both"),
        ({"tune": "lr=(.1,.9)", "tuner": "grid"}, "with --tune, the tuner must be gp, tpe, quasi or cmaes"),
        ({"tune": "lr=(.1,.9)", "trials": 0}, "trials must be at least 1"),
    ],
)
def test_bad_spaces_are_one_line_before_anything_runs(settings, message):
    with pytest.raises(edsl.EdslError) as raised:
        race("sine", settings.pop("specs", ["sgd"]), **settings)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_the_command_tunes_together_and_resumes(tmp_path):
    tune = "lr=log(1e-3,1), momentum=(0,.9)"
    words = ("--model", "linear", "--steps", "5", "--seeds", "1", "--tune-seeds", "1", "--trials", "5", "--jobs", "1")
    out = ("--out", str(tmp_path / "r"))
    code, told, err = run("compare", "sgd", "torch.SGD(lr=0.1)", "--task", "digits", "--tune", tune, *words, *out)
    assert code == 0, err
    assert "lr, momentum tuned (gp, 5 tried on 1 other seed)" in told
    code, _, err = run("compare", "--resume", "--tune", "lr=(0,1)", *out)
    assert code == 2
    assert "was begun with --tune lr=log(0.001,1), momentum=(0,0.9) instead of lr=(0,1)" in err
    code, _, err = run("compare", "sgd", "--task", "digits", "--trials", "5")
    assert (code, err) == (2, "edsl: --trials has no effect without --lr auto, or --tune\n")
