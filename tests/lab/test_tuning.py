"""Learning rates: equal trials, beyond the edge, and the same whatever ends first."""

import math

import pytest

import edsl
from edsl.lab.executors.driver import run_to_end
from edsl.lab.races.build import open_record, race
from edsl.lab.races.learning_rate import learning_rates, scaled
from edsl.lab.races.race import TUNING_SEEDS_FROM
from edsl.lab.races.tuning.rates import best_factor, on_edge, round_of_factors
from edsl.lab.trials.trial import failed


def tuned(score, trials, tuner="grid"):
    """Every factor that a tuner tries on a function of it, in turn."""
    scores: dict[float, float] = {}
    while factors := round_of_factors(tuner, scores, trials):
        scores |= {factor: score(factor) for factor in factors}
    return scores


@pytest.mark.parametrize("trials", [1, 2, 5, 8, 12])
@pytest.mark.parametrize("tuner", ["grid", "tpe"])
def test_every_optimizer_gets_the_same_number_of_trials(tuner, trials):
    for best in (1e-4, 1.0, 40.0):
        scores = tuned(lambda factor, best=best: abs(math.log(factor / best)), trials, tuner)
        assert len(scores) == trials


@pytest.mark.parametrize("best", [3e-3, 0.04, 1.0, 7.0, 300.0])
def test_grid_finds_an_optimum_off_its_first_grid(best):
    scores = tuned(lambda factor: math.log(factor / best) ** 2, 12)
    assert not on_edge(scores)
    assert abs(math.log10(best_factor(scores) / best)) < 0.25


def test_grid_moves_away_from_divergence():
    scores = tuned(lambda factor: math.inf if factor > 0.01 else -math.log(factor), 10)
    assert best_factor(scores) <= 0.01
    assert math.isfinite(scores[best_factor(scores)])


def test_best_of_equals_is_the_smaller():
    assert best_factor({1.0: 2.0, 0.1: 2.0, 10.0: 3.0}) == 0.1


def test_every_route_has_its_own_learning_rate_and_all_are_scaled():
    emuon = edsl.parse("emuon(lr=0.02, other_lr=0.003)")
    assert learning_rates(emuon) == {"lr": 0.02, "other_lr": 0.003}
    assert learning_rates(scaled(emuon, 10)) == {"lr": 0.2, "other_lr": 0.03}
    assert learning_rates(edsl.parse("torch.AdamW")) == {"lr": 0.001}
    assert learning_rates(scaled(edsl.parse("torch.AdamW"), 2)) == {"lr": 0.002}


def answered(chosen, work, score):
    return {**failed(*work.key, "").record(), "status": "ok", "validation_loss": score, "test_loss": score}


@pytest.mark.parametrize("order", [1, -1])
def test_tuning_tries_the_same_whatever_ends_first(order):
    chosen = race("sine", ["sgd", "adam"], seeds=2, lr="auto", trials=8, tune_seeds=2)
    trials: dict = {}
    while works := list(chosen.ready(trials)):
        work = works[::order][0]
        (rate,) = learning_rates(edsl.parse(work.spec)).values()
        trials[work.key] = answered(chosen, work, abs(math.log(rate / 0.07)))
    assert len(trials) == chosen.planned
    for entrant in chosen.entrants:
        spec, edge, tried = chosen.chosen(entrant, trials)
        assert (edge, tried) == (False, 8)
        (rate,) = learning_rates(edsl.parse(spec)).values()
        assert 0.03 < rate < 0.2
    tuning = {spec for spec, seed in trials if seed >= TUNING_SEEDS_FROM}
    assert len(tuning) == 16


def test_tuning_uses_no_seed_of_the_final_trials():
    chosen = race("sine", ["sgd"], seeds=2, lr="auto", tune_seeds=3)
    seeds = {work.seed for work in chosen.ready({})}
    assert seeds == {0, 1, TUNING_SEEDS_FROM, TUNING_SEEDS_FROM + 1, TUNING_SEEDS_FROM + 2}


def test_a_diverged_learning_rate_is_never_chosen(tmp_path):
    chosen = race("digits", ["sgd(lr=0.5)"], steps=20, seeds=1, lr="1,4000", tune_seeds=1, metric="train")
    row = run_to_end(chosen, open_record(chosen, tmp_path, False), lambda _: None).rows[0]
    assert row.lr == {"lr": 0.5}
    assert row.lr_tried == 2
    assert row.ok == 1
    assert row.default == row.train_loss  # tuning chose the rate as given


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lr": "soon"}, "lr must be default, auto, or factors"),
        ({"lr": "1,-2"}, "lr must be default, auto, or factors"),
        ({"lr": "auto", "tuner": "luck"}, "tuner must be grid or tpe"),
        ({"lr": "auto", "trials": 0}, "trials must be at least 1"),
        ({"lr": "auto", "tune_seeds": 0}, "tune-seeds must be at least 1"),
        ({"schedule": "cosin"}, "did you mean 'cosine'"),
        ({"metric": "accuracy"}, "task sine has no accuracy"),
        ({"metric": "speed"}, "metric must be accuracy, loss or train"),
        ({"baseline": "lamb"}, "baseline 'lamb' is not in the race"),
        ({"seconds": -1.0}, "seconds must be more than 0"),
        ({"seconds": math.nan}, "seconds must be more than 0"),
        ({"steps": 3, "evaluations": 3}, "the budget is in epochs, steps, evaluations or seconds, got"),
    ],
)
def test_bad_settings_are_one_line_before_anything_runs(settings, message):
    with pytest.raises(edsl.EdslError, match=message) as error:
        race("sine", ["sgd"], **settings)
    assert "\n" not in str(error.value)
