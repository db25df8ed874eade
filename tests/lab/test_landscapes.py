"""Landscapes, walks on them, and what is counted and drawn of these."""

import json
import math
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from edsl.cli import main as cli
from edsl.cli.render.claim import print_claim
from edsl.errors import EdslError
from edsl.lab.claims import fig1, fig8, table1
from edsl.lab.claims.claim import VERDICTS, Claim, judge
from edsl.lab.claims.writing import markdown
from edsl.lab.landscapes.landscapes import LANDSCAPES, landscape, sampled
from edsl.lab.landscapes.walks import Walk, covered, median_interval, sweep, tour, visits, walk
from edsl.lab.races.controls import controls_of
from edsl.lab.tasks.catalogue import task
from edsl.lab.trials.run import run_trial
from edsl.lab.trials.setting import Setting
from edsl.language.spec import parse

CARDIOID = landscape("cardioid")


def cardioid_gradient(x, y):
    """By hand: with q = x²+y² and w = (q−x)² − q, ∇w² = 2w ∇w."""
    q = x * x + y * y
    w = (q - x) ** 2 - q
    return 2 * w * (2 * (q - x) * (2 * x - 1) - 2 * x), 2 * w * (2 * (q - x) * 2 * y - 2 * y)


def plain_adam(point, lr, steps, beta2=0.9, beta3=0.999, alpha=0.0, beta1=0.99):
    """E and Adam in plain Python, as the paper prints them, from one start."""
    theta, m, v, a, before = list(point), [0.0, 0.0], [0.0, 0.0], [0.0, 0.0], [0.0, 0.0]
    seen = [tuple(theta)]
    for k in range(1, steps + 1):
        gradient = cardioid_gradient(*theta)
        for i, g in enumerate(gradient):
            a[i] = beta1 * a[i] + (1 - beta1) * (g - before[i])
            u = g + alpha * a[i]
            m[i] = beta2 * m[i] + (1 - beta2) * u
            v[i] = beta3 * v[i] + (1 - beta3) * u * u
            theta[i] -= lr * (m[i] / (1 - beta2**k)) / (math.sqrt(v[i] / (1 - beta3**k)) + 1e-8)
        before = list(gradient)
        seen.append(tuple(theta))
    return seen


@pytest.mark.parametrize("name", LANDSCAPES)
def test_gradients_and_sharpness_are_those_of_finite_differences(name):
    place = landscape(name)
    points = place.starts(5, seed=3)
    if place.dimension == 1:
        points = torch.linspace(*place.box[0], 7, dtype=torch.float64)[1:-1, None]
    step = 1e-4
    for point in points:
        hessian = np.zeros((place.dimension, place.dimension))
        leaf = point.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(place.function(leaf), leaf)
        for i in range(place.dimension):
            one = torch.zeros(place.dimension, dtype=torch.float64)
            one[i] = step
            difference = (place.function(point + one) - place.function(point - one)) / (2 * step)
            assert gradient[i].item() == pytest.approx(difference.item(), rel=1e-3, abs=1e-3)
            for j in range(place.dimension):
                two = torch.zeros(place.dimension, dtype=torch.float64)
                two[j] = step
                corners = [place.function(point + s * one + t * two).item() * s * t for s in (1, -1) for t in (1, -1)]
                hessian[i, j] = sum(corners) / (4 * step * step)
        top = np.linalg.eigvalsh(hessian)[-1]
        assert place.sharpness(point[None])[0].item() == pytest.approx(top, rel=1e-3, abs=1e-2)


def test_arc_of_the_cardioid_is_its_length_from_the_far_end():
    valley = CARDIOID.valley()
    measured = sampled(valley.points, closed=True, start=-4.0)
    assert np.abs(measured.arcs - valley.arcs).max() < 1e-6
    assert valley.length == 8
    t = torch.linspace(-3, 3, 50, dtype=torch.float64)
    on = torch.stack([(1 + t.cos()) * t.cos(), (1 + t.cos()) * t.sin()], -1)
    assert CARDIOID.function(on).max() < 1e-25
    torch.testing.assert_close(CARDIOID.arc(on), 4 * torch.sin(t / 2))
    assert np.abs(valley.arc_of(on.numpy()) - CARDIOID.arc(on).numpy()).max() < 1e-6


def test_arc_of_rosenbrocks_valley_is_the_parabolas():
    place = landscape("rosenbrock")
    x = torch.linspace(-1.9, 1.9, 31, dtype=torch.float64)
    exact = x * torch.sqrt(1 + 4 * x * x) / 2 + torch.asinh(2 * x) / 4
    torch.testing.assert_close(place.arc(torch.stack([x, x * x], -1)), exact, rtol=0, atol=1e-6)


