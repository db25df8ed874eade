"""One score over several tasks, by AlgoPerf's definition, and an interval over tasks that keeps its error."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.integrate import quad
from shell import run

import edsl
from edsl.lab.races.build import race
from edsl.lab.results.score_tables import by_task, findings, notes, score_table
from edsl.lab.results.scores import TaskTimes, common_target, log_ratios, profile_scores, scores, times_of
from edsl.lab.results.statistics import paired, performance_profile
from edsl.lab.trials.trial import failed

NAMES = ("sgd", "adam")


def ended(spec, seed, reached, status="ok", best=0.9):
    """A trial of 20 steps whose validation accuracy is 0.1 until a step, then `best`."""
    points = [
        {"steps": step, "seconds": step / 10, "evaluations": step, "loss": 1.0, "validation_loss": 1.0,
         "accuracy": best if step >= reached else 0.1}
        for step in range(21)
    ]  # fmt: skip
    return {**failed(spec, seed, "").record(), "status": status, "steps": 20, "seconds": 2.0, "checkpoints": points}


def raced(task, first, second, **more):
    """A race of two optimizers with the steps at which each seed comes to 0.9."""
    chosen = race(task, NAMES, seeds=len(first), steps=20)
    specs = [entrant.spec for entrant in chosen.entrants]
    return chosen, [
        ended(spec, seed, step, **more)
        for spec, steps in zip(specs, (first, second))
        for seed, step in enumerate(steps)
    ]


def integral(costs, place):
    """∫₁⁴ ρ(τ) dτ / 3 of the profile that performance_profile draws."""
    steps = performance_profile(costs)[place]

    def rho(tau):
        return max((share for at, share in steps if at <= tau), default=0.0)

    return quad(rho, 1, 4, points=[at for at, _ in steps if 1 < at < 4], limit=200)[0] / 3


def test_the_score_is_the_integral_of_the_performance_profile():
    generator = np.random.default_rng(0)
    for _ in range(20):
        costs = generator.lognormal(sigma=0.8, size=(3, 5))
        costs[generator.random((3, 5)) < 0.2] = math.inf
        found = profile_scores(costs[..., None])
        assert found == pytest.approx([integral(costs, place) for place in range(3)], abs=1e-6)


def test_a_task_is_solved_when_half_of_its_trials_come_to_the_target():
    costs = [[[10.0, 10.0, math.inf]], [[30.0, math.inf, math.inf]]]
    assert profile_scores(costs).tolist() == [1.0, 0.0]


def test_ratios_steps_failures_and_verdict_of_known_trials():
    races = [
        raced("digits", [10, 10, 10], [5, 5, 5]),
        raced("cancer", [8, 8, 8], [4, 4, 4]),
        raced("mnist1d", [10, 10, 10], [5, 5, 99]),
    ]
    found = scores(races, [None] * 3)
    first, second = found.rows
    assert [one.target for one in found.tasks] == [0.9] * 3
    assert (first.name, first.steps, first.verdict) == ("sgd", None, "baseline")
    assert second.steps is not None
    expected = math.exp(np.mean([math.log(0.5), math.log(0.5), (2 * math.log(0.5) + math.log(4)) / 3]))
    assert second.steps.mean == pytest.approx(expected)
    assert (second.reached, second.trials, second.solved) == (8, 9, 3)
    assert (first.profile, second.profile) == (pytest.approx(2 / 3), 1.0)
    assert second.seconds is not None
    assert second.seconds.mean == pytest.approx(expected)


def test_the_target_is_what_every_trial_of_the_baseline_reaches():
    chosen, finished = raced("digits", [3, 4, 5], [1, 1, 1])
    finished[1]["checkpoints"][-1]["accuracy"] = 0.2  # it was better before
    finished[2]["checkpoints"] = [{**point, "accuracy": 0.7} for point in finished[2]["checkpoints"]]
    assert common_target(chosen, finished) == 0.7
    assert all(map(math.isfinite, times_of(chosen, finished, 0.7).spent["steps"]["sgd"]))
    finished = [{**trial, "status": "diverged"} for trial in finished]
    assert common_target(chosen, finished) is None
    found = scores([(chosen, finished)], [None])
    assert found.left_out == ("digits",)
    assert math.isnan(found.rows[0].profile)
    assert [cell for line in score_table(found).lines for cell in line.cells[:2]] == ["–"] * 4
    assert any("left out" in line for line in notes(found))


def test_fewer_than_three_tasks_decide_nothing():
    found = scores([raced("digits", [10] * 3, [5] * 3), raced("cancer", [8] * 3, [5] * 3)], [None, None])
    assert found.rows[1].verdict == "not comparable"
    assert any("fewer than 3 tasks" in line for line in notes(found))
    assert "not comparable, 0.56 times its steps to target" in next(findings(found))
    assert [line.cells for line in by_task(found).lines][1] == ("5 (0.5 s)", "5 (0.5 s)")


def test_races_of_other_optimizers_are_refused():
    chosen, finished = raced("digits", [1], [1])
    other = replace(chosen, baseline="adam")
    with pytest.raises(edsl.EdslError, match="the same optimizers and the same baseline"):
        scores([(chosen, finished), (other, finished)], [None, None])


def simulated(generator, tasks, seeds, between):
    """Two optimizers that are alike over tasks such as these: neither is faster on the mean."""
    budget = 1000.0
    found = []
    for _ in range(tasks):
        level = generator.normal(math.log(350), 0.5)
        faster = generator.normal(0, between)
        spent = {}
        for name, shift in (("a", faster / 2), ("b", -faster / 2)):
            raw = np.exp(level + shift + generator.normal(0, 0.25, seeds))
            steps = np.ceil(raw / 50) * 50  # twenty looks
            spent[name] = tuple(np.where(steps > budget, math.inf, steps).tolist())
        found.append(TaskTimes("t", "loss", 0.0, {"steps": spent}, {"steps": dict.fromkeys("ab", budget)}))
    return found


def percentile(times, generator, resamples=200):
    """Whether a percentile bootstrap over tasks, and seeds within, names a winner."""
    table = np.array([log_ratios([replace_seeds(one, [s])], "a", "b", "steps") for one in times for s in range(5)])
    table = table.reshape(len(times), 5)
    rows = generator.integers(len(times), size=(resamples, len(times)))
    seeds = generator.integers(5, size=(resamples, len(times), 5))
    low, high = np.percentile(table[rows[..., None], seeds].mean((1, 2)), [2.5, 97.5])
    return low > 0 or high < 0


def replace_seeds(one, seeds):
    spent = {name: tuple(values[s] for s in seeds) for name, values in one.spent["steps"].items()}
    return replace(one, spent={"steps": spent})


def error(count, tasks, between):
    generator = np.random.default_rng(tasks)
    named = 0
    for _ in range(count):
        interval = paired(log_ratios(simulated(generator, tasks, 5, between), "a", "b", "steps"))
        named += interval.decides
    return named / count


@pytest.mark.parametrize("tasks", [3, 6, 9])
def test_the_interval_over_tasks_keeps_its_error_in_a_sample(tasks):
    assert error(300, tasks, 0.3) <= 0.06 + 2.6 * math.sqrt(0.06 * 0.94 / 300)


@pytest.mark.slow
@pytest.mark.parametrize("between", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("tasks", [3, 4, 6, 9])
def test_the_interval_over_tasks_keeps_its_error_in_2000_suites(tasks, between):
    assert error(2000, tasks, between) <= 0.06


@pytest.mark.slow
def test_a_percentile_bootstrap_over_few_tasks_does_not():
    generator = np.random.default_rng(1)
    found = np.mean([percentile(simulated(generator, 4, 5, 0.6), generator) for _ in range(1000)])
    assert found > 0.12


def test_several_tasks_are_raced_resumed_and_reported(tmp_path):
    folder = str(tmp_path / "s")
    words = ("--steps", "20", "--seeds", "2", "--model", "linear", "--no-controls", "--jobs", "1", "--out", folder)
    code, out, err = run("compare", "adam(lr=0.01)", "sgd(lr=0.1)", "--task", "digits,logistic", *words)
    assert code == 0, err
    assert out.startswith("2 tasks, 2 seeds, compared to adam(lr=0.01)\n")
    assert "steps ×" in out
    code, out, err = run("compare", "--resume", "--seeds", "3", "--json", "--jobs", "1", "--out", folder)
    assert code == 0, err
    held = json.loads(out)
    assert [row["name"] for row in held["scores"]] == ["adam(lr=0.01)", "sgd(lr=0.1)"]
    assert held["scores"][0]["trials"] == 6
    assert [(one["task"], one["optimizer"]) for one in held["times"]][::2] == [
        ("digits", "adam(lr=0.01)"),
        ("logistic", "adam(lr=0.01)"),
    ]
    assert all({"steps", "seconds"} < one.keys() for one in held["times"])
    assert set(held["targets"]) == {"digits", "logistic"}
    code, out, err = run("report", folder)
    assert code == 0, err
    page = (tmp_path / "s" / "report.html").read_text()
    assert "2 tasks, one score" in page
    assert page.count("<article>") == 3


def test_several_tasks_are_forecast_task_by_task():
    words = ("--dry-run", "--json", "--steps", "2", "--model", "linear", "--jobs", "1", "--seeds", "3")
    code, out, err = run("compare", "adam", "--task", "digits,cancer", *words)
    assert code == 0, err
    held = json.loads(out)
    assert [(one["task"], one["trials"]) for one in held["tasks"]] == [("digits", 3), ("cancer", 3)]
    assert held["trials"] == 6


@pytest.mark.slow
def test_a_suite_is_forecast_task_by_task():
    from edsl.lab.races import suites

    code, out, err = run(
        "suite", "small", "adam", "--dry-run", "--json", "--steps", "2", "--batch", "16", "--jobs", "1"
    )
    assert code == 0, err
    held = json.loads(out)
    assert [one["task"] for one in held["tasks"]] == [one.task for one in suites.SMALL.workloads]
    assert held["trials"] == 6 * 16


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("compare", "adam", "--task", "digits,digits"), "digits is given twice; give each task once"),
        (("compare", "adam", "--task", "digits,"), "a task is missing between commas"),
        (("compare", "--task", "digits,cancer"), "name at least one spec"),
        (("compare", "adam", "--task", "digits,cancer", "--target", "0.9"), "--targets is of one task"),
        (("compare", "adam", "--task", "digits,cancer", "--model", "cnn"), "task cancer: unknown model 'cnn'"),
        (("suite", "smal", "adam"), "unknown suite 'smal'; did you mean 'small'?"),
        (("suite", "small"), "name a suite and at least one spec"),
        (("suite", "small", "adam", "--task", "digits"), "--task is none of a suite's options"),
    ],
)
def test_wrong_words_about_suites_are_one_line(words, message):
    code, out, err = run(*words)
    assert (code, out) == (2, "")
    assert message in err
    assert len(err.splitlines()) == 1


def test_folders_of_suites_are_not_mixed_up(tmp_path):
    words = ("--steps", "1", "--seeds", "1", "--model", "linear", "--jobs", "1", "--out", str(tmp_path / "s"))
    assert run("compare", "sgd", "--task", "digits,cancer", *words)[0] == 0
    for tasks, message in (("digits,cancer", "holds this suite already"), ("digits,logistic", "holds another suite")):
        code, _, err = run("compare", "sgd", "--task", tasks, *words)
        assert code == 2
        assert message in err
    (tmp_path / "s" / "suite.json").write_text("{}")
    code, _, err = run("report", str(tmp_path / "s"))
    assert (code, len(err.splitlines())) == (2, 1)
    assert "suite.json is damaged" in err
