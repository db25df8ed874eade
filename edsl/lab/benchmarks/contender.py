"""What a benchmark steps: an optimizer on parameters of its own, or a copy of as many bytes."""

from __future__ import annotations

import math
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from edsl.errors import EdslError, brief
from edsl.lab.benchmarks.parameter_sets import Shape
from edsl.lab.benchmarks.peers import build_peer
from edsl.optim.compile import compile
from edsl.optim.optimizer import PipelineOptimizer

_BLOCK = 2**26  # elements that are copied at a time: more than any cache holds


@dataclass(frozen=True)
class Entry:
    """An optimizer to measure: a spec, or the name of a peer.

    Attributes:
        text: the spec with its rules, where it has some.
    """

    name: str
    is_peer: bool = False
    text: str = ""

    @property
    def spec(self) -> str:
        return self.text or self.name


@dataclass(frozen=True)
class Place:
    """Where and in what dtype all parameters are."""

    device: str
    dtype: str

    @property
    def element(self) -> int:
        """Bytes of an element."""
        return self.torch_dtype.itemsize

    @property
    def torch_dtype(self) -> torch.dtype:
        found = getattr(torch, self.dtype)
        assert isinstance(found, torch.dtype)  # checked where the place was named
        return found


class Gradients:
    """One gradient for each parameter, which all contenders are given."""

    def __init__(self, shapes: dict[str, Shape], place: Place) -> None:
        self.tensors = [torch.empty(shape, device=place.device, dtype=place.torch_dtype) for shape in shapes.values()]
        self.fill()

    def fill(self) -> None:
        fill(self.tensors, 1, 0.01)
        self._versions = [tensor._version for tensor in self.tensors]

    def restore(self) -> None:
        """Fill them anew if an optimizer wrote to one."""
        if any(tensor._version != version for tensor, version in zip(self.tensors, self._versions)):
            self.fill()


class Contender:
    """An optimizer under its entry's name, on parameters that every contender begins with.

    Args:
        build: makes the optimizer of a spec from named parameters.
    """

    def __init__(
        self, entry: Entry, shapes: dict[str, Shape], place: Place, build: Callable[[str, Any], Any] = compile
    ) -> None:
        self.name = entry.name
        tensors = [torch.empty(shape, device=place.device, dtype=place.torch_dtype) for shape in shapes.values()]
        fill(tensors, 0, 0.02)
        self.parameters = [torch.nn.Parameter(tensor) for tensor in tensors]
        self.optimizer: Any = (
            build_peer(entry.name, self.parameters)
            if entry.is_peer
            else build(entry.spec, list(zip(shapes, self.parameters)))
        )
        self._graphs = 0

    def prepare(self, gradients: Sequence[Tensor]) -> None:
        """Set the gradients, of which some optimizers leave none."""
        for parameter, gradient in zip(self.parameters, gradients):
            parameter.grad = gradient

    def step(self) -> None:
        """One step.

        Raises:
            EdslError: when the optimizer can't take it.
        """
        before = _dynamo_graphs()
        try:
            with warnings.catch_warnings():  # another package's are about itself
                warnings.simplefilter("ignore")
                self.optimizer.step()
        except (EdslError, TimeoutError):  # whoever set a limit knows why
            raise
        except Exception as reason:  # another package's optimizer may raise anything
            raise EdslError(f"{self.name} can't take this step: {brief(reason, 200)}") from None
        self._graphs += _dynamo_graphs() - before

    @property
    def graphs(self) -> int:
        """How many graphs were compiled for it so far."""
        own = isinstance(self.optimizer, PipelineOptimizer)
        return self.optimizer.compiled_graphs if own else self._graphs

    @property
    def fallbacks(self) -> list[str]:
        """Why graphs of a spec run uncompiled."""
        return list(self.optimizer.fallbacks) if isinstance(self.optimizer, PipelineOptimizer) else []


class Copy:
    """A copy of the bytes that AdamW moves: it reads θ, g and two moments, and writes all but g."""

    name = "copy_"

    def __init__(self, elements: int, place: Place) -> None:
        half = math.ceil(7 * elements / 2)  # elements to read, and as many to write
        self.bytes = 2 * half * place.element
        block = min(half, _BLOCK)
        self._source = torch.ones(block, device=place.device, dtype=place.torch_dtype)
        self._target = torch.zeros_like(self._source)
        self._blocks, self._rest = divmod(half, block)

    def prepare(self, gradients: Sequence[Tensor]) -> None:
        """It takes no gradients."""

    def step(self) -> None:
        """All bytes once."""
        for _ in range(self._blocks):
            self._target.copy_(self._source)
        if self._rest:
            self._target[: self._rest].copy_(self._source[: self._rest])


def fill(tensors: Sequence[Tensor], seed: int, scale: float) -> None:
    """Normal numbers, the same for a seed."""
    generator = torch.Generator(tensors[0].device).manual_seed(seed)
    for tensor in tensors:
        tensor.normal_(0, scale, generator=generator)


def _dynamo_graphs() -> int:
    """Graphs that torch.compile has made in this process."""
    dynamo: Any = sys.modules.get("torch._dynamo.utils")
    return dynamo.counters["stats"]["unique_graphs"] if dynamo else 0
