"""What a step computes element by element, a row an operation: in C++, in Triton, on tensors, in LaTeX.

A row with a method is a function that stages may use, as `at.elementwise("exp", x)`. To add one, add its row.
"""

from __future__ import annotations

from dataclasses import dataclass

from edsl.errors import EdslError, nearest


@dataclass(frozen=True)
class Operation:
    """An operation in the languages that a step is written in, its parts as {0}, {1}, {2}.

    Attributes:
        cpp: an expression; `largest` is the largest finite number.
        triton: an expression, which stands alone in its line; {dtype} is that of arithmetic, {largest} as above.
        single: in Triton in float32, where that is rounded otherwise than the standard says.
        method: of a tensor, and the function of the same name in NumPy; "" for what stages write as an operator, or
            ask for by a method of `At`.
        latex: the command for its name.
        is_condition: its value is true or false.
    """

    cpp: str
    triton: str
    single: str = ""
    method: str = ""
    latex: str = ""
    is_condition: bool = False


def _operator(sign: str, single: str = "", is_condition: bool = False) -> Operation:
    return Operation(f"({{0}} {sign} {{1}})", f"{{0}} {sign} {{1}}", single, is_condition=is_condition)


OPERATIONS = {
    "+": _operator("+"),
    "-": _operator("-"),
    "*": _operator("*"),
    "/": _operator("/", single="tl.div_rn({0}, {1})"),
    **{sign: _operator(sign, is_condition=True) for sign in ("<", ">", "<=", ">=", "==")},
    "or": Operation("({0} || {1})", "{0} | {1}", is_condition=True),
    "isfinite": Operation("(std::fabs({0}) <= largest)", "tl.abs({0}) <= {largest!r}", is_condition=True),
    "where": Operation("({0} ? {1} : {2})", "tl.where({0}, {1}, {2})"),
    "neg": Operation("-{0}", "-{0}"),
    "abs": Operation("std::fabs({0})", "tl.abs({0})", method="abs"),
    "sqrt": Operation("std::sqrt({0})", "tl.sqrt({0})", single="tl.sqrt_rn({0})"),
    "pow": Operation("std::pow({0}, {1})", "power({0}, {1}).to({dtype})"),
    "mod": Operation("std::fmod({0}, {1})", "{0} - tl.floor({0} / {1}) * {1}"),  # of whole numbers
    "exp": Operation("std::exp({0})", "tl.exp({0})", method="exp", latex=r"\exp"),
    "log": Operation("std::log({0})", "tl.log({0})", method="log", latex=r"\log"),
    "tanh": Operation("std::tanh({0})", "1 - 2 / (tl.exp(2 * {0}) + 1)", method="tanh", latex=r"\tanh"),
    "atan2": Operation(
        "std::atan2({0}, {1})", "atan2({0}, {1}).to({dtype})", method="arctan2", latex=r"\operatorname{atan2}"
    ),
}


def function_named(name: str) -> Operation:
    """The row of a function that stages may use; raises EdslError where there is none."""
    row = OPERATIONS.get(name)
    if row is None or not row.method:
        known = [name for name, row in OPERATIONS.items() if row.method]
        raise EdslError(f"at.elementwise has no {name!r}; {nearest(name, known, 'it has')}")
    return row
