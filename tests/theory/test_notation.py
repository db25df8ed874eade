"""Recurrences printed from the stages' own steps."""

import pytest
from matplotlib.mathtext import MathTextParser
from specs import pipeline_with
from zoo_pipelines import TRAINS

import edsl
from edsl.language.registry.recipes import RECIPES
from edsl.language.registry.stages import STAGES
from edsl.theory.text.latex import latex
from edsl.theory.text.notation import recurrences

LONG_NAMES = ("amsgrad", "came")  # entries of the zoo with roots and means of quantities in words


def lines(spec):
    return [line for part in recurrences(edsl.parse(spec)) for line in part.lines]


def test_alto_prints_as_the_paper_writes_it():
    assert lines("alto") == [
        "gₖ = ∇f(θₖ₋₁)",
        "ḡₖ = β₁ ḡₖ₋₁ + (1 − β₁) gₖ",
        "uₖ = gₖ + α (1 − β₁) (gₖ − ḡₖ₋₁)",
        "mₖ = β₂ mₖ₋₁ + (1 − β₂) uₖ",
        "vₖ = β₃ vₖ₋₁ + (1 − β₃) uₖ²",
        "m̂ₖ = mₖ / (1 − β₂ᵏ)",
        "v̂ₖ = vₖ / (1 − β₃ᵏ)",
        "rₖ = m̂ₖ / (√v̂ₖ + ε₁) + λ θₖ₋₁",
        "θₖ = θₖ₋₁ − η ((‖θₖ₋₁‖ + ε₃) / (‖rₖ‖ + ε₂ (‖θₖ₋₁‖ + ε₃))) rₖ",
    ]


@pytest.mark.parametrize(
    ("spec", "line"),
    [
        ("grad | e(buffers=2) | sgd", "aₖ = β₁ aₖ₋₁ + (1 − β₁) (gₖ − gₖ₋₁)"),
        ("grad | e(start='first') | sgd", "uₖ = gₖ + α (1 − β₁) (gₖ − [gₖ if k = 1 else ḡₖ₋₁])"),
        ("grad | e | clip(norm=1) | sgd", "u′ₖ = uₖ min(1, c / ‖all uₖ‖)"),
        ("grad | clip(value=1) | sgd", "uₖ = clamp(gₖ, −v, v)"),
        ("grad | noise(gamma=0) | sgd", "uₖ = gₖ + σ ξₖ"),
        ("grad | noise | sgd", "uₖ = gₖ + σ k^(−γ / 2) ξₖ"),
        ("sgd", "θₖ = θₖ₋₁ − η gₖ"),
        ("sgd(weight_decay=1)", "θₖ = θₖ₋₁ − η (gₖ + λ θₖ₋₁)"),
        ("sgd(momentum=0.9, average='ema')", "mₖ = μ mₖ₋₁ + (1 − μ) gₖ"),
        ("alto_vanilla(layerwise=False, m_reads='g')", "θₖ = θₖ₋₁ − η (mₖ / (√vₖ + ε₁) + λ θₖ₋₁)"),
        ("alto(m_reads='g')", "mₖ = β₂ mₖ₋₁ + (1 − β₂) gₖ"),
        ("adam(beta2=0)", "vₖ = β₃ vₖ₋₁ + (1 − β₃) gₖ²"),
        ("grad | muon | decay", "Δₖ = −η √max(rows / columns, 1) NS₅((1 − μ) gₖ + μ mₖ)"),
        ("grad | muon | decay", "θₖ = θₖ₋₁ + Δₖ − η λ θₖ₋₁"),
        ("sgd | caution", "θₖ = θₖ₋₁ + Δₖ ([−Δₖ gₖ > 0] / max(mean([−Δₖ gₖ > 0]), ε))"),
        ("shampoo", "L̃ₖ = (L̂ₖ + ε₁ λ₁(L̂ₖ) I)^(−p)   (at step 1 and every 10 steps)"),
        ("soap(stagger=True)", "Qₖ = qr(Lₖ₋₁ Qₖ₋₁)   (every 10 steps, matrix by matrix)"),
        ("soap", "m′ₖ = qr(Lₖ₋₁ Qₖ₋₁)ᵀ Qₖ₋₁ mₖ₋₁ Pₖ₋₁ᵀ qr(Rₖ₋₁ Pₖ₋₁)   (every 10 steps)"),
        ("soap(every=5)", "Qₖ = qr(Lₖ₋₁ Qₖ₋₁)   (every 5 steps)"),
        ("spsa | sgd", "gₖ = (1/n) Σᵢ zᵢ (f(θₖ₋₁ + σ zᵢ) − f(θₖ₋₁ − σ zᵢ)) / (2 σ)"),
        ("sam | sgd", "gₖ = ∇f(θₖ₋₁ + ρ ĝₖ / ‖all ĝₖ‖)"),
        ("hutchinson(every=5) | sophia", "hₖ = [β₃ hₖ₋₁ + (1 − β₃) Dₖ if Dₖ is new else hₖ₋₁]"),
        ("adahessian", "v̂ₖ = vₖ / (1 − β₃^(j))"),
        ("torch.AdamW()", "torch.AdamW is another package's optimizer: edsl does not know its recurrence"),
    ],
)
def test_switches_and_zero_terms_change_what_is_printed(spec, line):
    assert line in lines(spec)