def test_flattest_points_are_the_cusp_and_the_wide_minimum():
    assert CARDIOID.flattest_point() == (pytest.approx((0, 0), abs=1e-12), pytest.approx(0, abs=1e-12))
    assert landscape("f2").flattest_point() == (pytest.approx((0,), abs=1e-4), pytest.approx(50, rel=1e-3))


def test_starts_are_seeded_off_the_valley_and_the_first_of_more():
    starts = CARDIOID.starts(20)
    assert torch.equal(starts[:7], CARDIOID.starts(7))
    assert not torch.equal(starts, CARDIOID.starts(20, seed=1))
    x, y = landscape("rosenbrock").starts(50).unbind(-1)
    assert x.min() >= -2 and x.max() <= 1 and y.min() >= -1 and y.max() <= 2  # noqa: PT018
    assert (CARDIOID.function(starts) > CARDIOID.level).float().mean() > 0.8


@pytest.mark.parametrize(
    ("spec", "options"),
    [
        ("adam(lr=0.01)", {}),
        ("adam(lr=0.01, beta2=0.99)", {"beta2": 0.99}),
        ("grad | e(alpha=-90, beta1=0.99) | adam(lr=0.01)", {"alpha": -90.0}),
    ],
)
def test_walk_from_many_starts_is_plain_adams_from_each(spec, options):
    starts = CARDIOID.starts(4)
    walked = walk(CARDIOID, spec, starts, steps=120)
    for row, start in enumerate(starts.tolist()):
        expected = np.array(plain_adam(start, 0.01, 120, **options))
        assert np.abs(walked.points[:, row] - expected).max() < 1e-9


@pytest.mark.parametrize("spec", ["lamb(lr=0.01)", "grad | clip(norm=0.1) | adam(lr=0.01)", "sam | sgd(lr=0.001)"])
def test_a_start_walks_as_it_would_alone(spec):
    starts = CARDIOID.starts(3)
    together = walk(CARDIOID, spec, starts, steps=20)
    alone = [walk(CARDIOID, spec, starts[row : row + 1], steps=20).points[:, 0] for row in range(3)]
    assert np.abs(together.points - np.stack(alone, 1)).max() < 1e-12


def test_rates_are_those_of_single_walks():
    place = landscape("f1")
    walked = walk(place, "grad | e(alpha=-90) | adam", place.starts(2), 50, [0.01, 0.3])
    for row, lr in enumerate((0.01, 0.3)):
        single = walk(place, f"grad | e(alpha=-90) | adam(lr={lr})", place.starts(1), 50)
        assert np.abs(walked.points[:, row] - single.points[:, 0]).max() < 1e-12


def along(t):
    return np.stack([(1 + np.cos(t)) * np.cos(t), (1 + np.cos(t)) * np.sin(t)], -1)


def visit_of(points):
    losses = CARDIOID.function(torch.from_numpy(points)).numpy()
    return visits(CARDIOID, Walk("", points[:, None], losses[:, None]))[0]


