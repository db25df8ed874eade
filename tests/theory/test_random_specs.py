"""Random pipelines through the commands' functions: no traceback, and no sentence that a simulation contradicts."""

import json
import math
import random
import re
from collections import Counter
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
import torch
from random_specs import random_spec

import edsl
from edsl.as_json import as_json
from edsl.cli.equivalent import equivalent
from edsl.cli.explain import describe, to_latex
from edsl.cli.render.pipeline import facts
from edsl.theory.certificates.report import certify
from edsl.theory.certificates.report import describe as describe_certificate
from edsl.theory.stability.conditions import PLAIN, Gradients, stability_of
from edsl.theory.stability.report import check_pipeline
from edsl.theory.statements.relations import relations
from edsl.theory.systems.loop import loop_of

STEPS = 240
DECIDED = 8.0  # |log radius| × steps between the two looks, from which growth and decay can't be mistaken


pytestmark = pytest.mark.filterwarnings("ignore::edsl.EdslWarning")  # of E outside the paper's bound


def compiled(pipeline, params):
    return edsl.compile(pipeline, params, mode="eager")


def is_plain(pipeline):
    """Whether the linear model is the pipeline itself, so that a simulation must agree with it."""
    return pipeline.estimator.name == "grad" and not any(stage.needs_noise for stage in pipeline.stages)


def simulated(pipeline, curvatures):
    """max |θ| in two windows of steps on f = Σ hθ²/2, from a small one; roots √v̂ are held at 1 while it is small."""
    calls = pipeline.estimator.calls
    h = torch.tensor(curvatures, dtype=torch.float64)
    params = [torch.nn.Parameter(torch.full_like(h, 1e-30))]
    optimizer = compiled(with_unit_roots(pipeline), params)
    hold_roots(optimizer, params[0])
    size, blown = [], np.zeros(len(curvatures), dtype=bool)
    for _ in range(STEPS):
        params[0].grad = h * params[0].detach()
        for _ in range(calls):
            optimizer.step()
        size.append(params[0].detach().abs().numpy().copy())
        with np.errstate(over="ignore"):
            blown |= ~(np.abs(curvatures) * size[-1] < 1e-6)  # 24 powers of ten are no transient
    size, third = np.array(size), STEPS // 3
    with np.errstate(all="ignore"):
        return size[third : 2 * third].max(axis=0), np.where(blown, np.inf, size[2 * third :].max(axis=0))


def with_unit_roots(pipeline):
    """ε = 0 and a second moment that does not move within a test."""
    changes = {}
    for key, (index, field) in pipeline.keys.items():
        if "v" in type(pipeline.stages[index].init(0.0))._fields and field in ("beta3", "eps1"):
            changes[key] = 1 - 1e-12 if field == "beta3" else 0.0
    return pipeline.override(**changes)


def hold_roots(optimizer, parameter):
    pipeline = optimizer.pipeline
    state = {}
    for stage, label in zip(pipeline.stages, pipeline.labels):
        for name in type(stage.init(0.0))._fields:
            state[f"{label}.{name}"] = (torch.ones_like if name == "v" else torch.zeros_like)(parameter.detach())
    if any(key.endswith(".v") for key in state):
        # No debiasing is left. An integer, as edsl counts: a float32 of that size would not grow, nor lookahead sync.
        optimizer.state[parameter].update({"step": torch.tensor(10**14), **state})


