"""Recurrences as LaTeX, from the lines that `notation` writes."""

from __future__ import annotations

import re

from edsl.language.operations import OPERATIONS

_LETTERS = {
    "α": r"\alpha", "β": r"\beta", "γ": r"\gamma", "ε": r"\varepsilon", "η": r"\eta", "θ": r"\theta",
    "λ": r"\lambda", "μ": r"\mu", "ν": r"\nu", "ρ": r"\rho", "σ": r"\sigma", "ξ": r"\xi", "φ": r"\varphi",
    "Δ": r"\Delta ", "Σ": r"\sum", "∇": r"\nabla ", "∂": r"\partial ", "ḡ": r"\bar g", "ĝ": r"\hat g",
    "ₖ₋₁": "_{k-1}", "ₖ": "_k", "ᵢ": "_i", "ⱼ": "_j", "₀": "_0", "₁": "_1", "₂": "_2", "₃": "_3", "₄": "_4", "₅": "_5",
    "⁻ᵀ": "^{-\\top}", "⁻¹": "^{-1}", "ᵏ": "^k", "ᵀ": "^\\top", "²": "^2", "−": "-", "′": "'",
    "⊙": r"\odot", "·": r"\cdot ", "±": r"\pm ", "~": r"\sim", "≤": r"\le ", "≥": r"\ge ",
}  # fmt: skip
_ACCENTS = {"\u0302": r"\hat", "\u0303": r"\tilde", "\u0304": r"\bar"}
_WORDS = ("clamp", "min", "max", "mean", "sign", "eigenvectors", "qr", "triu", "NS", "rows", "columns")
_PHRASE = re.compile(
    r"\b(if finite else|if|else|divides|is new|in each element|for every element|both along the directions of step)\b"
)


_PROSE = (
    *_PHRASE.pattern.replace("|", " ").replace("(", " ").replace(")", " ").split(),
    *("at", "step", "all", "of", "row", "column"),
)
_LONG = re.compile("(?<![\\\\A-Za-z])([A-Za-z][A-Za-z0-9_]+)([\u0302\u0303\u0304]?)")
_DIGITS = "[⁰¹²³⁴⁵⁶⁷⁸⁹]"
_PLAIN = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹", "0123456789")


def latex(line: str) -> str:
    r"""One line of a recurrence in LaTeX.

    Example:
        >>> from edsl.theory.text.latex import latex
        >>> latex("θₖ = θₖ₋₁ − η (m̂ₖ / (√v̂ₖ + ε₁))")
        '\\theta_k = \\theta_{k-1} - \\eta (\\hat m_k / (\\sqrt{\\hat v_k} + \\varepsilon_1))'
    """
    line, _, when = line.partition("   (")
    line = _LONG.sub(_spelled, line)
    for accent, command in _ACCENTS.items():
        line = re.sub(f"(.){accent}", rf"\{command} \1", line)
    text = _roots(line)
    text = re.sub(r"(\d)e−0?(\d+)", r"\1 \\cdot 10^{-\2}", text)
    text = re.sub(r"\b((?:row|column) [a-z]+)(?=\()", r"\\text{\1}", text)
    text = re.sub(rf"\b({'|'.join(_WORDS)})(?=[₀-₉]*\(| /|,|\))", r"\\operatorname{\1}", text)
    for name, row in OPERATIONS.items():
        if row.latex:
            text = re.sub(rf"\b{name}(?=\()", lambda found, command=row.latex: command, text)
    text = _PHRASE.sub(r"\\text{ \1 }", text)
    text = text.replace("‖all ", r"‖\text{all }")
    text = re.sub("‖([^‖]*)‖", r"\\lVert \1 \\rVert", text)
    text = re.sub(r"\^\(([^()]*)\)", r"^{\1}", text)
    text = re.sub(f"⁽({_DIGITS}+)⁾", lambda found: f"^{{({found[1].translate(_PLAIN)})}}", text)
    for letter, written in _LETTERS.items():
        text = text.replace(letter, written)
    return f"{text} \\quad\\text{{({when}}}" if when else text


def _spelled(found: re.Match[str]) -> str:
    """A name of several letters, as rules have them, under its accent; words of the notation stay as they are."""
    name, accent = found[1], found[2]
    if name in (*_WORDS, *_PROSE, *OPERATIONS):
        return found[0]
    written = rf"\mathit{{{name.replace('_', chr(92) + '_')}}}"
    return f"{_ACCENTS[accent]}{{{written}}}" if accent else written


def _roots(text: str) -> str:
    """√x and √(…) as \\sqrt{…}."""
    while (place := text.find("√")) >= 0:
        rest = text[place + 1 :]
        if rest.startswith("("):
            end = _closing(rest)
            inner, after = rest[1:end], rest[end + 1 :]
        elif function := re.match(r"(?:(?:row|column) )?[a-z]+\(", rest):
            end = function.end() + _closing(rest[function.end() - 1 :])
            inner, after = rest[:end], rest[end:]
        else:
            name = re.match(rf"(?:\\[a-z]+ ?(?:{{(?:[^{{}}]|{{[^{{}}]*}})*}}|\S)|\S)(?:[₀-₉ₖ₋⁽⁾]|{_DIGITS})*", rest)
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