def test_walk_along_the_valley_covers_its_length_once():
    there = along(np.linspace(-1, 1, 200))
    expected = 8 * math.sin(0.5)
    for points in (there, np.concatenate([there, there[::-1], there])):
        seen = visit_of(points)
        assert seen.covered == pytest.approx(expected, abs=1e-3)
        assert seen.arc == pytest.approx(expected, abs=1e-3)
        assert seen.path == pytest.approx(len(points) // 200 * expected, abs=1e-2)


def test_crossing_the_cusp_covers_little_where_the_range_of_arc_is_all():
    seen = visit_of(along(np.linspace(2.9, 2 * math.pi - 2.9, 100)))
    assert seen.arc > 7.9
    assert seen.covered == pytest.approx(8 * (1 - math.sin(1.45)), abs=1e-3)


def test_leaps_between_valley_points_and_points_off_it_cover_nothing():
    ends = along(np.array([-1.5, 1.5] * 20))
    assert visit_of(ends).covered == 0
    assert visit_of(ends).arc > 5
    far = visit_of(np.full((5, 2), 2.5))
    assert (far.reached, far.arc, far.covered) == (False, 0.0, 0.0)
    assert math.isnan(far.flattest)


def test_covered_is_the_union_of_intervals_counted_cell_by_cell():
    valley = CARDIOID.valley()
    generator = np.random.default_rng(0)
    begins = generator.uniform(-4, 4, 30)
    ends = begins + generator.uniform(-0.3, 0.3, 30)
    ends = np.where(ends > 4, ends - 8, np.where(ends < -4, ends + 8, ends))
    way = np.minimum(abs(ends - begins), 8 - abs(ends - begins))
    cells = np.zeros(80_000, bool)
    middle = (np.arange(80_000) + 0.5) / 10_000 - 4
    for begin, end in zip(begins, ends):
        low, high = min(begin, end), max(begin, end)
        inside = (middle > low) & (middle < high)
        cells |= inside if high - low < 4 else ~inside
    assert covered(valley, begins, ends, way) == pytest.approx(cells.sum() / 10_000, abs=5e-3)


def test_basins_are_numbered_from_the_first_minimum_on():
    assert landscape("f2").basin(np.array([0.6, 0.0, -0.6, 1.0, 3.0, np.nan])).tolist() == [0, 1, 2, -1, -1, -1]
    assert landscape("f1").basin(np.array([4.0, 5.5, 7.1, 150.0])).tolist() == [0, 1, 2, -1]
    assert landscape("f1").minima[:3] == pytest.approx([4.0853, 5.5893, 7.1296], abs=1e-3)


def test_e_adds_minus_alpha_steps_to_the_mean_lag_and_the_twin_has_it():
    alpha, beta1 = Fraction(-90), Fraction(99, 100)
    gamma = alpha * (1 - beta1)
    response = [1 + gamma, *(-gamma * (1 - beta1) * beta1 ** (n - 1) for n in range(1, 3000))]
    assert float(sum(response)) == pytest.approx(1)
    assert float(sum(n * h for n, h in enumerate(response))) == pytest.approx(90)
    without, twin = controls_of(parse("grad | e(alpha=-90, beta1=0.99) | adam(lr=0.01)"))
    assert (without.name, without.pipeline) == ("without E", parse("adam(lr=0.01)"))
    assert (twin.name, twin.pipeline) == ("twin", parse("adam(lr=0.01, beta2=0.99)"))
    assert controls_of(parse("adam")) == ()
    assert [one.name for one in controls_of(parse("grad | e(alpha=50) | adam"))] == ["without E"]


def test_twin_of_a_momentum_that_is_a_sum_keeps_its_gain():
    twin = controls_of(parse("grad | e(alpha=-90) | sgd(lr=0.1, momentum=0.9)"))[1].pipeline.update
    assert twin.momentum == pytest.approx(0.99)
    assert twin.lr / (1 - twin.momentum) == pytest.approx(0.1 / (1 - 0.9))


def test_e_near_its_bound_goes_ten_times_as_far_as_adam():
    starts = CARDIOID.starts(6)
    adam, strong = (
        tour(CARDIOID, spec, walk(CARDIOID, spec, starts, 1500))
        for spec in ("adam(lr=0.01)", "grad | e(alpha=-90) | adam(lr=0.01)")
    )
    assert strong.arc.median > 10 * adam.arc.median
    assert strong.covered.median > 10 * adam.covered.median
    assert adam.reached == strong.reached == 1


def test_interval_holds_the_median_and_is_one_point_for_equal_values():
    found = median_interval([1.0, 2.0, 3.0, 4.0, 50.0, 2.5, 3.5])
    assert found.low <= found.median == 3 <= found.high
    assert median_interval([0.0] * 20).high == 0
    assert math.isnan(median_interval([math.nan]).median)


def test_sweep_counts_every_rate_once():
    place = landscape("f2")
    found = sweep(place, "adam", walk(place, "adam", place.starts(4), 60, [0.001, 0.1, 0.3, 1.0]))
    assert found.first + found.another + found.none == 4


@pytest.mark.parametrize("name", LANDSCAPES)
def test_point_races_as_a_task_from_a_seeded_start(name):
    setting = Setting(name, "point", 1, 30, "cpu", 1)
    one, same = (run_trial(task(name), setting, "adam(lr=0.01)", 3) for _ in range(2))
    assert one.status == "ok"
    assert one.train_loss == same.train_loss < one.start_loss


def test_verdict_is_the_number_of_tests_that_hold():
    assert [judge(True, True), judge(True, False), judge(False, False)] == list(VERDICTS)


def test_signs_of_a_crossing_are_those_of_the_papers_table_1():
    assert {what: signs for what, (signs, _) in table1.crossing().items()} == table1.PAPER


def test_figures_of_other_columns_are_a_table_of_their_own_within_80_columns(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    rows = ({"what": "g", "down": "+", "up": "−"}, {"what": "h", "up": "+"}, {"what": "adam | e", "final loss": 0.25})
    long = "a sentence that is longer than a line of eighty columns, so that it goes on in the next one"
    claim = Claim("table1", "Signs", long, long, "partly", long, rows, (), "edsl list", long)
    assert claim.tables == [list(rows[:2]), [rows[2]]]
    written = markdown(claim, tmp_path, tmp_path)
    assert "| what | down | up |\n|---|---|---|\n| g | + | − |\n| h |  | + |\n\n| what | final loss |" in written
    print_claim(claim, Path("out"))
    printed = capsys.readouterr().out
    assert max(map(len, printed.splitlines())) <= 80
    assert [line.split() for line in printed.splitlines() if line.split()[:1] == ["what"]] == [
        ["what", "down", "up"],
        ["what", "final", "loss"],
    ]


@pytest.mark.slow
@pytest.mark.parametrize("figure", [fig1, fig8, table1])
def test_quick_run_of_a_figure_gives_a_claim_with_pictures(figure, tmp_path):
    found = figure.run(tmp_path, quick=True)
    assert found.verdict in VERDICTS
    assert all(picture.stat().st_size > 20_000 for picture in found.pictures)
    assert all(found.table)


def test_command_prints_a_table_and_draws(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    for name, spec, part in (
        ("cardioid", "grad | e(alpha=-90) | adam(lr=0.01)", "twin: adam(lr=0.01, beta2=0.99)"),
        ("f2", "adam", "51 learning rates from 0.001 to 1"),
        ("cardioid", "sgd(lr=5000)", "0 [0, 0]"),  # off beyond all numbers
    ):
        out = tmp_path / f"{name}.png"
        monkeypatch.setattr(sys, "argv", ["edsl", "landscape", name, spec, "--steps", "30", "--out", str(out)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        said = capsys.readouterr()
        assert not stop.value.code
        assert part in said.out
        assert f"drawn: {out}" in said.err
        assert out.read_bytes()[:4] == b"\x89PNG"


def test_command_gives_json_of_every_start(tmp_path, capsys, monkeypatch):
    out = tmp_path / "a.svg"
    words = ["rosenbrock", "adam(lr=0.1)", "--starts", "3", "--steps", "20", "--json", "--out", str(out)]
    monkeypatch.setattr(sys, "argv", ["edsl", "landscape", *words])
    with pytest.raises(SystemExit):
        cli.main()
    (row,) = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)["rows"]
    assert len(row["visits"]) == 3
    assert {"arc", "covered", "reached", "final", "flattest"} <= set(row)


BAD = [
    (("moon", "adam"), "unknown landscape 'moon'"),
    (("cardioid", "adm"), "unknown stage 'adm'"),
    (("cardioid", "muon"), "muon can't step a point of cardioid, a vector of 2 numbers: choose"),
    (("f1", "shampoo"), "shampoo can't step a point of f1, a vector of 1 number: choose an update for vectors"),
    (("cardioid", "torch.Muon", "--no-controls"), "torch.Muon can't step a point of cardioid"),
    (
        ("cardioid", "torch.SparseAdam"),
        "choose an update for vectors, such as adam or lamb (SparseAdam does not support",
    ),
    (("f1", "adam", "--seed", "3"), "f1 has one start and many learning rates: drop --seed"),
    (("cardioid", "adam", "--starts", "0"), "--starts must be a whole number ≥ 1, got 0"),
    (("cardioid", "adam", "--steps", "-3"), "--steps must be a whole number ≥ 1, got -3"),
    (("cardioid", "adam", "--seed", "-1"), "--seed must be a whole number ≥ 0, got -1"),
    (("cardioid", "adam", "--steps", "1000000000"), "--starts times --steps must be at most"),
    (("f1", "adam", "--starts", "3"), "f1 has one start and many learning rates"),
    (("cardioid",), "Missing argument 'SPEC"),
]


@pytest.mark.parametrize(("words", "part"), BAD)
def test_bad_input_is_one_line_and_exit_code_2(words, part, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["edsl", "landscape", *words, "--out", str(tmp_path / "a.png")])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    said = capsys.readouterr()
    assert stop.value.code == 2
    assert part in said.err
    assert "Traceback" not in said.err


@pytest.mark.parametrize(
    ("out", "part"), [("a.txt", "must end in .png, .svg or .pdf"), ("no/a.png", "there is no folder")]
)
def test_picture_that_can_not_be_written_is_refused_before_walking(out, part, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["edsl", "landscape", "cardioid", "adam", "--out", str(tmp_path / out)])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    said = capsys.readouterr()
    assert stop.value.code == 2
    assert part in said.err
    assert "walk 1" not in said.err


def test_another_packages_optimizer_walks_at_every_rate_too():
    place, rates = landscape("f1"), (0.01, 0.1)
    for ours, theirs in (("sgd", "torch.SGD"), ("grad | e | sgd", "grad | e | torch.SGD")):
        found, expected = (walk(place, spec, place.starts(2), 20, rates).points for spec in (theirs, ours))
        assert abs(found - expected).max() < 1e-12
        assert not (found[-1, 0] == found[-1, 1]).all()


def test_one_dimension_has_no_valley_and_a_spec_without_lr_no_rates():
    place = landscape("f1")
    with pytest.raises(EdslError, match="f1 has no valley"):
        visits(place, walk(place, "adam", place.starts(1), 2))