def check_stability(pipeline):
    """Every range that is said to converge converges, every gap diverges: both where 240 steps can tell."""
    report = check_pipeline(pipeline)
    ranges = [(-math.inf if a is None else a, math.inf if b is None else b) for a, b in report["stable_ranges"]]
    ends = sorted({end for pair in ranges for end in pair if math.isfinite(end)}) or [0.0, 1.0]
    spread = max(abs(end) for end in ends) or 1.0
    inner = [(a + b) / 2 for a, b in pairwise(ends) if b - a > 1e-6 * spread]  # which floats resolve
    places = [*(end + sign * 0.1 * spread for end in ends for sign in (-1, 1)), *inner, 3 * spread, -3 * spread]
    if report["period"] > 1:
        radii = {h: stability_of(pipeline, PLAIN).radius(h)[1] for h in places}
    else:
        loop = loop_of(pipeline)
        radii = {h: np.abs(np.roots([float(c) for c in reversed(loop.at(Fraction(h)))])).max(initial=0) for h in places}
    third = STEPS // 3
    told = [h for h in places if radii[h] > 0 and abs(math.log(radii[h])) * third > DECIDED and radii[h] < 1e3]
    told = [h for h in told if abs(h) < 1e12]
    if told:
        before, after = simulated(pipeline, told)
        for h, first, last in zip(told, before, after, strict=True):
            converges = any(a < h < b for a, b in ranges)
            shrinks = last < first or last < 1e-300
            assert shrinks == converges, (str(pipeline), h, radii[h], first, last)
    if "Stable for" in report["verdict"]:
        near = [(a, b) for a, b in ranges if a <= 0 < b]
        assert near, report["verdict"]
        limit = re.search(r"lr · curvature < ([\d.e+-]+)", report["verdict"])
        if limit and report["lr"]:
            assert float(limit[1]) == pytest.approx(report["lr"] * near[0][1], rel=1e-5)
    return len(told)


def check_range(pipeline, low, high):
    """The verdict on a range of curvatures is that of the ranges that are said to converge."""
    report = check_pipeline(pipeline, (low, high))
    ranges = [(-math.inf if a is None else a, math.inf if b is None else b) for a, b in report["stable_ranges"]]
    within = report["within_simple_bound"]
    assert report["stable"] == any(a <= 0 and high < b for a, b in ranges), (str(pipeline), within)
    assert report["verdict"].startswith("Stable" if report["stable"] else "Not stable")
    for below in (low, low / 2):
        if any(a < below < b for a, b in ranges) and report["stable"]:
            assert "none converges" not in report["verdict"]
    said = check_pipeline(pipeline, (low, low / 2))
    assert said["stable"] == any(a < low and low / 2 < b for a, b in ranges), str(pipeline)


def check_filter(pipeline, found):
    """The gains of the adaptors, by a loop over E as the paper writes it."""
    g = {"constant": np.ones(400), "alternating": (-1.0) ** np.arange(400), "impulse": np.eye(1, 400)[0]}
    slowest = max([stage.beta1 for stage in pipeline.stages if stage.name == "e"], default=0.0)
    out = {name: through_e(pipeline, each) for name, each in g.items()}
    stages = [stage for stage in pipeline.stages if stage.name == "e"]
    rounding = 1e-8 * math.prod(1 + abs(e.alpha) * (1 - e.beta1) for e in stages)  # of 1 − β₁ in floats
    assert out["impulse"][0] == pytest.approx(found["first_gain"], rel=1e-9, abs=rounding)
    if slowest <= 0.9:
        scale = np.abs(out["constant"]).max()
        assert out["constant"][-1] == pytest.approx(found["dc_gain"], rel=1e-6, abs=1e-6 * scale)
        assert abs(out["alternating"][-1]) == pytest.approx(abs(found["nyquist_gain"]), rel=1e-5, abs=1e-6 * scale)
        assert (out["impulse"] ** 2).sum() == pytest.approx(found["noise_gain"], rel=1e-6)


def through_e(pipeline, g):
    for stage in pipeline.stages[1 : pipeline.update_index]:
        if stage.name == "e":
            a, past, u = 0.0, 0.0, []
            for each in g:
                a = stage.beta1 * a + (1 - stage.beta1) * (each - past)
                past = each
                u.append(each + stage.alpha * a)
            g = np.array(u)
    return g


