"""Stability on a quadratic: closed forms, the stages' own recurrence, and the compiled optimizer."""

import warnings

import numpy as np
import pytest
import sympy
import torch
from pages import as_number, table
from problem import walk

import edsl
from edsl.theory.stability import closed_form
from edsl.theory.stability import intervals as stability
from edsl.theory.stability.maps import radius_map, sharpness_map, step_sizes
from edsl.theory.stability.plot import Axis
from edsl.theory.stability.report import check_closed_form, check_pipeline
from edsl.theory.systems.linearise import linearise
from edsl.theory.systems.loop import loop_of

TABLE = [  # α, β₁, β₂, s* with an EMA momentum, s* with a sum, what limits: of the page, with β₁ = .5 for any
    (*map(as_number, at.replace("any", ".5").split(", ")), as_number(ema), as_number(sum_), limit)
    for at, ema, sum_, limit in table("theory.md", "α, β₁, β₂")
]


def digits(value):
    """How far a value printed with four digits may be off."""
    return 0.5 * 10.0 ** (np.floor(np.log10(value)) - 2) if value < 1 else 5e-5 * value


@pytest.mark.parametrize(("alpha", "beta1", "beta2", "ema", "sum_", "limit"), TABLE)
def test_every_row_of_the_table_by_closed_form_and_by_the_stages(alpha, beta1, beta2, ema, sum_, limit):
    for average, expected in (("ema", ema), ("sum", sum_)):
        closed = check_closed_form(alpha, beta1, beta2, average)
        assert closed["stable_sharpness"] == pytest.approx(expected, abs=digits(expected))
        assert closed["limited_by"] == limit
        e = f"e(alpha={alpha}, beta1={beta1}, unchecked=True)"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", edsl.EdslWarning)
            derived = check_pipeline(edsl.parse(f"grad | {e} | sgd(lr=1, momentum={beta2}, average='{average}')"))
        assert derived["stable_sharpness"] == pytest.approx(closed["stable_sharpness"], rel=1e-9)
        assert derived["limited_by"] == limit


def test_frozen_adam_has_the_sharpness_of_an_ema_momentum():
    derived = check_pipeline(edsl.parse("eadam(lr=0.001)"))
    assert derived["stable_sharpness"] == pytest.approx(40.0106, abs=5e-5)
    assert derived["stable_curvatures"][1] == pytest.approx(40010.6, abs=0.05)


