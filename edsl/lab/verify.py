"""Two optimizers on one problem, step by step: the same, or where they part."""

from __future__ import annotations

import math
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from edsl.errors import EdslError, ShapeError, brief
from edsl.lab.closure import closure_for
from edsl.language.domain import Whole
from edsl.language.pipeline import Pipeline
from edsl.language.spec import parse
from edsl.optim.compile import compile
from edsl.optim.optimizer import check_mode

EXAMPLES = 16  # in a batch


@dataclass(frozen=True)
class Parting:
    """The first element, of the first tensor at the first step, that differs by more than the tolerance."""

    step: int
    tensor: str
    index: list[int]
    first: float
    second: float
    difference: float


@dataclass(frozen=True)
class Verdict:
    """What `verify` found; equal when `parted` is None.

    Attributes:
        steps: how many were taken.
        tensors: the names of what was compared.
        largest: difference seen, |a − b| / max(1, |a|).
    """

    first: str
    second: str
    steps: int
    tolerance: float
    tensors: list[str]
    largest: float
    parted: Parting | None
    notes: list[str]


class Network(nn.Module):
    """A small network with parameters of every kind: kernel, embedding, norm, matrices, biases."""

    def __init__(self) -> None:
        super().__init__()
        self.kernel = nn.Conv2d(1, 3, 3)
        self.embedding = nn.Embedding(5, 12)
        self.norm = nn.LayerNorm(12)
        self.hidden = nn.Linear(12, 6)
        self.head = nn.Linear(6, 3)

    def forward(self, images: Tensor, tokens: Tensor) -> Tensor:
        seen = torch.tanh(self.kernel(images)).flatten(1) + self.embedding(tokens)
        return self.head(torch.tanh(self.hidden(self.norm(seen))))


class MatrixNetwork(nn.Module):
    """The same without a kernel, norm and biases."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(5, 12)
        self.hidden = nn.Linear(12, 6, bias=False)
        self.head = nn.Linear(6, 3, bias=False)

    def forward(self, images: Tensor, tokens: Tensor) -> Tensor:
        seen = images.flatten(1)[:, :12] + self.embedding(tokens)
        return self.head(torch.tanh(self.hidden(torch.tanh(seen))))


def verify(
    first: str, second: str, steps: int = 50, tolerance: float = 1e-10, seed: int = 0, mode: str = "eager"
) -> Verdict:
    """Train one network twice in float64, on the same batches, and compare all weights at every step.

    Nothing is left out of weight decay. `steps` is T of their schedules. Where one of the two takes matrices only, the
    network has no other parameters, and a note says so.

    Raises:
        EdslError: for a bad spec or number, or an optimizer that takes neither form.

    Example:
        >>> from edsl.lab.verify import verify
        >>> verify("adamw(lr=0.01)", "torch.AdamW(lr=0.01)", steps=5).parted is None
        True
    """
    if steps < 1:
        raise EdslError(f"steps must be a whole number ≥ 1, got {steps}")
    if not (math.isfinite(tolerance) and tolerance >= 0):
        raise EdslError(f"tolerance must be a number ≥ 0, got {tolerance}")
    try:
        Whole(0).read(seed)
    except ValueError as reason:
        raise EdslError(f"seed {reason}") from None
    check_mode(mode)
    pipelines = parse(first), parse(second)
    try:
        return _run(pipelines, steps, tolerance, seed, mode, _network_for(pipelines, mode, steps))
    except EdslError:
        raise
    except Exception as reason:  # another package's optimizer may raise anything
        raise EdslError(brief(reason)) from None


def _network_for(pipelines: tuple[Pipeline, Pipeline], mode: str, steps: int) -> type[nn.Module]:
    """The network whose parameters both take: one of matrices alone where a vector or a kernel is refused."""
    for kind in (Network, MatrixNetwork):
        try:
            for pipeline in pipelines:
                compile(pipeline, kind().double(), mode=mode, exclude=(), total_steps=steps)
        except ShapeError:
            continue
        except Exception:  # another package's optimizer may raise anything for a shape
            if not any(pipeline.update.moves_weights for pipeline in pipelines):
                raise
            continue
        return kind
    return Network  # and let it say why not


def _run(
    pipelines: tuple[Pipeline, Pipeline], steps: int, tolerance: float, seed: int, mode: str, kind: type[nn.Module]
) -> Verdict:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = kind().double()
        networks = [network, deepcopy(network)]
        runners = [_runner(pipeline, network, mode, steps) for pipeline, network in zip(pipelines, networks)]
        notes = ["on 2-dimensional parameters alone"] if kind is MatrixNetwork else []
        names = [name for name, _ in network.named_parameters()]
        generator = torch.Generator().manual_seed(seed)
        largest, parted, step = 0.0, None, 0
        while parted is None and step < steps:
            step += 1
            batch = _batch(generator)
            losses = [run(batch) for run in runners]
            found = _worst(networks, names, step)
            largest = max(largest, found.difference)
            parted = found if not found.difference <= tolerance else None
            if parted is None and not all(math.isfinite(loss) for loss in losses):
                notes.append(f"stopped at step {step}, where the loss of both is no finite number")
                break
    texts = [pipeline.line for pipeline in pipelines]
    return Verdict(texts[0], texts[1], step, tolerance, names, largest, parted, notes)


def _batch(generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    images = torch.randn(EXAMPLES, 1, 4, 4, generator=generator, dtype=torch.float64)
    tokens = torch.randint(0, 5, (EXAMPLES,), generator=generator)
    return images, tokens, torch.randint(0, 3, (EXAMPLES,), generator=generator)


def _runner(pipeline: Pipeline, network: nn.Module, mode: str, steps: int) -> Callable[[tuple[Tensor, ...]], float]:
    """A function that takes one step on a batch and returns the loss."""
    optimizer: Any = compile(pipeline, network, mode=mode, exclude=(), total_steps=steps)

    def run(batch: tuple[Tensor, ...]) -> float:
        images, tokens, labels = batch
        loss = optimizer.step(closure_for(pipeline, optimizer, lambda: cross_entropy(network(images, tokens), labels)))
        return float(loss)

    return run


def _worst(networks: list[nn.Module], names: list[str], step: int) -> Parting:
    """The element that differs most, in units of its own size where that is above 1."""
    worst = Parting(step, names[0], [], 0.0, 0.0, 0.0)
    ones, others = (dict(network.named_parameters()) for network in networks)
    for name in names:
        a, b = ones[name].detach(), others[name].detach()
        apart = (a - b).abs() / a.abs().clamp(min=1)
        apart = torch.where(a.isnan() & b.isnan(), 0.0, apart).nan_to_num(nan=math.inf)
        place = int(apart.argmax())
        if apart.flatten()[place] > worst.difference:
            index = [int(i) for i in torch.unravel_index(torch.tensor(place), a.shape)]
            values = a.flatten()[place].item(), b.flatten()[place].item()
            worst = Parting(step, name, index, *values, apart.flatten()[place].item())
    return worst
