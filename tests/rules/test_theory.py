"""Theory reads rules as it reads classes: on letters, as linear systems, in plain numbers."""

from __future__ import annotations

import pytest
import sympy

import edsl
from edsl.theory.equivalence.comparison import compare
from edsl.theory.systems.linearise import NotLinear, linearise
from edsl.theory.text.latex import latex
from edsl.theory.text.notation import recurrences
from tests.rules.builtins import AGAIN

NESTED = """
@update
def own(u, *, lr=0.01, momentum: decay = 0.9):
    return sgd(e(u, alpha=-3, beta1=0.9), lr=lr, momentum=momentum)

own
"""


def lines(spec: str) -> list[str]:
    return [line for part in recurrences(edsl.parse(spec))[1:] for line in part.lines]


@pytest.mark.parametrize("name", ["adamw", "e, start", "qhm", "sgd, heavy", "decay", "lion"])
def test_rule_has_the_linear_system_of_the_class_or_is_refused_alike(name):
    again = AGAIN[name]
    own, ruled = edsl.parse(again.own), edsl.parse(f"{again.text}\n{again.ruled or again.own}")
    if name == "lion":
        with pytest.raises(NotLinear, match="lion has no linear model: a sign"):
            linearise(ruled)
        return
    expected, found = linearise(own), linearise(ruled)
    assert sympy.simplify(found.A - expected.A) == sympy.zeros(*expected.A.shape)
    assert sympy.simplify(found.B - expected.B) == sympy.zeros(*expected.B.shape)


def test_linear_part_of_stages_within_is_exact():
    found = linearise(edsl.parse(NESTED)).at(h=10)
    expected = linearise(edsl.parse("grad | e(alpha=-3, beta1=0.9) | sgd(lr=0.01, momentum=0.9)")).at(h=10)
    assert found.characteristic == expected.characteristic
    assert not found.A.atoms(sympy.Float)
    assert compare(edsl.parse(NESTED), edsl.parse("grad | e(alpha=-3, beta1=0.9) | sgd(lr=0.01, momentum=0.9)")).equal


def test_locals_get_lines_of_their_own_in_the_order_of_the_rule():
    text = """
@update
def own(u, *, lr=0.1, beta2: decay = 0.9, eps=1e-8, long_name=0.5):
    d = u + long_name * theta
    m_hat = debias(m, beta2)
    m = ema(m, d, beta2)
    size = sqrt(m * m) + eps
    return -lr * d / size
own
"""
    assert lines(text) == [
        "dₖ = gₖ + long_name θₖ₋₁",
        "mₖ = β₂ mₖ₋₁ + (1 − β₂) dₖ",
        "sizeₖ = √(mₖ²) + ε",
        "θₖ = θₖ₋₁ − η dₖ / sizeₖ",
    ]
    assert latex("sizeₖ = √v̂ₖ + long_name") == (r"\mathit{size}_k = \sqrt{\hat v_k} + \mathit{long\_name}")
    assert latex("√peakₖ + √mean(dₖ²)") == r"\sqrt{\mathit{peak}_k} + \sqrt{\operatorname{mean}(d_k^2)}"
    assert latex("√column mean(rₖ)") == r"\sqrt{\text{column mean}(r_k)}"
    assert latex("fast̂ₖ = fastₖ / (1 − β₁ᵏ)") == r"\hat{\mathit{fast}}_k = \mathit{fast}_k / (1 - \beta_1^k)"


def test_words_that_have_no_linear_part_are_refused_by_name():
    rule = "@update\ndef own(u, *, lr=0.1):\n    return -lr * {}\nown"
    for body, said in {
        "where(u > 0, u, -u)": "a choice by values",
        "tanh(u)": "tanh of each element",
        "abs(u)": "abs of each element",
        "u / row_mean(u * u)": "a mean over each row",
    }.items():
        with pytest.raises(NotLinear, match=f"own has no linear model: {said}"):
            linearise(edsl.parse(rule.format(body)))
