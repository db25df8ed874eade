"""A pipeline with a group's values, cut into segments: what the group's parameters share in a step."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import fields
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from edsl.domain import DECAY
from edsl.errors import EdslError, EdslWarning
from edsl.layout import StateDtype, dtype_of_state, folded
from edsl.pipeline import Pipeline
from edsl.segment import Segment
from edsl.shards import shards_of
from edsl.stage import Stage, segments


class Plan:
    """What the parameters of one group share in a step: its pipeline, values and segments."""

    def __init__(
        self,
        base: Pipeline,
        spared: bool,
        values: dict[str, Any],
        route: str = "",
        state_dtype: StateDtype = None,
    ) -> None:
        self.base = base
        self.route = route
        self.state_dtype = state_dtype
        self.spared = spared
        self.values = values
        self._seen: list[tuple[str, Any]] = []
        pipeline = self.pipeline = self.with_values(values)
        self.entries = tuple(
            (index, field) for index, field in pipeline.keys.values() if field in pipeline.stages[index].live_fields()
        )
        self.decays = tuple(
            entry for entry, (index, field) in enumerate(self.entries) if _is_decay(pipeline.stages[index], field)
        )
        self.memory: dict[int, Any] = {index: type(pipeline.stages[index].init(0.0)) for index in (0, *self.running)}
        self.is_matrix = any(stage.is_matrix for stage in pipeline.stages)
        self.segments = tuple(self._segments())

    @property
    def running(self) -> range:
        """The stages that run here: all but the estimator, and another package's optimizer."""
        stages = self.pipeline.stages
        return range(1, len(stages) - is_foreign(stages[-1]))

    def with_values(self, values: dict[str, Any]) -> Pipeline:
        pipeline = self.base.override(**values)
        return pipeline.spared() if self.spared else pipeline

    def _segments(self) -> Iterator[Segment]:
        stages, running = self.pipeline.stages, self.running
        count = len(self.entries)
        powers = tuple((entry, count + i) for i, entry in enumerate(self.decays))
        end = running.start
        for part in segments(stages[running.start : running.stop]):
            begin, end = end, end + len(part)
            yield Segment(
                begin=begin,
                stages=part,
                labels=self.pipeline.labels[begin:end],
                memory=tuple(self.memory[index] for index in range(begin, end)),
                places=tuple(
                    tuple((field, i) for i, (owner, field) in enumerate(self.entries) if owner == index)
                    for index in range(begin, end)
                ),
                powers=powers,
                k=count + len(powers),
                updates=end == len(stages),
            )

    def change(self, values: dict[str, Any]) -> None:
        """Take new values for the next steps.

        Raises:
            EdslError: for a value outside its domain, or one that needs a buffer which isn't there.
        """
        pipeline = self.with_values(values)
        if pipeline.structure != self.pipeline.structure:
            raise EdslError("a hyper-parameter that was a number when the optimizer was built must stay one, got None")
        for index, memory in self.memory.items():
            stage = pipeline.stages[index]
            needed: Any = type(stage.init(0.0))
            lost = [name for name in needed._fields if name not in memory._fields]
            if lost:
                raise EdslError(
                    f"{stage.name}: was built without its buffers {', '.join(lost)} because a value was 0; "
                    "build the optimizer with the value above 0 to schedule it"
                )
        for stage, before in zip(pipeline.stages, self.pipeline.stages):
            for field in stage.constant:
                if getattr(stage, field) != getattr(before, field):
                    warnings.warn(
                        f"{stage.name}: {field} changed while training, where this form is exact only for a "
                        f"constant one; {stage.name}(…, buffers=2) follows a schedule exactly",
                        EdslWarning,
                        stacklevel=2,
                    )
        self.values, self.pipeline = values, pipeline

    def remember(self, group: dict[str, Any]) -> None:
        """Take note of the values that a group has now."""
        seen = [("route", self.route), ("exclude", group["exclude"]), *((key, group[key]) for key in self.values)]
        fixed = all(type(value) in (float, int) for _, value in seen[2:])  # a tensor may change in place
        self._seen = seen if fixed else []

    def describes(self, group: dict[str, Any]) -> bool:
        """Whether a group has the very values that it was read with."""
        for key, value in self._seen:
            if group.get(key, "") is not value:
                return False
        return bool(self._seen)

    def numbers(self, k: int) -> list[float]:
        """The live values, powers, k and the number of looks."""
        numbers = [getattr(self.pipeline.stages[index], field) for index, field in self.entries]
        numbers += [numbers[i] ** k for i in self.decays]
        return [*numbers, float(k), float(self.pipeline.estimator.looks(k))]

    def live(self, k: int, device: torch.device) -> Tensor:
        """The vector of these numbers; float64, so that 1 − β keeps its digits."""
        numbers = self.numbers(k)
        if device.type == "cuda":  # pinned, so that the copy does not wait for the device
            return torch.tensor(numbers, dtype=torch.float64, pin_memory=True).to(device, non_blocking=True)
        dtype = torch.float32 if device.type == "mps" else torch.float64
        return torch.tensor(numbers, dtype=dtype, device=device)

    @cached_property
    def estimated(self) -> tuple[str, ...]:
        """The names of the estimator's buffers."""
        return tuple(f"{self.pipeline.labels[0]}.{name}" for name in self.memory[0]._fields)

    @cached_property
    def buffers(self) -> tuple[str, ...]:
        """The names of all state of one parameter, but for its step."""
        return (*self.estimated, *(name for segment in self.segments for name in segment.buffers))

    @cached_property
    def rounds(self) -> bool:
        """Whether some state is bfloat16 by choice, and so rounded stochastically."""
        chosen = self.state_dtype
        return torch.bfloat16 in chosen.values() if isinstance(chosen, dict) else chosen is torch.bfloat16

    @cached_property
    def reshaped(self) -> frozenset[str]:
        """The buffers that do not have the parameter's shape."""
        stages = zip(self.pipeline.stages, self.pipeline.labels)
        return frozenset(f"{label}.{name}" for stage, label in stages for name in stage.buffer_shapes(1, 1))

    def shapes(self, parameter: Tensor) -> dict[str, tuple[int, ...]]:
        """The shape of each buffer of a parameter."""
        own = dict.fromkeys(self.buffers, tuple(parameter.shape))
        if self.reshaped:
            for stage, label in zip(self.pipeline.stages, self.pipeline.labels):
                for name, shape in stage.buffer_shapes(*folded(parameter)).items():
                    own[f"{label}.{name}"] = shape
        return own

    def estimator_memory(self, state: dict[str, Any]) -> Any:
        """The estimator's buffers in a parameter's state."""
        return self.memory[0](*(state[name] for name in self.estimated))

    def fresh_state(self, parameter: Tensor) -> dict[str, Any]:
        """The state before the first step, buffers of its shape in the parameter's layout."""
        state: dict[str, Any] = {"step": torch.tensor(0.0, dtype=torch.float32)}
        shards = shards_of(parameter)
        for name, shape in self.shapes(parameter).items():
            dtype = dtype_of_state(self.state_dtype, name, parameter.dtype)
            if name in self.reshaped and shards is not None:
                state[name] = shards.zeros(shape, dtype)
            elif name in self.reshaped:
                state[name] = torch.zeros(shape, dtype=dtype, device=parameter.device)
            else:
                state[name] = torch.zeros_like(parameter, dtype=dtype, requires_grad=False)
        return state


def buffer_names(pipeline: Pipeline) -> list[str]:
    """The names of all state, but for steps; of a pipeline with routes, of all of them."""
    names: dict[str, None] = {}
    for branch in pipeline.branches.values():
        for stage, label in zip(branch.stages, branch.labels):
            if not is_foreign(stage):
                names.update(dict.fromkeys(f"{label}.{field}" for field in type(stage.init(0.0))._fields))
    return list(names)


def is_foreign(stage: Stage) -> bool:
    """Whether a stage is another package's optimizer, which steps by itself."""
    from edsl.adapters.foreign import Foreign

    return isinstance(stage, Foreign)


def _is_decay(stage: Stage, name: str) -> bool:
    """Whether a field is a decay β, of which a debiasing needs βᵏ."""
    return next(field.metadata["domain"] for field in fields(stage) if field.name == name) == DECAY
