"""What a step may take beside another's at most, and whether it does: matrix updates and first steps."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Any

import torch
from torch import Tensor

from edsl.lab.benchmarks.contender import Contender, Entry, Gradients, Place
from edsl.lab.benchmarks.first_step import FirstStep, first_step
from edsl.lab.benchmarks.parameter_sets import Shape
from edsl.lab.benchmarks.rounds import Spread, in_turn, ratios, spread
from edsl.optim.foreign.packages import AbsentPackage
from edsl.optim.state import state_bytes

WIDE = tuple((side, 4 * side) for side in (256, 512, 1024))
SQUARE = tuple((side, side) for side in (256, 512, 768, 1024))
MIXED = tuple(product((256, 512, 768, 1024), repeat=2))
SMALL = tuple(product((256, 512), repeat=2))  # whose roots a peer finds by singular values, in seconds
CPU = Place("cpu", "float32")

FAST, EXACT = "muon(precision='bfloat16')", "muon"
MUONS = ("torch.Muon", "heavyball.Muon")
WHOLE = "Newton–Schulz on whole matrices, float32"
SOAP = "soap(every=10, weight_decay=0.01)"
SHAMPOO = "shampoo(beta2=0, every=10, average='sum', grafting='none')"
PEERS_SOAP = "pytorch_optimizer.SOAP(precondition_frequency=10)"
PEERS_SHAMPOO = "pytorch_optimizer.Shampoo(preconditioning_compute_steps=10)"


@dataclass(frozen=True)
class Target:
    """The most that a step of `ours` may take, in steps of `theirs`."""

    ours: str
    theirs: str
    most: float


@dataclass(frozen=True)
class Contest:
    """Optimizers that step in turn on the same matrices.

    Attributes:
        period: steps that each takes at a time, of which one refreshes what is refreshed.
    """

    title: str
    shapes: tuple[Shape, ...]
    targets: tuple[Target, ...]
    period: int = 1

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(name for target in self.targets for name in (target.ours, target.theirs)))


CONTESTS = (
    Contest(
        "4:1 matrices, 256 × 1024 to 1024 × 4096",
        WIDE,
        (Target(FAST, MUONS[0], 0.7), Target(FAST, MUONS[1], 1.0), Target(EXACT, WHOLE, 0.6)),
    ),
    Contest(
        "square matrices, 256 to 1024",
        SQUARE,
        (Target(FAST, MUONS[0], 1.0), Target(FAST, MUONS[1], 1.0)),
    ),
    Contest(
        "16 matrices, each of 256, 512, 768 or 1024 rows and columns",
        MIXED,
        (Target(FAST, MUONS[0], 1.0), Target(FAST, MUONS[1], 1.0)),
    ),
    Contest(
        "SOAP and Shampoo, 256 × 256 to 512 × 512, refreshed every 10 steps",
        SMALL,
        (Target(SOAP, PEERS_SOAP, 0.7), Target(SHAMPOO, PEERS_SHAMPOO, 0.7)),
        period=10,
    ),
)
FIRST_STEPS = {"alto": None, "emuon": (2.0, 0.5), "esoap": (2.0, 0.5), "eshampoo": (2.0, 0.5)}  # most s, cold and warm


@dataclass(frozen=True)
class Stepped:
    """What an optimizer's step took in milliseconds, and the bytes that it keeps for a parameter, wherever it does."""

    name: str
    step_ms: Spread
    state_bytes: float


@dataclass(frozen=True)
class Judged:
    """A target with the ratio of times, round by round."""

    target: Target
    ratio: Spread

    @property
    def met(self) -> bool:
        return self.ratio.median <= self.target.most


@dataclass(frozen=True)
class Outcome:
    """A contest that was held.

    Attributes:
        rounds: how many were timed.
        absent: a line for each peer that could not take part.
    """

    contest: Contest
    rounds: int
    rows: tuple[Stepped, ...]
    judged: tuple[Judged, ...]
    absent: tuple[str, ...]


@dataclass(frozen=True)
class Begun:
    """A first step and the most seconds that it may take, cold and warm."""

    spec: str
    took: FirstStep
    most: tuple[float, float] | None

    @property
    def met(self) -> bool:
        return self.most is None or (self.took.cold <= self.most[0] and self.took.warm <= self.most[1])


