"""No kernel reads or writes outside of a tensor, whatever shapes a stage declares for its buffers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import pytest
import torch

import edsl
from edsl.stage import Adaptor, At, Number, Value, field


class Level(NamedTuple):
    level: Value


@dataclass(frozen=True)
class Small(Adaptor):
    """An element-wise stage whose buffer holds one number for a matrix of several rows."""

    name: ClassVar[str] = "small"
    is_matrix: ClassVar[bool] = True
    share: float = field(0.5, Number())

    def init(self, zero: Value) -> Level:
        return Level(zero)

    def buffer_shapes(self, rows: int, columns: int) -> dict[str, tuple[int, ...]]:
        return {"level": (1,)} if rows > 1 else {}

    def step(self, x: Value, memory: Any, at: At) -> tuple[Value, Level]:
        return x * (1 + self.share * memory.level), Level(memory.level + at.mean(x * x))


def test_buffers_whose_shape_is_their_own_for_some_sizes_alone_are_refused():
    with pytest.raises(edsl.EdslError, match="must name the same buffers whatever the size"):
        edsl.grad() | Small() | edsl.soap(lr=0.01)


@dataclass(frozen=True)
class Declared(Small):
    name: ClassVar[str] = "declared"
    is_matrix: ClassVar[bool] = False

    def buffer_shapes(self, rows: int, columns: int) -> dict[str, tuple[int, ...]]:
        return {"level": (1,)}


def test_buffer_of_its_own_shape_in_an_element_wise_stage_is_refused():
    with pytest.raises(edsl.EdslError, match="buffer_shapes is for stages that take a parameter as a matrix"):
        edsl.grad() | Declared() | edsl.sgd(lr=0.01)


def test_kernel_takes_no_layer_whose_tensors_are_not_as_large_as_it(monkeypatch):
    model = torch.nn.Linear(6, 4, bias=False)
    optimizer: Any = edsl.compile("grad | e | adamw(lr=0.01)", model)
    seen = []

    def small(item: Any, segment: Any) -> list[torch.Tensor]:
        seen.append(segment)
        return [torch.zeros(3) for _ in segment.buffers]

    monkeypatch.setattr("edsl.step.parameter.ParameterStep.buffers_in_memory", small)
    model(torch.ones(2, 6)).sum().backward()
    with pytest.raises(Exception, match=r"size|shape|fake tensor"):
        optimizer.step()
    assert seen
    assert optimizer.engine.native.kernels == 0
