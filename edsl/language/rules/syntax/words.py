"""The words of rules: values of the step, and functions of values, each with what it becomes in code.

A word breaks no text that was written before it: values can't be assigned, and what is called is no local.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Value:
    """A value of the step.

    Attributes:
        code: what it is in code.
        shape: of what: "element" or "scalar".
        is_matrix: it asks for a parameter as a matrix.
    """

    code: str
    shape: str
    is_matrix: bool = False


VALUES = {
    "theta": Value("at.theta", "element"),
    "g": Value("at.gradient", "element"),
    "hessian": Value("at.hessian", "element"),
    "normal": Value("at.normal", "element"),
    "k": Value("at.k", "scalar"),
    "looks": Value("at.looks", "scalar"),
    "rows": Value("at.rows", "scalar", is_matrix=True),
    "columns": Value("at.columns", "scalar", is_matrix=True),
}
RATE = Value("at.lr", "scalar")  # `lr` in a wrapper: the base update's


@dataclass(frozen=True)
class Word:
    """A function of values.

    Attributes:
        code: with its arguments as {0}, {1}, ….
        shape: of what it gives: "joined" from its arguments', or by a rule of `edsl.language.rules.shapes`.
        most: arguments that it takes at most; the least is the number in its code.
        longer: its code with `most` arguments, where it may take one more.
        fixed: the places of arguments that choose the structure: whole numbers and options, no values.
        is_matrix: it asks for a parameter as a matrix.
        repeated: the places of arguments that stand in its code twice.
    """

    code: str
    shape: str = "joined"
    longer: str = ""
    fixed: tuple[int, ...] = ()
    is_matrix: bool = False
    repeated: tuple[int, ...] = ()

    @property
    def least(self) -> int:
        return _arguments(self.code)

    @property
    def most(self) -> int:
        return _arguments(self.longer or self.code)


WEIGHTS = "weights"  # marks the buffer that evaluation_weights() gives


def _arguments(code: str) -> int:
    return next(count for count in range(9) if f"{{{count}}}" not in code)


def _elementwise(name: str) -> Word:
    return Word(f'at.elementwise("{name}", {{0}})')


WORDS = {
    "sqrt": Word("at.sqrt({0})"),
    **{name: _elementwise(name) for name in ("abs", "exp", "log", "tanh")},
    "atan2": Word('at.elementwise("atan2", {0}, {1})'),
    "sign": Word("at.sign({0})"),
    "positive": Word("at.positive({0})"),
    "finite": Word("at.finite({0})"),
    "minimum": Word("at.minimum({0}, {1})"),
    "maximum": Word("at.maximum({0}, {1})"),
    "clamp": Word("at.clamp({0}, {1})"),
    "where": Word("at.where({0}, {1}, {2})"),
    "ema": Word("({2} * {0} + (1 - {2}) * {1})", repeated=(2,)),
    "debias": Word("at.debias({0}, {1})", longer="at.debias({0}, {1}, {2})"),
    "first": Word("at.first({0}, {1})"),
    "fresh": Word("at.fresh({0}, {1})"),
    "difference": Word("at.difference({0}, {1})"),
    "every": Word("at.every({0}, {1}, {2})", fixed=(0,)),
    "norm": Word("at.norm({0})", "of a layer"),
    "mean": Word("at.mean({0})", "of a layer"),
    "total": Word("at.total({0})", "of a layer"),
    WEIGHTS: Word("{0}", "of elements"),
    "ratio": Word("at.ratio({0}, {1})", "of scalars", longer="at.ratio({0}, {1}, where={2})"),
    "row_mean": Word("at.row_mean({0})", "of rows", is_matrix=True),
    "column_mean": Word("at.column_mean({0})", "of columns", is_matrix=True),
    "row_norm": Word("at.row_norm({0})", "of rows", is_matrix=True),
    "column_norm": Word("at.column_norm({0})", "of columns", is_matrix=True),
    "transpose": Word("at.transpose({0})", "transposed", is_matrix=True),
    "product": Word("at.product({0}, {1})", "of a product", is_matrix=True),
    "orthogonal": Word("at.orthogonal({0}, {1}, {2}, {3})", "same", fixed=(1, 2, 3), is_matrix=True),
}
DIRECTION = "direction"  # of a stage: not a function of a value


def is_word(name: str) -> bool:
    """Whether rules have this name for a value or a function."""
    return name in VALUES or name in WORDS or name == DIRECTION
