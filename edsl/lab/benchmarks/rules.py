"""What rules cost: one beside the class of the same stage, and a chain of preconditioners beside its parts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from time import process_time
from typing import Any, ClassVar, NamedTuple

from edsl.lab.benchmarks.contender import Contender, Entry, Gradients, Place
from edsl.lab.benchmarks.parameter_sets import Shape
from edsl.lab.benchmarks.rounds import fastest
from edsl.language.domain import DECAY, Number, field
from edsl.language.stage import BaseUpdate
from edsl.optim.compile import compile

RULE = """
@update
def ademamix(u, *, lr=0.001, beta1: decay = 0.9, beta2: decay = 0.999, beta3: decay = 0.9999, alpha=5, eps=1e-8, weight_decay=0):
    fast = ema(fast, u, beta1)
    slow = ema(slow, u, beta3)
    v = ema(v, u * u, beta2)
    r = (debias(fast, beta1) + alpha * slow) / (sqrt(debias(v, beta2)) + eps)
    return -lr * (r + weight_decay * theta)

ademamix
"""  # noqa: E501 - as one writes a rule
CHAIN, PARTS = "grad | direction(soap) | muon", ("soap", "muon")
SMALL: tuple[Shape, ...] = ((64,),) * 20
MATRICES: tuple[Shape, ...] = ((256, 256), (256, 512), (512, 256), (512, 512))
PERIOD = 10  # steps between two refreshes of SOAP
MOST_RULE, MOST_CHAIN = 1.02, 1.0


class Moments(NamedTuple):
    """Two EMAs of the gradient, and one of its square."""

    fast: Any
    slow: Any
    v: Any


@dataclass(frozen=True)
class AdEMAMix(BaseUpdate):
    """The same as RULE, as a class: Pagliardini et al. 2024, Algorithm 1."""

    name: ClassVar[str] = "ademamix"
    lr: float = field(0.001, Number(0), "η")
    beta1: float = field(0.9, DECAY, "β₁")
    beta2: float = field(0.999, DECAY, "β₂")
    beta3: float = field(0.9999, DECAY, "β₃")
    alpha: float = field(5.0, Number(), "α")
    eps: float = field(1e-8, Number(0), "ε")
    weight_decay: float = field(0.0, Number(0), "λ", spared=0.0)

    def init(self, zero: Any) -> Moments:
        return Moments(zero, zero, zero)

    def step(self, x: Any, memory: Moments, at: Any) -> tuple[Any, Moments]:
        fast = self.beta1 * memory.fast + (1 - self.beta1) * x
        slow = self.beta3 * memory.slow + (1 - self.beta3) * x
        v = self.beta2 * memory.v + (1 - self.beta2) * (x * x)
        root = at.sqrt(at.debias(v, self.beta2)) + self.eps
        r = (at.debias(fast, self.beta1) + self.alpha * slow) / root
        return -self.lr * (r + self.weight_decay * at.theta), Moments(fast, slow, v)


@dataclass(frozen=True)
class RuleCost:
    """The fastest step of a rule and of the class, in microseconds."""

    rule_us: float
    class_us: float

    @property
    def ratio(self) -> float:
        return self.rule_us / self.class_us


@dataclass(frozen=True)
class ChainCost:
    """Steps of a chain and of its parts, each the only stage of an optimizer, in milliseconds of the processor.

    Attributes:
        step_ms: the mean step of each round, by the spec.
    """

    step_ms: dict[str, list[float]]

    @property
    def chain_ms(self) -> float:
        return median(self.step_ms[CHAIN])

    @property
    def parts_ms(self) -> float:
        return sum(median(self.step_ms[part]) for part in PARTS)

    @property
    def ratio(self) -> float:
        return self.chain_ms / self.parts_ms


def rule_cost(shapes: Sequence[Shape] = SMALL, steps: int = 2000, device: str = "cpu") -> RuleCost:
    """Time steps of AdEMAMix as a rule and as a class in turn; the fastest of many, as for schedules.

    Example:
        >>> from edsl.lab.benchmarks.rules import rule_cost
        >>> rule_cost(steps=5).ratio > 0
        True
    """
    named, place = {f"{number}": shape for number, shape in enumerate(shapes)}, Place(device, "float32")
    runners = {
        "rule": Contender(Entry("rule", text=RULE), named, place),
        "class": Contender(Entry("class"), named, place, lambda _, params: compile(AdEMAMix(), params)),
    }
    took = fastest(runners, Gradients(named, place), device, steps)
    return RuleCost(*(1e6 * took[name] for name in runners))


def chain_cost(
    shapes: Sequence[Shape] = MATRICES, rounds: int = 10, build: Callable[[str, Any], Any] = compile
) -> ChainCost:
    """Time a chain and its parts on a CPU in turn, by periods of SOAP's refresh.

    It is time of the processor, in which others on the machine have no part: a round takes seconds.

    Args:
        build: makes the optimizer of a spec from named parameters.
    """
    named, place = {f"layers.{number}.weight": shape for number, shape in enumerate(shapes)}, Place("cpu", "float32")
    runners = [Contender(Entry(spec), named, place, build) for spec in (CHAIN, *PARTS)]
    gradients, took = Gradients(named, place), {runner.name: list[float]() for runner in runners}
    for number in range(1 + rounds):  # the first compiles
        first = number % len(runners)
        for runner in (*runners[first:], *runners[:first]):
            began = process_time()
            for _ in range(PERIOD):
                runner.prepare(gradients.tensors)
                runner.step()
                gradients.restore()
            if number:
                took[runner.name].append(1e3 * (process_time() - began) / PERIOD)
    return ChainCost(took)