def test_routes_are_written_one_after_the_other_behind_what_they_share():
    written = recurrences(edsl.parse("grad | e | route(matrix=muon, other=adamw)"))
    assert [part.label for part in written] == ["grad", "e", "matrix: muon", "other: adamw"]
    written = recurrences(edsl.parse("route(matrix=muon, other=adamw) | decay"))
    assert [part.label for part in written] == [
        "grad",
        "matrix: muon",
        "matrix: decay",
        "other: adamw",
        "other: decay",
    ]
    assert written[2].lines == ("θₖ = θₖ₋₁ + Δₖ − η λ θₖ₋₁",)
    assert written[4].lines == ("θₖ = θₖ₋₁ + Δₖ − η⁽²⁾ λ θₖ₋₁",)  # other_lr is another learning rate


@pytest.mark.parametrize("spec", [*map(pipeline_with, STAGES), *RECIPES, *(TRAINS[name] for name in LONG_NAMES)])
def test_every_recurrence_is_latex(spec):
    stands_in = {r"\top": "T", r"\quad": " ", r"\text": r"\mathrm", r"\lVert": "|", r"\rVert": "|"}
    for part in recurrences(edsl.parse(spec)):
        for line in part.lines:
            written = latex(line)
            assert written.isascii(), written
            for command, plain in stands_in.items():  # which matplotlib's parser does not know
                written = written.replace(command, plain)
            MathTextParser("path").parse(f"${written}$")


@pytest.mark.parametrize(
    ("spec", "line"),
    [
        ("grad | e | e | sgd", "ḡ⁽²⁾ₖ = β₁⁽²⁾ ḡ⁽²⁾ₖ₋₁ + (1 − β₁⁽²⁾) uₖ"),
        ("sgd(weight_decay=0.1) | decay", "θₖ = θₖ₋₁ + Δₖ − η λ⁽²⁾ θₖ₋₁"),
        ("grad | e | rmsprop(centered=True)", "ḡ⁽²⁾ₖ = β₁ ḡ⁽²⁾ₖ₋₁ + (1 − β₁) gₖ"),
        ("grad | clip(value=1) | adam", "uₖ = clamp(gₖ, −v⁽²⁾, v⁽²⁾)"),
        ("grad | noise | noise | sgd", "u′ₖ = uₖ + σ⁽²⁾ k^(−γ⁽²⁾ / 2) ξ⁽²⁾ₖ"),
        ("spsa | noise | sgd", "uₖ = gₖ + σ⁽²⁾ k^(−γ / 2) ξₖ"),
        ("grad | noise | adan", "dₖ = β₄ dₖ₋₁ + (1 − β₄) (uₖ − [uₖ if k = 1 else uₖ₋₁])"),
        ("route(matrix=adam, other=adam)", "m̂⁽²⁾ₖ = m⁽²⁾ₖ / (1 − (β₂⁽²⁾)ᵏ)"),
    ],
)
def test_no_two_quantities_share_a_letter(spec, line):
    assert line in lines(spec)
    written = latex(line)
    assert written.isascii()
    MathTextParser("path").parse(f"${written.replace(chr(92) + 'text', chr(92) + 'mathrm')}$")


def test_products_of_numbers_are_no_difference():
    from edsl.theory.text.alphabet import Alphabet
    from edsl.theory.text.formula import letter
    from edsl.theory.text.writer import Writer

    write = Writer(Alphabet()).text
    x, five, small = letter("x"), letter("−5"), letter("0.01")
    assert write(five * small) == "−5 · 0.01"
    assert write(x * -5) == "x (−5)"
    assert write(-5 * x) == "−5 x"
    assert write(x + -5) == "x − 5"
    assert write(x - -5 * x) == "x + 5 x"
    assert write(-(-5 * x)) == "5 x"
    assert write(2 * (x * 3)) == "2 x · 3"
    assert write(x * (0.1 + 0.2)) == "x · 0.3"
