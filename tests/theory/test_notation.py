"""Recurrences printed from the stages' own steps."""

import pytest

import edsl
from edsl.theory.notation import recurrences


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
        ("torch.AdamW()", "torch.AdamW is another package's optimizer: its recurrence can't be read, only run"),
    ],
)
def test_switches_and_zero_terms_change_what_is_printed(spec, line):
    assert line in lines(spec)