@pytest.mark.parametrize("average", ["ema", "sum"])
def test_closed_form_equals_the_spectral_radius_at_100_000_random_points(average):
    generator = np.random.default_rng(0)
    count = 100_000
    beta1, beta2 = generator.uniform(0, 0.999, count), generator.uniform(0, 0.999, count)
    gamma = generator.uniform(-1.5, 1.5, count)
    kappa = 1 - beta2 if average == "ema" else np.ones(count)
    limit = closed_form.stable_sharpness(gamma, beta1, beta2, kappa)
    s = np.where(np.isfinite(limit), limit, 1) * np.exp(generator.normal(0, 1, count))
    s[: count // 2] = (np.where(np.isfinite(limit), limit, 1) * generator.uniform(0.9, 1.1, count))[: count // 2]
    system = linearise(edsl.parse(f"grad | e | sgd(momentum=0.5, average='{average}')"))
    symbols = [sympy.Symbol(name) for name in ("alpha", "beta1", "momentum", "lr", "h")]
    bare = system.A.subs(sympy.Symbol("weight_decay"), 0)
    radius = stability.spectral_radius(type(system)(system.states, bare, system.B, {}, ()), symbols)(
        gamma / (1 - beta1), beta1, beta2, np.ones(count), s
    )
    claimed, found = s < limit, radius < 1
    # An eigenvalue computed in float64 near a multiple root is right to about the root of 1e-16.
    close = np.abs(radius - 1) < 1e-9
    mismatch = (claimed != found) & ~close
    assert not mismatch.any(), np.stack([gamma, beta1, beta2, s, limit, radius])[:, mismatch].T[:5]
    assert found.mean() > 0.2
    assert (~found).mean() > 0.2


def quadratic(spec, curvatures, steps, prepare=None):
    """|θ| along steps from 1 on f = Σ hθ²/2 by the compiled optimizer, until one exceeds 100."""
    h = torch.tensor(curvatures, dtype=torch.float64)
    params = [torch.nn.Parameter(torch.ones_like(h))]
    optimizer = edsl.compile(spec, params)
    if prepare is not None:
        prepare(optimizer, params[0])
    path = []
    for _ in range(steps):
        path.append(walk(optimizer, params, [[h * params[0].detach()]])[0][0].abs())
        if path[-1].max() > 100:
            break
    return torch.stack(path)


def shrinks(path) -> bool:
    """Whether the largest |θ| in the last third lies below that in the first third."""
    third = len(path) // 3
    return bool(path[-third:].max() < 0.9 * path[:third].max())


def freeze_second_moment(optimizer, parameter):
    """v̂ = 1 for good: a decay of nearly 1, and a step count at which no debiasing is left."""
    zero = torch.zeros_like(parameter.detach())
    optimizer.state[parameter].update(
        {"step": torch.tensor(10**14), "e.mean": zero, "adam.m": zero.clone(), "adam.v": torch.ones_like(zero)}
    )


@pytest.mark.parametrize(
    ("spec", "sharpness", "prepare"),
    [
        ("grad | e(alpha=-5, beta1=0.9) | sgd(lr=1)", check_closed_form(-5, 0.9, 0, "sum"), None),
        ("grad | e(alpha=-5, beta1=0.99) | sgd(lr=1, momentum=0.9)", check_closed_form(-5, 0.99, 0.9, "sum"), None),
        ("grad | e(alpha=-1.5, beta1=0.5) | sgd(lr=1, momentum=0.9)", check_closed_form(-1.5, 0.5, 0.9, "sum"), None),
        (
            "grad | e(alpha=-5, beta1=0.99) | adam(lr=1, beta2=0.9, beta3=0.999999999999, eps=0)",
            check_closed_form(-5, 0.99, 0.9, "ema"),
            freeze_second_moment,
        ),
    ],
    ids=["E-SGD", "E-SGD with momentum", "E-SGD beyond the cliff", "E-Adam, frozen v"],
)
def test_compiled_optimizer_converges_at_0_99_and_diverges_at_1_01_of_s_star(spec, sharpness, prepare):
    s = sharpness["stable_sharpness"]
    path = quadratic(spec, [0.99 * s, 1.01 * s], 20_000, prepare)
    assert path[-1, 1] > 100
    assert shrinks(path[:, 0])


def test_bound_of_the_paper_is_neither_necessary_nor_sufficient():
    accepted_but_diverges = check_closed_form(-99, 0.99, 0.9, "ema", 1.0, (0, 0.2))
    assert accepted_but_diverges["within_simple_bound"]
    assert not accepted_but_diverges["stable"]
    assert "accepts this, and the recurrence diverges" in accepted_but_diverges["disagreements"][0]
    for alpha, s in ((-50, 0.01), (50, 0.1)):
        rejected_but_converges = check_closed_form(alpha, 0.9, 0.9, "ema", 1.0, (0, s))
        assert not rejected_but_converges["within_simple_bound"]
        assert rejected_but_converges["stable"]
        assert "rejects this, and the recurrence converges" in rejected_but_converges["disagreements"][0]
    with pytest.warns(edsl.EdslWarning):
        edsl.parse("grad | e(alpha=-50, beta1=0.9, unchecked=True) | sgd")
    diverges = "grad | e(alpha=-99, beta1=0.99) | sgd(lr=1, momentum=0.9, average='ema')"
    assert quadratic(diverges, [0.2], 3000)[-1] > 100
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", edsl.EdslWarning)
        for alpha, s in ((-50, 0.01), (50, 0.1)):
            spec = f"grad | e(alpha={alpha}, beta1=0.9, unchecked=True) | sgd(lr=1, momentum=0.9, average='ema')"
            assert quadratic(spec, [s], 6000)[-1] < 1e-3


def test_cliff_and_best_alpha_are_where_the_formulas_say():
    assert closed_form.cliff(0.99, 0.9) == pytest.approx(-90.83, abs=0.005)
    gammas = np.linspace(-1, 0, 200_001)
    for beta1, beta2, kappa in ((0.99, 0.9, 0.1), (0.8, 0.5, 1.0)):
        s = closed_form.stable_sharpness(gammas, beta1, beta2, kappa)
        alpha, most = closed_form.best(beta1, beta2, kappa)
        assert s.max() == pytest.approx(most, rel=1e-3)
        assert gammas[s.argmax()] / (1 - beta1) == pytest.approx(alpha, rel=1e-3)


def test_negative_curvature_is_unstable_for_every_alpha():
    generator = np.random.default_rng(1)
    system = linearise(edsl.parse("esgd(lr=1)"))
    alphas, betas = generator.uniform(-150, 150, 60), generator.uniform(0, 0.999, 60)
    for h in (-1e-3, -0.1, -10):
        assert (radius_map(system, ("alpha", "beta1"), alphas, betas, h) > 1).all()


def test_ode_bound_is_routh_hurwitz_of_the_linearised_ode():
    """(β₁ηD + 1−β₁)(β₂ηD + 1−β₂)Dθ = −κ[(1−β₁)f′ + (β₁+γ)η f″ Dθ], θ = e^{Dt/η}."""
    D, b1, b2, gamma, kappa, s = sympy.symbols("D beta1 beta2 gamma kappa s", positive=True)
    left = (b1 * D + 1 - b1) * (b2 * D + 1 - b2) * D
    cubic = sympy.Poly(left + kappa * s * ((1 - b1) + (b1 + gamma) * D), D)
    c3, c2, c1, c0 = cubic.all_coeffs()
    at_bound = sympy.solve(c2 * c1 - c3 * c0, gamma)[0]
    for values in ((0.9, 0.7, 0.3, 2.0), (0.99, 0.9, 0.1, 30.0), (0.2, 0.5, 1.0, 0.1)):
        numbers = dict(zip((b1, b2, kappa, s), values, strict=True))
        beta1, beta2, k, sharpness = values
        expected = closed_form.lower_bound("ode", sharpness, beta1, beta2, k)
        assert float(at_bound.subs(numbers)) == pytest.approx(expected, rel=1e-10)


def test_three_models_are_ordered_and_the_exact_one_is_the_hopf_bound():
    for beta1, beta2, s in ((0.99, 0.9, 0.5), (0.5, 0.9, 2.0)):
        kappa = 1 - beta2
        frozen, ode, exact = (closed_form.lower_bound(m, s, beta1, beta2, kappa) for m in ("frozen", "ode", "exact"))
        assert frozen < min(ode, exact)
        assert closed_form.hopf(exact, beta1, beta2, kappa) == pytest.approx(s, rel=1e-9)


def test_ode_interval_is_the_papers_for_an_ema_momentum():
    low, high = closed_form.ode_interval(0.01, (-1, 100), 0.99, 0.9, 0.1)
    assert low == pytest.approx(-99 - 1 / (0.01 * 100))
    assert high == pytest.approx(-99 + 1 / (0.01 * 1))


def test_map_of_200_by_200_agrees_with_the_closed_form():
    x, y = np.linspace(-100, 100, 200), np.linspace(0, 0.999, 200)
    sharpness = sharpness_map(linearise(edsl.parse("esgd(lr=0.01)")), ("alpha", "beta1"), x, y)
    alpha, beta1 = np.meshgrid(x, y)
    closed = closed_form.stable_sharpness(alpha * (1 - beta1), beta1, 0.9, 1.0)
    assert sharpness.shape == (200, 200)
    np.testing.assert_allclose(0.01 * sharpness, closed, rtol=1e-6)


def test_weight_decay_moves_the_stable_interval():
    interval = check_pipeline(edsl.parse("adamw(lr=1, weight_decay=0.1)"))["stable_curvatures"]
    assert interval[0] == pytest.approx(-0.1)


def test_minimal_radius_leaves_out_the_mode_that_theta_never_shows():
    report = check_pipeline(edsl.parse("grad | e(alpha=0) | sgd(lr=1)"), (0, 1))
    assert report["radius"]["minimal"] == pytest.approx(0, abs=1e-12)
    assert report["radius"]["full"] == pytest.approx(0.99)


@pytest.mark.parametrize(
    ("spec", "curvature", "stable", "part"),
    [
        ("esgd(lr=0.01)", (-5, -1), False, "none converges"),
        ("esgd(lr=0.01)", (-1, 10), True, "Of the curvatures below 0, none converges"),
        ("adamw(lr=0.1, weight_decay=2)", (-1, 10), True, "Of the curvatures below 0, all converge"),
        ("adamw(lr=0.1, weight_decay=2)", (-3, 10), True, "those between -2 and 0 alone converge"),
        ("adamw(lr=0.1, weight_decay=2)", (-1.9, -1), True, "all converge"),
        ("adamw(lr=0.1, weight_decay=2)", (-2.1, -1), False, "those between -2 and -1 alone converge"),
        ("sgd(lr=1)", (0, 2), False, "reaches 2, not below the stable sharpness 2"),
        ("sgd(lr=1)", (0, 0), False, "none converges"),
        ("sgd(lr=1e10)", None, True, "lr · curvature < 2,"),
        ("sgd(lr=0)", None, False, "lr is 0, so nothing moves"),
        ("sgd(lr=1.8412, weight_decay=1.609)", None, False, "it does for -1.609 < curvature < -0.522752"),
        ("qhm(lr=1, momentum=0.9, nu=20)", None, True, "hopf"),
    ],
)
def test_verdict_on_a_range_is_of_the_pipelines_own_recurrence(spec, curvature, stable, part):
    report = check_pipeline(edsl.parse(spec), curvature)
    assert report["stable"] is stable
    assert part in report["verdict"] or part == report["limited_by"]
    assert not any("unstable for every alpha" in line for line in report["disagreements"]) or "e" in spec[:1]


@pytest.mark.parametrize(
    ("spec", "proved"),
    [
        ("esgd", True),
        ("eadam", True),
        ("grad | e | sgd", True),
        ("grad | e | rmsprop", True),
        ("grad | e | lamb(layerwise=False, weight_decay=0)", True),
        ("grad | e | sgd(lr=0.01, momentum=0.9, nesterov=True)", False),
        ("grad | e | lamb(layerwise=False, m_reads='g')", False),
        ("grad | e | adam(weight_decay=0.1)", False),
        ("esgd(weight_decay=0.1)", False),
        ("grad | e | e | sgd", False),
        ("grad | e | adan", False),
        ("grad | e | sgd | decay", False),
    ],
)
def test_closed_forms_stand_only_where_the_loop_is_theirs_for_every_alpha(spec, proved):
    report = check_pipeline(edsl.parse(spec), (0, 10))
    assert (report["lower_bounds_on_alpha"] is not None) is proved
    assert (report["ode_interval"] is not None) is proved
    if "m_reads" in spec:
        assert report["simple_bound"] is None
        assert any("alpha does not enter" in note for note in report["notes"])


def test_bound_on_alpha_before_nesterov_is_its_own():
    """At s = 1 it is −94.36, where heavy ball's is −90.93."""
    spec = "grad | e(alpha={}) | sgd(lr=0.01, momentum=0.9, nesterov=True)"
    low, _ = check_pipeline(edsl.parse(spec.format(-94)), (0, 100))["alpha_range"]
    assert low == pytest.approx(-94.365, abs=5e-4)
    for alpha in (-93.1, -93.2):  # on both sides of the bound at s = 0.1
        report = check_pipeline(edsl.parse(spec.format(alpha)), (0, 10))
        assert report["stable"] == (alpha > report["alpha_range"][0])
        path = quadratic(spec.format(alpha), [10.0], 6000)
        assert (path[-500:].max() < path[2000:2500].max()) == report["stable"]


def test_clusters_of_eigenvalues_near_1_do_not_mislead():
    """Six averages with one β: computed eigenvalues scatter by 1e-16^(1/6), across the unit circle."""
    spec = "grad | " + "e(alpha=-1, beta1=0.9999) | " * 6 + "sgd(lr=1)"
    report = check_pipeline(edsl.parse(spec), (0, 0.5))
    assert report["stable"]
    assert report["radius"]["full"] < 1
    shrunk = quadratic(spec, [0.5], 4000)[-1].item()
    assert shrunk < 1e-2


def test_radius_is_that_of_the_eigenvalues():
    loop = loop_of(edsl.parse("grad | e(alpha=-3, beta1=0.7) | sgd(lr=1, momentum=0.5)"))
    system = linearise(edsl.parse("grad | e(alpha=-3, beta1=0.7) | sgd(lr=1, momentum=0.5)"))
    for h in (0.01, 0.3, 1.0, 5.0):
        A = np.array(system.at(h=h).A.tolist(), dtype=float)
        assert stability.radius_at(loop, h) == pytest.approx(np.abs(np.linalg.eigvals(A)).max(), rel=1e-9)


def test_lr_on_an_axis_of_a_map_is_the_points_own():
    x, y = np.geomspace(0.01, 1, 3), np.array([0.0, 0.5])
    system = linearise(edsl.parse("sgd(lr=0.001, momentum=0.5)"))
    sharpness = step_sizes(system, ("lr", "momentum"), x, y) * sharpness_map(system, ("lr", "momentum"), x, y)
    np.testing.assert_allclose(sharpness, [[2, 2, 2], [3, 3, 3]], rtol=1e-9)


def test_axis_near_1_is_a_logarithm_of_the_distance():
    axis = Axis.over("beta1", 0, 0.999, 0.99, 4)
    np.testing.assert_allclose(axis.values, [0, 0.9, 0.99, 0.999])
    np.testing.assert_allclose(axis.placed(axis.values), [0, 1, 2, 3])
    assert Axis.over("momentum", 0, 0.9, 0.5, 3).kind == "plain"
    assert Axis.over("lr", 0.01, 1, 0.1, 3).kind == "log"
