"""What is E is told by its class and by what it says of itself, never by its name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import pytest

import edsl
from edsl.cli.explain import describe
from edsl.errors import EdslError
from edsl.lab.races.controls import WITHOUT, controls_of, explores, why_no_twin
from edsl.stage import DECAY, Adaptor, At, BaseUpdate, Choice, NoMemory, Number, Value, field
from edsl.theory.equivalence.comparison import compare


class Eligibility(NamedTuple):
    trace: Value


@dataclass(frozen=True)
class Eprop(Adaptor):
    """Not E, though its name begins so and its hyper-parameters are called the same: u = g + α e."""

    name: ClassVar[str] = "eprop"
    alpha: float = field(0.1, Number())
    beta1: float = field(0.9, DECAY)
    buffers: int = field(2, Choice((1, 2)))

    def init(self, zero: Value) -> Eligibility:
        return Eligibility(zero)

    def step(self, x: Value, memory: Eligibility, at: At) -> tuple[Value, Eligibility]:
        trace = self.beta1 * memory.trace + x
        return x + self.alpha * trace, Eligibility(trace)


@dataclass(frozen=True)
class Lookback(Eprop):
    """A variant of E under a name of its own."""

    name: ClassVar[str] = "lookback"
    explores: ClassVar[bool] = True


@dataclass(frozen=True)
class Alphabet(BaseUpdate):
    """A base update that claims the names of E's hyper-parameters."""

    name: ClassVar[str] = "alphabet"
    alpha: float = field(0.25, Number())
    beta1: float = field(0.75, DECAY)

    def step(self, x: Value, memory: NoMemory, at: At) -> tuple[Value, NoMemory]:
        return -self.alpha * self.beta1 * x, memory


def parse(text: str) -> edsl.Pipeline:
    return edsl.parse(text, (Eprop, Lookback, Alphabet))


def test_a_plugin_called_eprop_is_not_e():
    pipeline = parse("grad | eprop | sgd(lr=0.1)")
    assert not explores(pipeline)
    assert controls_of(pipeline) == ()
    said = describe(pipeline)
    assert said["relations"] == said["controls"] == []
    assert said["no_twin"] is None
    assert compare(parse("grad | eprop | e | sgd"), parse("grad | e | eprop | sgd")).relations == ()


def test_arguments_called_alpha_and_beta1_are_not_es():
    with pytest.raises(EdslError, match="unknown argument 'batch_size'"):
        parse("grad | eprop | sgd").override(batch_size=64)
    chosen = parse("grad | eprop | e | alphabet").override(batch_size=64)
    assert (
        str(chosen)
        == "grad | eprop(alpha=0.1, beta1=0.9) | e(alpha=0.5, beta1=0.01) | alphabet(alpha=0.25, beta1=0.75)"
    )


def test_a_difference_is_for_who_averages_it():
    with pytest.raises(EdslError, match="got eprop"):
        parse("spsa(common=True) | eprop(buffers=2) | sgd")
    assert parse("spsa(common=True) | e(buffers=2) | sgd")


def test_a_variant_of_e_runs_beside_the_same_without_it():
    pipeline = parse("grad | lookback | sgd(lr=0.1)")
    (control,) = controls_of(pipeline)
    assert control.name == WITHOUT
    assert control.pipeline == parse("sgd(lr=0.1)")
    assert "not edsl's own" in why_no_twin(pipeline)
    assert parse("grad | lookback | sgd").override(batch_size=64).hyperparameters["alpha"] == 0.5


def test_of_an_e_that_stands_twice_the_first_is_chosen_for():
    e = edsl.e()
    chosen = (edsl.grad() | e | e | edsl.sgd()).override(batch_size=64)
    assert [stage.alpha for stage in chosen.stages[1:3]] == [0.5, -5]


def test_the_batch_chooses_for_e_on_a_route_as_by_its_names():
    chosen = parse("grad | route(matrix=e | muon, other=adamw)").override(batch_size=64)
    assert "e(alpha=0.5, beta1=0.01)" in str(chosen)
    with pytest.raises(EdslError, match="unknown argument 'batch_size'"):
        parse("grad | route(matrix=muon, other=adamw)").override(batch_size=64)