def hold(contest: Contest, rounds: int, seconds: float, threads: int = 1) -> Outcome:
    """Step a contest's optimizers in turn and judge its targets.

    Args:
        rounds: as many are timed at the most.
        seconds: that the rounds may take together, but for the first few.

    Example:
        >>> from edsl.lab.benchmarks.targets import Contest, Target, hold
        >>> tiny = Contest("tiny", ((4, 8),), (Target("muon", "torch.Muon", 1e9),))
        >>> [one.met for one in hold(tiny, 3, 1.0).judged]
        [True]
    """
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        return _held(contest, rounds, seconds)
    finally:
        torch.set_num_threads(before)


def _held(contest: Contest, rounds: int, seconds: float) -> Outcome:
    shapes = {f"layers.{number}.weight": shape for number, shape in enumerate(contest.shapes)}
    gradients = Gradients(shapes, CPU)
    contenders, absent = [], []
    for name in contest.names:
        try:
            contenders.append(contender(name, shapes))
        except AbsentPackage as reason:
            absent.append(f"{name}: {reason}")
    warm_up = 1 if contest.period > 1 else 3
    took = in_turn(contenders, gradients, CPU.device, rounds, steps=contest.period, warm_up=warm_up, seconds=seconds)
    elements = sum(map(prod, contest.shapes))
    return Outcome(
        contest,
        len(took[contenders[0].name]),
        tuple(
            Stepped(one.name, spread(took[one.name], 1e3), state_bytes(one.optimizer) / elements) for one in contenders
        ),
        tuple(
            Judged(target, spread(ratios(took[target.ours], took[target.theirs])))
            for target in contest.targets
            if target.ours in took and target.theirs in took
        ),
        tuple(absent),
    )


def contender(name: str, shapes: dict[str, Shape]) -> Contender:
    """What a contest calls by this name: a spec, a peer with its arguments, or WHOLE.

    Raises:
        AbsentPackage: for a peer whose package is not there.
    """
    if name == WHOLE:
        return Contender(Entry(name), shapes, CPU, lambda _, named: PlainMuon([tensor for _, tensor in named]))
    return Contender(Entry(name, is_peer="." in name.partition("(")[0]), shapes, CPU)


class PlainMuon(torch.optim.Optimizer):
    """Muon in eager torch, a matrix after another: each of five quintics of X is three products with the whole of it.

    d = (1 − μ) g + μ m,  X = d / ‖d‖,  X ← a X + (b A + c A²) X with A = X Xᵀ.  Jordan et al. 2024. Its
    coefficients are theirs; those of edsl's differ from step to step and cost the same.
    """

    def __init__(self, params: Any, lr: float = 0.02, momentum: float = 0.95) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        for group in self.param_groups:
            for parameter in group["params"]:
                gradient, state = parameter.grad, self.state[parameter]
                m = state.setdefault("m", torch.zeros_like(parameter)).lerp_(gradient, 1 - group["momentum"])
                d = gradient.lerp(m, group["momentum"])
                parameter.sub_(orthogonalised(d), alpha=group["lr"] * max(1, d.shape[0] / d.shape[1]) ** 0.5)


def orthogonalised(x: Tensor) -> Tensor:
    """Five quintics on the whole of a matrix, (m, n)."""
    tall = x.shape[0] > x.shape[1]
    x = (x.T if tall else x) / x.norm().clamp(min=1e-30)
    for _ in range(5):
        gram = x @ x.T
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return x.T if tall else x


def transformer(width: int = 128) -> dict[str, Shape]:
    """A transformer of 19 tensors: embeddings, two blocks without biases but their norms', and a head."""
    shapes: dict[str, Shape] = {"embed.weight": (256, width), "pos_embed.weight": (64, width)}
    for block in range(2):
        for norm in ("norm1", "norm2"):
            shapes |= {f"blocks.{block}.{norm}.{part}": (width,) for part in ("weight", "bias")}
        shapes |= {
            f"blocks.{block}.attn.qkv.weight": (3 * width, width),
            f"blocks.{block}.attn.out.weight": (width, width),
            f"blocks.{block}.mlp.up.weight": (4 * width, width),
            f"blocks.{block}.mlp.down.weight": (width, 4 * width),
        }
    return {**shapes, "head.weight": (256, width)}


def begin(spec: str, threads: int | None = None) -> Begun:
    """The first step of a spec on `transformer`, in fresh processes of at most two threads."""
    threads = min(2, os.cpu_count() or 1) if threads is None else threads
    return begun_with(spec, first_step(Entry(spec), transformer(), CPU, threads))


def begun_with(spec: str, took: FirstStep) -> Begun:
    """A first step beside its target."""
    return Begun(spec, took, FIRST_STEPS.get(spec))
