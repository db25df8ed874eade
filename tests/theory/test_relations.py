"""What E is otherwise known as, said only where it is; and its linear twin."""

import pytest

import edsl
from edsl.lab.races.controls import controls_of
from edsl.theory.statements.relations import relations
from edsl.theory.statements.twin import linear_twin

U = {"Grokfast-EMA"}  # said of u, whatever stands behind it


def told(spec):
    return {relation.name: relation.statement for relation in relations(edsl.parse(spec))}


@pytest.mark.parametrize(
    ("spec", "names"),
    [
        ("grad | e(alpha=-5, beta1=0.9) | sgd", {"QHM", *U}),
        ("grad | e(alpha=-9, beta1=0.9) | sgd(lr=0.1)", {"QHM", "heavy ball"}),
        ("grad | e(alpha=-8.1, beta1=0.9) | sgd(lr=0.1)", {"QHM", "Nesterov", *U}),
        ("grad | e(alpha=-8.1, beta1=0.9) | sgd(lr=0.1, weight_decay=0.1)", {"QHM", *U}),  # λ is scaled by another lr
        ("grad | e(alpha=-5, beta1=0.9) | lars(momentum=0, layerwise=False)", {"QHM", *U}),
        ("grad | e(alpha=0.7, beta1=0) | adam", {"optimistic gradient", "MARS (approximate)"}),
        ("esgd", {"two EMAs", *U}),
        ("alto", {"two EMAs", *U}),
        ("eadam(alpha=-90)", {"one EMA", *U}),
        ("grad | e(alpha=-9, beta1=0.9) | rmsprop", set()),  # its root reads u
        ("grad | e(alpha=-9, beta1=0.9) | adam(beta2=0)", set()),
        ("grad | e(alpha=-9, beta1=0.9) | lars(momentum=0)", set()),
        ("grad | e(alpha=-9, beta1=0.9, start='first') | sgd", set()),
        ("grad | e | sgd(momentum=0.9, nesterov=True)", U),
        ("alto(m_reads='g')", U),
        ("grad | e | adam(weight_decay=0.1)", U),  # its momentum takes λθ in
        ("grad | e | clip(norm=1) | sgd", set()),
        ("grad | e | noise | sgd", set()),
        ("grad | e | e | sgd", set()),
        ("spsa(common=True) | e(buffers=2) | sgd", set()),
        ("grad | e(alpha=0) | sgd", set()),
        ("sgd", set()),
    ],
)
def test_relations_are_those_of_the_pipelines_own_filter(spec, names):
    assert told(spec).keys() == names


def test_relations_carry_their_numbers():
    assert told("grad | e(alpha=-5, beta1=0.9) | sgd")["QHM"] == "β = 0.9, ν = −γ/β₁ = 0.555556, the same lr"
    assert told("esgd")["two EMAs"] == "the momentum is 10 · (0.0555556 · EMA(0.99) + 0.944444 · EMA(0.9)) of g"
    assert told("eadam")["two EMAs"] == "the momentum is 0.0555556 · EMA(0.99) + 0.944444 · EMA(0.9) of g"
    assert told("eadam(alpha=-90)")["one EMA"] == "the momentum is EMA(0.99) of g"
    assert "λ = 10, EMA decay 0.99" in told("alto(alpha=-90)")["Grokfast-EMA"]


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ("alto(m_reads='g')", "reads the raw gradient"),
        ("elion", "averages no gradients"),
        ("grad | e | rmsprop", "averages no gradients"),
        ("grad | e | e | sgd", "more than one E"),
        ("eadam(alpha=50)", "leads the newest gradient"),
        ("grad | e(alpha=0.5, beta1=0.01) | sgd(momentum=0.3)", "leads the newest gradient"),
        ("eadam(alpha=0)", "alpha is 0"),
    ],
)
def test_no_twin_says_why(spec, why):
    pipeline = edsl.parse(spec)
    base, *twin = controls_of(pipeline)
    assert not twin
    assert why in linear_twin(pipeline, base.pipeline).about


def test_qhm_is_the_exact_twin_with_weight_decay_too_and_not_of_another_first_step():
    exact, hedged = (
        controls_of(edsl.parse(spec))[1]
        for spec in ("grad | e(alpha=-99) | sgd(lr=0.1, weight_decay=0.1)", "grad | e(start='first') | sgd")
    )
    assert str(exact.pipeline) == "grad | qhm(lr=0.1, momentum=0.99, nu=1, weight_decay=0) | decay(rate=0.1)"
    assert "which E before plain gradient descent is" in exact.about
    assert "which E alone would make of it" in hedged.about
