"""Races that may stop early: their verdicts keep their error, seeds are saved, and how many more would show what."""

import json
import math

import numpy as np
import pytest
from shell import run

import edsl
from edsl.lab.executors.driver import run_until_decided
from edsl.lab.executors.serial import Serial
from edsl.lab.races.build import looks_to, open_record, race
from edsl.lab.results.sequential import nominal_level, over_looks, seeds_to_show
from edsl.lab.results.statistics import compared, paired

LOOKS = looks_to(20)


def draw_gaussian(generator, n, shift):
    return generator.normal(shift, 1, n), None


def draw_counts(generator, n, shift):
    """Differences of accuracies over 270 images, near the ceiling."""
    return (generator.binomial(270, min(0.97 + shift / 100, 1), n) - generator.binomial(270, 0.97, n)) / 270, 1 / 270


def draw_skewed(generator, n, shift):
    return generator.exponential(1, n) - generator.exponential(1, n) + shift, None


def stopped(draw, generator, shift=0.0):
    """(the seeds at which a race stops, whether it names a winner)."""
    differences, resolution = draw(generator, LOOKS[-1], shift)
    for look in LOOKS:
        found = over_looks(paired(differences[:look], resolution=resolution or 0.0), LOOKS)
        if found.decides:
            return look, True
    return LOOKS[-1], False


def winners(draw, races, seed=0):
    generator = np.random.default_rng(seed)
    return np.mean([stopped(draw, generator)[1] for _ in range(races)])


@pytest.mark.parametrize("draw", [draw_gaussian, draw_counts, draw_skewed])
def test_alike_optimizers_have_a_winner_in_few_of_a_sample_of_races_that_may_stop(draw):
    assert winners(draw, 200) <= 0.06 + 2.6 * math.sqrt(0.06 * 0.94 / 200)


@pytest.mark.slow
@pytest.mark.parametrize("draw", [draw_gaussian, draw_counts, draw_skewed])
def test_alike_optimizers_have_a_winner_in_at_most_6_percent_of_2000_races_that_may_stop(draw):
    assert winners(draw, 2000) <= 0.06


def test_looking_without_a_correction_would_not_keep_the_error():
    generator = np.random.default_rng(0)
    drawn = [generator.normal(0, 1, LOOKS[-1]) for _ in range(400)]
    named = np.mean([any(paired(values[:look]).decides for look in LOOKS) for values in drawn])
    assert named > 0.1


def test_a_large_difference_stops_early_and_a_missing_one_does_not():
    generator = np.random.default_rng(0)
    large = [stopped(draw_gaussian, generator, 2.5)[0] for _ in range(50)]
    none = [stopped(draw_gaussian, generator)[0] for _ in range(50)]
    assert np.mean(large) < 8
    assert np.mean(none) > 19


def test_p_interval_and_verdict_agree():
    generator = np.random.default_rng(0)
    for _ in range(300):
        found = over_looks(paired(generator.normal(0.8, 1, 8)), LOOKS)
        assert found.low is not None
        assert found.high is not None
        assert found.decides == (not found.low <= 0 <= found.high)


def test_one_look_is_no_correction_and_more_looks_correct_more():
    plain = paired([0.3, 0.1, 0.4, 0.2, 0.25])
    once = over_looks(plain, (5,))
    assert once.p == pytest.approx(plain.p, rel=0.1)
    assert over_looks(plain, ()) == plain
    assert nominal_level((5,)) == pytest.approx(0.05, abs=0.003)
    assert nominal_level((5, 10)) > nominal_level((5, 10, 15)) > nominal_level((5, 10, 15, 20)) > 0.0125


def test_signed_ranks_are_corrected_by_the_number_of_looks():
    ours = [0.9, 0.91, 0.92, 0.93, 0.94, 0.95, 0.96, 0.97]
    plain = compared(ours, [*[value - 0.01 * place for place, value in enumerate(ours[:-1], 1)], None], True)
    assert plain.method == "signed ranks"
    assert plain.p is not None
    assert over_looks(plain, LOOKS).p == pytest.approx(4 * plain.p)


