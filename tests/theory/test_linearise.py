"""Stage definitions read as linear systems."""

import numpy as np
import pytest
import sympy
import torch
from problem import walk

import edsl
from edsl.theory.systems.linearise import NotLinear, exact, linearise


@pytest.mark.parametrize(
    "spec",
    [
        "sgd(lr=0.1, weight_decay=0.2)",
        "grad | e(alpha=-3, beta1=0.7) | sgd(lr=0.1)",
        "grad | e(alpha=-3, beta1=0.7, buffers=2) | sgd(lr=0.1, momentum=0.6, nesterov=True)",
        "grad | e(alpha=2, beta1=0.6) | e(alpha=-1, beta1=0.3) | sgd(lr=0.1, momentum=0.6, average='ema')",
    ],
)
def test_recurrence_of_the_matrices_is_the_optimizers_own(spec):
    h = 1.7
    system = linearise(edsl.parse(spec)).at(h=h)
    A = np.array(system.A.tolist(), dtype=float)
    x = np.zeros(len(system.states))
    x[0] = 1.0
    params = [torch.nn.Parameter(torch.ones(1, dtype=torch.float64))]
    optimizer = edsl.compile(spec, params, mode="eager")
    for _ in range(20):
        x = A @ x
        theta = walk(optimizer, params, [[h * params[0].detach()]])[0][0]
        assert theta.item() == pytest.approx(x[0], rel=1e-12)


def test_frozen_root_and_debiasing_are_said_in_notes():
    system = linearise(edsl.parse("eadam"))
    assert [str(state) for state in system.states] == ["theta", "e.mean", "adam.m"]
    assert system.notes == ("adam: √v̂ is frozen, and h is the preconditioned curvature h/(√v̂ + ε₁)",)
    assert linearise(edsl.parse("esgd")).notes == ()


@pytest.mark.parametrize(
    ("spec", "name"),
    [
        ("alto", "lamb"),
        ("grad | clip(norm=1) | sgd", "clip"),
        ("grad | clip(value=1) | sgd", "clip"),
        ("grad | e | torch.AdamW()", "torch.AdamW"),
    ],
)
def test_what_is_not_linear_is_refused_by_name(spec, name):
    with pytest.raises(NotLinear, match=f"^{name} "):
        linearise(edsl.parse(spec))


def test_step_that_only_looks_linear_is_found_out():
    from dataclasses import dataclass
    from typing import ClassVar

    from edsl.language.domain import Number, field
    from edsl.stage import BaseUpdate

    @dataclass(frozen=True)
    class Cubic(BaseUpdate):
        name: ClassVar[str] = "cubic"
        lr: float = field(0.1, Number(0))

        def step(self, x, memory, at):
            return -self.lr * x * x * x, memory

    with pytest.raises(NotLinear, match="cubic has no linear model: its step is not linear"):
        linearise(edsl.Pipeline((edsl.grad(), Cubic())))


@pytest.mark.parametrize(("spec", "states"), [("adabelief", 2), ("adan", 4), ("adahessian", 2), ("rmsprop", 1)])
def test_only_what_acts_through_the_root_alone_is_frozen_with_it(spec, states):
    system = linearise(edsl.parse(spec))
    assert len(system.states) == states  # θ and all buffers but the second moment
    assert any("frozen" in note for note in system.notes)


def test_numbers_are_exact_and_hidden_modes_are_told_apart():
    assert exact(0.99) == sympy.Rational(99, 100)
    system = linearise(edsl.parse("grad | e(alpha=0) | sgd(lr=0.1)")).at(h=10)
    assert system.characteristic.degree() == 2  # β₁ is a mode that θ never shows
    assert system.minimal_characteristic.degree() == 1


def test_what_is_added_to_a_frozen_root_goes_with_it_whatever_its_name():
    from dataclasses import dataclass
    from typing import Any, ClassVar, NamedTuple

    from edsl.language.domain import DECAY, Number, field
    from edsl.stage import BaseUpdate
    from edsl.theory.stability.report import check_pipeline

    class Second(NamedTuple):
        v: Any

    @dataclass(frozen=True)
    class Scaled(BaseUpdate):
        name: ClassVar[str] = "scaled"
        lr: float = field(0.1, Number(0))
        beta: float = field(0.9, DECAY)
        eps: float = field(3.0, Number(0))

        def init(self, zero):
            return Second(zero)

        def step(self, x, memory, at):
            v = self.beta * memory.v + (1 - self.beta) * x * x
            return -self.lr * x / (at.sqrt(v) + self.eps), Second(v)

    pipeline = edsl.Pipeline((edsl.grad(), Scaled()))
    assert str(linearise(pipeline).A) == "Matrix([[-h*lr + 1]])"
    assert check_pipeline(pipeline)["stable_sharpness"] == 2


@pytest.mark.parametrize("step", ["k", "branch"])
def test_step_with_coefficients_of_k_or_a_branch_is_refused_in_one_line(step):
    from dataclasses import dataclass
    from typing import ClassVar

    from edsl.language.domain import Number, field
    from edsl.stage import BaseUpdate
    from edsl.theory.stability.report import check_pipeline
    from edsl.theory.systems.filter import update_filter

    @dataclass(frozen=True)
    class Fading(BaseUpdate):
        name: ClassVar[str] = "fading"
        lr: float = field(0.1, Number(0))

        def step(self, x, memory, at):
            if step == "branch" and at.k > 5:
                return -x, memory
            return -self.lr * x / at.k, memory

    if step == "branch":  # which is seen before theory asks
        with pytest.raises(edsl.EdslError, match="Fading: a step can't branch on a value") as refused:
            edsl.Pipeline((edsl.grad(), Fading()))
        assert "\n" not in str(refused.value)
        return
    pipeline = edsl.Pipeline((edsl.grad(), Fading()))
    for ask in (linearise, check_pipeline, lambda it: update_filter(it).fraction):
        with pytest.raises(NotLinear, match=r"k, the step number|step number k|can't be run on symbols") as refused:
            ask(pipeline)
        assert "\n" not in str(refused.value)