def check_relations(pipeline):
    """Each known name is that of an optimizer which takes the same steps, or of a buffer which holds that."""
    found = {relation.name: relation.statement for relation in relations(pipeline)}
    (e,) = [stage for stage in pipeline.stages if stage.name == "e"]
    update, rate = pipeline.update, getattr(pipeline.update, "weight_decay", 0.0)
    rest = "".join(f" | {stage}" for stage in pipeline.stages[pipeline.update_index + 1 :])
    behind = (f" | decay(rate={rate!r})" if rate else "") + rest
    nu = -e.alpha * (1 - e.beta1) / (e.beta1 or 1)
    known = {
        "QHM": f"qhm(lr={update.lr!r}, momentum={e.beta1!r}, nu={nu!r})",
        "heavy ball": f"sgd(lr={update.lr * (1 - e.beta1)!r}, momentum={e.beta1!r})",
        "Nesterov": f"sgd(lr={update.lr * (1 - e.beta1)!r}, momentum={e.beta1!r}, nesterov=True)",
    }
    for name in found.keys() & known.keys():
        assert_same_steps(pipeline, edsl.parse(f"{pipeline.estimator} | {known[name]}{behind}"))
    for name in found.keys() & {"two EMAs", "one EMA"}:
        check_momentum(pipeline, found[name])
    return len(found)


def assert_same_steps(first, second):
    h = torch.logspace(-1, 0, 6, dtype=torch.float64)
    ends = []
    size = 0.1 / max(first.hyperparameters["lr"], second.hyperparameters["lr"], 1e-30)  # of the gradients of both
    for pipeline in (first, second):
        params = [torch.nn.Parameter(torch.arange(1.0, 7.0, dtype=torch.float64))]
        optimizer = compiled(pipeline, params)
        path = []
        for k in range(60):
            for _ in range(pipeline.estimator.calls):
                params[0].grad = (h * params[0].detach() + math.sin(k)) * min(size, 1.0)
                optimizer.step()
            path.append(params[0].detach().numpy().copy())
        ends.append(np.array(path))
    small = np.abs(ends).max(axis=(0, 2)) < 1e6
    ends = [path[small] for path in ends]
    np.testing.assert_allclose(
        *ends, rtol=1e-9, atol=1e-9 * np.abs(ends[0]).max(initial=1), err_msg=f"{first} / {second}"
    )


def check_momentum(pipeline, statement):
    parts = [(float(c or 1), float(b)) for c, b in re.findall(r"(?:(-?[\d.e+-]+) · )?EMA\(([\d.e+-]+)\)", statement)]
    factor = float(found[1]) if (found := re.search(r"is (-?[\d.e+-]+) · \(", statement)) else 1.0
    params = [torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))]
    if pipeline.update.is_matrix:
        params = [torch.nn.Parameter(torch.zeros(2, 2, dtype=torch.float64))]
    optimizer = compiled(pipeline, params)
    means, size = [0.0 for _ in parts], 0.0
    for k in range(40):
        g = math.sin(3 * k) + 0.3
        means = [beta * mean + (1 - beta) * g for mean, (_, beta) in zip(means, parts, strict=True)]
        size = max(size, *map(abs, means))
        for _ in range(pipeline.estimator.calls):
            params[0].grad = torch.full_like(params[0], g)
            optimizer.step()
        held = optimizer.state[params[0]][f"{pipeline.update.name}.m"].flatten()[0].item()
        said = factor * sum(share * mean for (share, _), mean in zip(parts, means, strict=True))
        largest = factor * size * max(abs(share) for share, _ in parts)
        assert held == pytest.approx(said, rel=1e-4, abs=1e-5 * largest), (str(pipeline), statement)


