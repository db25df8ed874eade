"""`At`: a backend implements eight functions, and all else that stages use follows from them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
import pytest
import torch

import edsl
from edsl.codegen.expression import TracingContext
from edsl.language.context import LEAST, At, NamedAt
from edsl.stage import BaseUpdate, Choice, Value, field
from edsl.step.contexts import TorchContext
from edsl.theory.systems.linearise import NotLinear, linearise
from edsl.theory.text.notation import recurrences

PRIMITIVES = {"function", "sqrt", "equal", "either", "isfinite", "where", "norm", "mean"}
DERIVED = {"ema", "debias", "first", "every", "ratio", "finite", "clamp", "minimum", "maximum", "sign", "positive"}
MATRICES = {"transpose", "product", "blocks", "whole", "orthogonal", "inverse_power", "eigenbasis", "refined"}
FACTORS = {"started", "balanced", "factored", "solved", "preconditioned", "fitted"}
ROWS = {"row_mean", "row_norm", "column_mean", "column_norm", "scalar"}
ASKED = {"fresh", "difference", "elementwise", "passed", "total"}
SPECS = [
    "alto",
    "lion",
    "grad | clip(value=0.3) | e(start='first') | adabelief | caution",
    "rmsprop(centered=True, lr=0.01)",
    "grad | guard(nonfinite='zero') | adan(lr=0.01) | lookahead(every=3)",
    "lars(momentum=0.9) | decay(rate=0.1) | ema_weights(decay=0.9)",
]


class ArrayAt(At):
    """A backend on NumPy's arrays: the primitives, and what is there at a step."""

    def __init__(self, theta: Any, gradient: Any, k: int) -> None:
        self.theta, self.gradient, self.k = theta, gradient, float(k)
        self.looked, self.own_difference, self.powers = True, None, ()

    def function(self, name: str, *arguments: Any) -> Any:
        raise NotImplementedError(name)

    def sqrt(self, x: Any) -> Any:
        return np.sqrt(x)

    def equal(self, x: Any, y: Any) -> Any:
        return np.equal(x, y)

    def either(self, x: Any, y: Any) -> Any:
        return np.logical_or(x, y)

    def isfinite(self, x: Any) -> Any:
        return np.isfinite(x)

    def where(self, condition: Any, x: Any, otherwise: Any) -> Any:
        return np.where(condition, x, otherwise)

    def norm(self, x: Any) -> Any:
        return np.sqrt((x * x).sum())

    def mean(self, x: Any) -> Any:
        return x.mean()


def test_a_backend_that_computes_implements_eight_functions_and_one_that_reads_names_a_single_one():
    assert At.__abstractmethods__ == PRIMITIVES
    assert NamedAt.__abstractmethods__ == {"function"}
    functions = {name for name, value in vars(At).items() if callable(value) and not name.startswith("_")}
    assert functions == PRIMITIVES | DERIVED | MATRICES | FACTORS | ROWS | ASKED


@pytest.mark.parametrize("backend", [TorchContext, TracingContext])
def test_tensors_and_expressions_have_no_derived_function_of_their_own(backend):
    own = {name for kind in backend.__mro__[: backend.__mro__.index(At)] for name in vars(kind)}
    assert not own & (DERIVED | {"fresh", "difference"})
    assert own >= PRIMITIVES


def test_a_context_of_names_answers_every_function_by_its_name():
    asked = []

    class Listening(NamedAt):
        k = 7

        def function(self, name: str, *arguments: Any) -> Any:
            asked.append((name, *arguments))

    at = Listening()
    at.clamp(2, 1)
    at.debias(2, 0.5)
    at.ratio(2, 3)
    at.elementwise("exp", 2)
    at.every(3, 1, 2)
    at.transpose(2)
    assert asked == [
        ("clamp", 2, 1),
        ("debias", 2, 0.5, 7),
        ("ratio", 2, 3, 2),
        ("exp", 2),
        ("every", 3, 1, 2),
        ("transpose", 2),
    ]
    assert at.difference(5, 3) == 2