@pytest.mark.parametrize(
    ("most", "looks"), [(6, (5, 6)), (8, (5, 8)), (12, (5, 8, 12)), (20, (5, 8, 12, 20)), (30, (5, 8, 12, 18, 30))]
)
def test_looks_grow_and_end_at_the_most(most, looks):
    assert looks_to(most) == looks


@pytest.mark.parametrize(("sd", "difference"), [(1.0, 1.0), (1.0, 0.5), (2.0, 3.0)])
def test_so_many_seeds_show_a_difference_eight_times_in_ten(sd, difference):
    needed = seeds_to_show(sd, difference)
    assert needed is not None
    generator = np.random.default_rng(0)

    def shown(n):
        return np.mean([paired(generator.normal(difference, sd, n)).decides for _ in range(1500)])

    assert shown(needed) == pytest.approx(0.8, abs=0.045)
    assert shown(max(3, needed - 3)) < shown(needed + 3)


def test_more_seeds_than_anyone_has_are_none():
    assert seeds_to_show(1.0, 1e-6) is None
    assert seeds_to_show(0.0, 1.0) is None


def settled(chosen, folder):
    return run_until_decided(chosen, open_record(chosen, folder, False), Serial(), lambda _: None, Serial)


def test_a_race_stops_at_the_first_look_that_decides_and_resumes_to_the_same(tmp_path):
    chosen = race("digits", ["adam(lr=0.003)", "sgd(lr=1e-5)"], model="linear", steps=15, seeds=12, stop_early=True)
    ended, record = settled(chosen, tmp_path)
    assert (ended.seeds, len(record.finished)) == (5, 10)
    again = edsl.compare(
        ["adam(lr=0.003)", "sgd(lr=1e-5)"], task="digits", model="linear", steps=15, seeds=12, stop_early=True,
        out=tmp_path, resume=True,
    )  # fmt: skip
    assert list(again.finished) == record.finished
    assert again.results.rows[1].effects[0].family_wise == "worse"


def test_a_race_without_a_difference_goes_on_to_its_last_seed(tmp_path):
    chosen = race("digits", ["adam(lr=0.003)", "adam(lr=0.0031)"], model="linear", steps=2, seeds=8, stop_early=True)
    ended, record = settled(chosen, tmp_path)
    assert (ended.seeds, len(record.finished)) == (8, 16)


def test_the_command_stops_early_and_says_so(tmp_path):
    words = ("--task", "digits", "--model", "linear", "--steps", "15", "--seeds", "8", "--jobs", "1")
    out = ("--out", str(tmp_path / "r"))
    code, told, err = run("compare", "adam(lr=0.003)", "sgd(lr=1e-5)", *words, "--stop-early", *out)
    assert code == 0, err
    assert "5 seeds of at most 8" in told
    assert "corrected for all 2 looks" in " ".join(told.split())
    assert json.loads((tmp_path / "r" / "race.json").read_text())["looks"] == [5, 8]
    code, _, err = run("compare", "--resume", "--seeds", "20", *out)
    assert (code, len(err.splitlines())) == (2, 1)
    assert "may stop early and has at most 8 seeds, for which its verdicts hold" in err
    code, told, err = run("compare", "--resume", *out, "--jobs", "1")
    assert code == 0, err
    assert "5 seeds of at most 8" in told
    code, _, err = run("compare", "adam", "--task", "digits", "--seeds", "4", "--stop-early")
    assert (code, err) == (2, "edsl: --stop-early looks first after 5 seeds: give --seeds 6 or more, got 4\n")


def test_the_report_says_how_many_more_seeds_would_show_a_point(tmp_path):
    from edsl.lab.report.conclusions import doubts

    found = edsl.compare(["adam(lr=0.03)", "adam(lr=0.05)"], task="digits", model="linear", steps=12, seeds=4)
    (effect,) = found.results.rows[1].effects
    assert effect.verdict == "no difference shown"
    assert effect.interval is not None
    assert effect.interval.sd is not None
    needed = seeds_to_show(effect.interval.sd, 0.01)
    assert needed is not None
    assert needed > 4
    said = " ".join(doubts(found.race, found.results))
    assert f"about {needed - 4} more seeds would show, 8 times in 10, a difference of 1 percentage point" in said