def check(spec):
    """One pipeline: (points of stability simulated, relations shown)."""
    pipeline = edsl.parse(spec)
    explanation = describe(pipeline)
    json.dumps(as_json(explanation), allow_nan=False)  # raises for what is no JSON
    text = "\n".join(f"{name}: {value}" for name, value in facts(explanation)) + to_latex(explanation)
    assert not re.search(r"\bnan\b|-0(?![.\d])|\d\.0\b(?![\d.])", text.replace(str(pipeline), "")), text
    letters = [letter for part in explanation["recurrences"] for letter in part["letters"].values()]
    assert len(letters) == len(set(letters)), letters
    left = [
        line.split(" = ")[0]
        for part in explanation["recurrences"]
        for line in part["lines"]
        if " = " in line and "   (" not in line
    ]
    assert len(left) == len(set(left)), left
    points = shown = 0
    if isinstance(explanation["stability"], str):
        assert "\n" not in explanation["stability"]
        with pytest.raises(edsl.EdslError):
            check_pipeline(pipeline, (-1.0, 3.0))
    else:
        check_range(pipeline, -1.0, 3.0)
        points = check_stability(pipeline) if is_plain(pipeline) else 0
    if isinstance(explanation["filter"], dict) and not explanation["filter"]["notes"]:
        check_filter(pipeline, explanation["filter"])
    if explanation["relations"] and is_plain(pipeline):
        shown = check_relations(pipeline)
    for control in explanation["controls"]:
        if "which E before plain gradient descent is" in control["about"] and is_plain(pipeline):
            assert_same_steps(pipeline, edsl.parse(control["spec"]))
    return points, shown


def sweep(seed, count):
    rng = random.Random(seed)
    totals = np.sum([check(random_spec(rng)) for _ in range(count)], axis=0)
    return int(totals[0]), int(totals[1])


def compare_pairs(seed, count):
    """`edsl equivalent` on random pairs, half of them one pipeline with another lr: how often each exit code came."""
    rng = random.Random(seed)
    codes = Counter()
    for _ in range(count):
        first = random_spec(rng)
        second = random_spec(rng) if rng.random() < 0.5 else str(edsl.parse(first).override(lr=rng.choice((0.1, 1.0))))
        try:
            equivalent(first, second, as_json=True)
        except SystemExit as ended:
            codes[ended.code] += 1
        except edsl.EdslError as refusal:
            codes[2 if "\n" not in str(refusal) else f"{refusal}: {first}, {second}"] += 1
    return codes


def test_40_random_pairs_are_compared_or_refused_in_one_line(capsys):
    codes = compare_pairs(1, 40)
    assert codes.keys() <= {0, 1, 2, 3}
    assert codes[1] > 5


@pytest.mark.slow
def test_1000_random_pairs_are_compared_or_refused_in_one_line(capsys):
    assert compare_pairs(2, 1000).keys() <= {0, 1, 2, 3}


def test_70_random_pipelines_say_nothing_that_a_simulation_contradicts():
    points, shown = sweep(1, 70)
    assert points > 60
    assert shown > 10


@pytest.mark.slow
def test_2000_random_pipelines_say_nothing_that_a_simulation_contradicts():
    points, shown = sweep(2, 2000)
    assert points > 2000
    assert shown > 300


def is_answered(function, *arguments):
    """Whether a question is answered in JSON, or refused in one line."""
    try:
        json.dumps(as_json(function(*arguments)), allow_nan=False)
    except edsl.EdslError as refusal:
        if "\n" in str(refusal):
            raise
        return False
    return True


def certificate(pipeline, condition, smoothness):
    return describe_certificate(certify(pipeline, condition, smoothness))


def certify_and_perturb(seed, count):
    """certify, delay and batch noise on random pipelines: how many questions were answered."""
    rng, answered = random.Random(seed), 0
    for _ in range(count):
        pipeline = edsl.parse(random_spec(rng))
        late, noisy = Gradients(rng.randint(1, 4)), Gradients(rng.choice((0, 2)), rng.choice((1e-3, 0.3, 30.0)))
        answered += is_answered(certificate, pipeline, rng.choice((1.001, 30.0, 1e6)), rng.choice((1.0, 1e3)))
        answered += is_answered(check_pipeline, pipeline, (-1.0, 3.0), late)
        answered += is_answered(check_pipeline, pipeline, None, noisy)
    return answered


def test_12_random_pipelines_are_certified_and_perturbed_or_refused_in_one_line():
    assert certify_and_perturb(1, 12) > 10


@pytest.mark.slow
def test_500_random_pipelines_are_certified_and_perturbed_or_refused_in_one_line():
    assert certify_and_perturb(2, 500) > 500