@pytest.mark.parametrize("spec", SPECS)
def test_a_backend_of_the_primitives_alone_steps_as_tensors_do(spec):
    generator = np.random.default_rng(0)
    theta = generator.normal(size=7)
    parameter = torch.nn.Parameter(torch.tensor(theta))
    optimizer = edsl.compile(spec, [parameter], mode="eager")
    stages = optimizer.pipeline.stages[1:]
    memory = [stage.init(np.zeros(7)) for stage in stages]
    for k in range(1, 8):
        x = gradient = generator.normal(size=7)
        parameter.grad = torch.tensor(gradient)
        optimizer.step()
        at = ArrayAt(theta, gradient, k)
        for place, stage in enumerate(stages):
            x, memory[place] = stage.step(x, memory[place], at)
            if isinstance(stage, BaseUpdate):
                at.lr = stage.lr  # pyright: ignore[reportAttributeAccessIssue]
        theta = theta + x
    np.testing.assert_allclose(parameter.detach().numpy(), theta, rtol=1e-12, atol=1e-14)


SPECIAL = (math.nan, math.inf, -math.inf, 0.0, -0.0, 1e-39, -1e-39, LEAST, -LEAST, 2.0, -2.0, 0.5)
ONE = {
    "sign": lambda x: 0.0 if math.isnan(x) or abs(x) < LEAST else math.copysign(1, x),
    "positive": lambda x: float(x > 0),
    "finite": lambda x: x if math.isfinite(x) else 0.0,
    "clamp": lambda x: x if math.isnan(x) else min(max(x, -1.5), 1.5),
}
TWO = {
    "minimum": lambda x, y: math.nan if math.isnan(x) or math.isnan(y) else min(x, y),
    "maximum": lambda x, y: math.nan if math.isnan(x) or math.isnan(y) else max(x, y),
    "where": lambda x, y: x if x > y else 2.5,
}


class Answer(NamedTuple):
    m: Value


@dataclass(frozen=True)
class Asked(BaseUpdate):
    """m is one function of u, and of θ where it takes two values."""

    name: ClassVar[str] = "asked"
    about: str = field("sign", Choice((*ONE, *TWO)))

    def init(self, zero: Value) -> Answer:
        return Answer(zero)

    def step(self, x: Value, memory: Answer, at: At) -> tuple[Value, Answer]:
        if self.about == "where":
            return -x, Answer(at.where(x > at.theta, x, 2.5))
        given = {"clamp": (x, 1.5), "minimum": (x, at.theta), "maximum": (x, at.theta)}.get(self.about, (x,))
        return -x, Answer(getattr(at, self.about)(*given))


def pipeline_of(name: str) -> edsl.Pipeline:
    return edsl.parse(f"asked(about='{name}')", (Asked,))


@pytest.mark.parametrize("mode", ["eager", "compiled"])
@pytest.mark.parametrize("name", [*ONE, *TWO])
def test_a_derived_function_is_what_its_name_says_of_every_kind_of_number(name, mode):
    xs, thetas = zip(*[(x, theta) for x in SPECIAL for theta in (SPECIAL if name in TWO else [0.0])])
    parameter = torch.nn.Parameter(torch.tensor(thetas, dtype=torch.float64))
    parameter.grad = torch.tensor(xs, dtype=torch.float64)
    optimizer = edsl.compile(pipeline_of(name), [parameter], mode=mode)
    optimizer.step()
    assert optimizer.engine.native.kernels == (mode == "compiled")
    expected = [TWO[name](*pair) for pair in zip(xs, thetas)] if name in TWO else [ONE[name](x) for x in xs]
    np.testing.assert_array_equal(optimizer.state[parameter]["asked.m"].numpy(), expected)


def test_a_choice_by_values_is_written_on_paper_and_has_no_linear_model():
    (_, part) = recurrences(pipeline_of("where"))
    assert part.lines[0] == "mₖ = [gₖ if gₖ > θₖ₋₁ else 2.5]"
    with pytest.raises(NotLinear, match="asked has no linear model: a choice by values"):
        linearise(pipeline_of("where"))
