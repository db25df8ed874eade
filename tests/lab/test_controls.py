"""Controls: the base without E, and a momentum that delays as much."""

import numpy as np
import pytest

import edsl
from edsl.lab.races.ablation import ablation
from edsl.lab.races.build import race
from edsl.lab.races.controls import controls_of, explores, twin_of, why_no_twin
from edsl.lab.races.sweep import sweep
from edsl.language.registry.recipes import RECIPES
from edsl.theory.systems.filter import update_filter


def momentum_of(spec, steps=20_000):
    """The weights of past gradients in a momentum that E feeds, by a plain loop."""
    pipeline = edsl.parse(spec)
    values = pipeline.hyperparameters
    alpha, beta1 = values.get("alpha", 0.0), values.get("beta1", 0.0)
    beta2, total = values.get("beta2", values.get("momentum")), 0.0
    mean, m, weights = 0.0, 0.0, []
    for k in range(steps):
        g = 1.0 if k == 0 else 0.0
        u = g + alpha * (1 - beta1) * (g - mean)
        mean = beta1 * mean + (1 - beta1) * g
        m = beta2 * m + (1 - beta2) * u
        total += m
        weights.append(m)
    assert total == pytest.approx(1)
    return np.array(weights)


@pytest.mark.parametrize("spec", ["eadam", "eadam(alpha=-50)", "alto(alpha=2, beta1=0.9)", "eadamw(alpha=5)"])
def test_the_twins_momentum_delays_as_much_as_with_e(spec):
    twin = twin_of(edsl.parse(spec))
    assert twin is not None
    weights, slower = momentum_of(spec), momentum_of(str(twin.pipeline))
    steps = np.arange(len(weights))
    assert steps @ weights == pytest.approx(steps @ slower, rel=1e-6)


def test_at_minus_90_the_twin_has_the_same_momentum():
    twin = twin_of(edsl.parse("eadam(alpha=-90)"))
    assert twin is not None
    assert twin.pipeline == edsl.parse("adam(beta2=0.99)")
    assert np.abs(momentum_of("eadam(alpha=-90)") - momentum_of(str(twin.pipeline))).max() < 1e-12


def test_before_plain_gradient_descent_the_twin_is_the_same_filter():
    pipeline = edsl.parse("grad | e(alpha=-9, beta1=0.9) | sgd(lr=0.3)")
    twin = twin_of(pipeline)
    assert twin is not None
    assert twin.pipeline.update.name == "qhm"
    difference = update_filter(pipeline).impulse(200) - update_filter(twin.pipeline).impulse(200)
    assert np.abs(difference).max() < 1e-12


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_has_its_base_as_control(name):
    controls = controls_of(edsl.parse(name))
    assert controls[0].name == "without E"
    assert all("e" not in {stage.name for stage in control.pipeline.stages} for control in controls)
    assert len({str(control.pipeline) for control in controls}) == len(controls)


def test_without_e_there_is_no_control_and_no_twin_where_none_would_be_slow_enough():
    assert controls_of(edsl.parse("adam")) == ()
    assert twin_of(edsl.parse("eadam(alpha=50)")) is None  # a momentum before the newest gradient
    assert twin_of(edsl.parse("elion")) is None  # not a plain average
    assert twin_of(edsl.parse("eadam(alpha=0)")) is None


def test_a_control_that_is_in_the_race_already_runs_once_and_is_linked():
    chosen = race("sine", ["alto", "lamb"], controls=True)
    assert [entrant.name for entrant in chosen.entrants] == ["alto", "lamb", "alto, twin"]
    assert chosen.entrants[2].control_of == "alto"
    assert chosen.controls == {"alto": {"without E": "lamb", "twin": "alto, twin"}}


def test_controls_are_shared_where_they_are_one_pipeline():
    specs = ["eadam(alpha=-5)", "eadam(alpha=-90)", "adam(beta2=0.99)"]
    chosen = race("sine", specs, controls=True)
    base = "eadam(alpha=-5), without E"
    assert chosen.controls["eadam(alpha=-5)"] == {"without E": base, "twin": "eadam(alpha=-5), twin"}
    assert chosen.controls["eadam(alpha=-90)"] == {"without E": base, "twin": "adam(beta2=0.99)"}


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ("elion", "lion averages no gradients here"),
        ("grad | e | lamb(m_reads='g')", "the momentum of lamb reads the raw gradient"),
        ("eadam(alpha=0)", "alpha is 0"),
        ("eadam(alpha=50)", "the momentum leads the newest gradient"),
        ("grad | e | e | sgd", "more than one E"),
        ("grad | route(matrix=e | muon, other=adamw)", "its E is on a route"),
        ("eadam", ""),
    ],
)
def test_an_e_without_a_twin_says_why(spec, reason):
    pipeline = edsl.parse(spec)
    assert reason in why_no_twin(pipeline)
    assert (twin_of(pipeline) is None) == bool(reason)
    assert controls_of(pipeline)[0].name == "without E"
    assert not explores(controls_of(pipeline)[0].pipeline)


def test_before_a_clip_or_a_first_step_of_its_own_the_twin_is_not_called_exact():
    for spec, said in {
        "grad | e | sgd": "which E before plain gradient descent is: nu",
        "grad | e | sgd(weight_decay=0.1)": "which E before plain gradient descent is: nu",  # its decay stands behind
        "grad | e(start='first') | sgd": "which E alone would make of it",
        "grad | e | clip(norm=1) | sgd": "which E alone would make of it",
    }.items():
        twin = twin_of(edsl.parse(spec))
        assert twin is not None
        assert said in twin.about


def test_sweep_leaves_out_what_the_language_refuses_and_says_why():
    found = sweep("alto", ["alpha=-5,0.5", "beta1=0.01,0.99"])
    assert [entrant.name for entrant in found.entrants] == [
        "without E",
        "alpha=-5, beta1=0.99",
        "alpha=0.5, beta1=0.01",
        "alpha=0.5, beta1=0.99",
    ]
    ((name, reason),) = found.refused
    assert name == "alpha=-5, beta1=0.01"
    assert "|alpha| must be less than" in reason


@pytest.mark.parametrize(
    ("grids", "message"),
    [
        ([], "at least one grid"),
        (["alpha"], "a grid is NAME=VALUE"),
        (["alpa=1"], "did you mean 'alpha'"),
        (["alpha=-5,5", "alpha=1"], "has one grid"),
        (["alpha=500"], "no combination can be run"),
        ([f"alpha={','.join(map(str, range(1, 99)))}", f"lr={','.join(map(str, range(1, 99)))}"], "at most 500"),
    ],
)
def test_bad_grids_are_one_line(grids, message):
    with pytest.raises(edsl.EdslError, match=message) as error:
        sweep("alto", grids)
    assert "\n" not in str(error.value)


def test_ablation_has_the_parts_of_table_7():
    entrants = ablation("alto")
    assert [entrant.name for entrant in entrants] == [
        "alto",
        *(f"alto {part}" for part in ("−a_m", "−a_v", "−bc", "−lrr", "−e")),
    ]
    assert entrants[-1].spec == str(edsl.parse("lamb"))
    with pytest.raises(edsl.EdslError, match="has nothing to ablate"):
        ablation("sgd")
    assert [e.name for e in ablation("grad | clip(norm=1) | adam | caution")][1:] == [
        "grad | clip(norm=1) | adam | caution −clip",
        "grad | clip(norm=1) | adam | caution −caution",
    ]
