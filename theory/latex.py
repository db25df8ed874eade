"""Recurrences as LaTeX, from the lines that `notation` writes."""

from __future__ import annotations

import re

_LETTERS = {
    "α": r"\alpha", "β": r"\beta", "γ": r"\gamma", "ε": r"\varepsilon", "η": r"\eta", "θ": r"\theta",
    "λ": r"\lambda", "μ": r"\mu", "σ": r"\sigma", "ξ": r"\xi", "∇": r"\nabla ", "ḡ": r"\bar g",
    "ₖ₋₁": "_{k-1}", "ₖ": "_k", "₁": "_1", "₂": "_2", "₃": "_3", "ᵏ": "^k", "²": "^2",
    "−": "-", "′": "'", "clamp": r"\operatorname{clamp}", "min": r"\min",
}  # fmt: skip


def latex(line: str) -> str:
    r"""One line of a recurrence in LaTeX.

    Example:
        >>> from edsl.theory.latex import latex
        >>> latex("θₖ = θₖ₋₁ − η (m̂ₖ / (√v̂ₖ + ε₁))")
        '\\theta_k = \\theta_{k-1} - \\eta (\\hat m_k / (\\sqrt{\\hat v_k} + \\varepsilon_1))'
    """
    text = re.sub("(.)\u0302", r"\\hat \1", line)
    text = _roots(text)
    text = text.replace("‖all ", r"‖\text{all }")
    text = re.sub("‖([^‖]*)‖", r"\\lVert \1 \\rVert", text)
    text = re.sub(r"\^\(([^()]*)\)", r"^{\1}", text)
    for letter, written in _LETTERS.items():
        text = text.replace(letter, written)
    return text


def _roots(text: str) -> str:
    """√x and √(…) as \\sqrt{…}."""
    while (place := text.find("√")) >= 0:
        rest = text[place + 1 :]
        if rest.startswith("("):
            end = _closing(rest)
            inner, after = rest[1:end], rest[end + 1 :]
        else:
            name = re.match(r"(?:\\hat )?\S[₀-₉ₖ₋]*", rest)
            assert name is not None  # a root is of something
            inner, after = name.group(), rest[name.end() :]
        text = f"{text[:place]}\\sqrt{{{inner}}}{after}"
    return text


def _closing(text: str) -> int:
    """The place of the bracket that closes the one a text begins with."""
    depth = 0
    for place, character in enumerate(text):
        depth += (character == "(") - (character == ")")
        if depth == 0:
            return place
    return len(text)
