"""Stages that run as one function on tensors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from edsl.language.reductions import StepAnalysis, Total, analyse, totals_of
from edsl.language.rules.names import state_name
from edsl.language.stage import BaseUpdate, Stage
from edsl.numerics.dtypes import working_dtype
from edsl.numerics.formats.form import BufferForm
from edsl.numerics.stochastic_rounding import key_of
from edsl.numerics.weights.form import WeightForm
from edsl.numerics.weights.forms import NEAREST
from edsl.step.contexts import AskingContext, ShardContext, TorchContext
from edsl.step.inputs import LiveLayout, StepInputs
from edsl.step.state_dtype import Kept, rounded_as


@dataclass(frozen=True)
class Segment:
    """Stages that run as one function; a stage that needs the total norm, or a refresh, begins a new one.

    `places[i]` maps the live fields of stage i to their places in the live vector, which `live_layout` describes. By
    `weights` a parameter keeps the value that stages see as θ; its rest, if it has one, is the last of the buffers.
    """

    begin: int  # the index of its first stage in the pipeline
    stages: tuple[Stage, ...]
    labels: tuple[str, ...]
    memory: tuple[Any, ...]
    places: tuple[tuple[tuple[str, int], ...], ...]
    live_layout: LiveLayout
    updates: bool  # the last stage is the pipeline's last, so θ moves
    formats: tuple[BufferForm | None, ...]  # of buffers that may not be in a dtype
    weights: WeightForm = NEAREST
    scalars: frozenset[int] = field(init=False, compare=False)  # the places of buffers of one number a layer
    drawn: tuple[int, ...] = field(init=False, compare=False)  # how many noises each stage draws
    factors: dict[int, tuple[int, str]] = field(init=False, compare=False)  # places of buffers in shapes of their own

    def __post_init__(self) -> None:
        drawn = tuple(len(stage.draws(label)) for label, stage in zip(self.labels, self.stages))
        object.__setattr__(self, "drawn", drawn)
        own = {state_name(label, name) for label, stage in zip(self.labels, self.stages) for name in stage.scalars()}
        found = frozenset(place for place, name in enumerate(self.buffers) if name in own)
        object.__setattr__(self, "factors", _factors(self))
        object.__setattr__(self, "scalars", found)  # torch.compile follows no property that is cached on the way

    @property
    def needs_total_norm(self) -> bool:
        return self.stages[0].needs_total_norm

    def refreshes(self, k: int, name: str) -> bool:
        """Whether its first stage brings its memory of the parameter of this name up to date before step k."""
        stage, period = self.stages[0], self.stages[0].refresh_every
        if period == 0:
            return False
        shift = key_of(name, 0) % period if stage.staggers and k > 1 else 0
        return stage.is_due(k + shift)

    @cached_property
    def analysis(self) -> StepAnalysis:
        """The reductions over whole layers that its stages need, and the buffers that they don't change."""
        return analyse(self.stages, self.memory)

    @cached_property
    def kept(self) -> frozenset[str]:
        """The buffers that a step without a refresh leaves as they are."""
        kept = {state_name(label, name) for label, kept in zip(self.labels, self.analysis.kept) for name in kept}
        return frozenset(kept if self.updates else {*kept, *self.rests})

    @cached_property
    def serves_all_sizes(self) -> bool:
        """Whether one graph is made for all; what is cut into blocks compiles many times faster for known sizes."""
        return not any(stage.buffer_shapes(1, 1) or stage.reads_matrix for stage in self.stages)

    @property
    def is_matrix(self) -> bool:
        """Whether one of its stages takes a parameter as a matrix."""
        return any(stage.is_matrix for stage in self.stages)

    @cached_property
    def key(self) -> tuple[Any, ...]:
        """What a compiled function depends on besides its tensors."""
        stages = tuple((type(stage), stage.structure(), stage.live_fields()) for stage in self.stages)
        own = self.live_layout, self.updates, self.formats, self.weights.name
        return stages, self.memory, self.places, *own

    @cached_property
    def buffers(self) -> tuple[str, ...]:
        """The names of this segment's state, in the order in which the function takes it."""
        own = (state_name(label, name) for label, memory in zip(self.labels, self.memory) for name in memory._fields)
        return (*own, *self.rests)

    @property
    def rests(self) -> tuple[str, ...]:
        """The name of the rest of θ, if there is one."""
        return (self.weights.buffer,) if self.weights.buffer else ()

    def rest_in(self, buffers: Sequence[Any]) -> Any:
        """The rest of θ among the segment's buffers, or None."""
        return buffers[-1] if self.weights.buffer else None

    @cached_property
    def noisy(self) -> tuple[tuple[Any, str], ...]:
        """The stages that draw noise, with their labels."""
        return tuple(draw for stage, label in zip(self.stages, self.labels) for draw in stage.draws(label))

    @cached_property
    def probing(self) -> tuple[tuple[Any, str], ...]:
        """The stages that draw noise for their refresh, with their labels."""
        return self.stages[0].probes(self.labels[0])

    def evaluate(
        self, at_type: type[TorchContext], theta: Tensor, x: Tensor, inputs: StepInputs, *buffers: Tensor
    ) -> tuple[Tensor, list[Tensor], TorchContext]:
        """What flows out, the next memory, and where it happened; nothing is written."""
        u, at, bound = self._begin(at_type, theta, x, inputs, self.rest_in(buffers))
        u, after = self.flow(bound, u, self._read(buffers, at), inputs.normals, at)
        return u, after, at

    def _read(self, buffers: Sequence[Tensor], at: TorchContext) -> list[Tensor]:
        """Its first buffers as its stages take them, which see no rest."""
        return [
            at.of_scalar(buffer)
            if place in self.scalars
            else self.opened(place, buffer, at.theta.shape, at.theta.dtype)
            for place, buffer in enumerate(buffers[: len(self.buffers) - len(self.rests)])
        ]

    def opened(self, place: int, buffer: Tensor, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        """The values of a buffer in a dtype, of a parameter of this shape."""
        form = self.formats[place]
        return buffer.to(dtype) if form is None else form.opened(buffer, _shape_of(self, place, shape), dtype)

    def write(self, place: int, buffer: Tensor, new: Tensor, key: Tensor | None) -> None:
        """Write what becomes of a buffer, rounded as it is kept."""
        buffer.copy_(rounded_as(self.formats[place], new, buffer, key, place))

    def kinds(self, buffers: Sequence[Tensor]) -> tuple[Kept, ...]:
        """What each of its buffers is kept in: a form, or the dtype."""
        found = zip(self.formats, buffers)
        return tuple(form if form and buffer.dtype is form.dtype else buffer.dtype for form, buffer in found)

    def flow(
        self, bound: Sequence[Any], u: Any, buffers: Sequence[Any], normals: Sequence[Any], at: Any
    ) -> tuple[Any, list[Any]]:
        """Run the stages one after another: what flows out, and the next memory."""
        taken, drawn = 0, 0
        after: list[Any] = []
        for label, stage, memory_type, own in zip(self.labels, bound, self.memory, self.drawn):
            count = len(memory_type._fields)
            at.normals = normals[drawn : drawn + own]
            drawn += own
            before = u
            u, memory = stage.step(before, memory_type(*buffers[taken : taken + count]), at)
            at.passed(label, before, u)
            if isinstance(stage, BaseUpdate):
                at.lr = getattr(stage, "lr", 1.0)
            after.extend(memory)
            taken += count
        return u, after

    def bound(self, numbers: Sequence[Any]) -> list[Any]:
        """The stages with live values."""
        return [stage.bind({name: numbers[i] for name, i in places}) for stage, places in zip(self.stages, self.places)]

    def refresh(
        self,
        k: int,
        theta: Tensor,
        x: Tensor,
        inputs: StepInputs,
        *buffers: Tensor,
        at_type: type[TorchContext] = TorchContext,
    ) -> None:
        """Bring the first stage's memory up to date before step k, in place."""
        for place, new in self.refreshed(at_type, k, theta, x, inputs, *buffers).items():
            self.write(place, buffers[place], new, inputs.key)

    def refreshed(
        self, at_type: type[TorchContext], k: int, theta: Tensor, x: Tensor, inputs: StepInputs, *buffers: Tensor
    ) -> dict[int, Tensor]:
        """What the first stage's memory becomes before step k, by the numbers of the buffers that change."""
        u, at, (stage, *_) = self._begin(at_type, theta, x, inputs, self.rest_in(buffers))
        at.normals, at.probes = inputs.normals[: self.drawn[0]], inputs.probes
        memory = self.memory[0](*self._read(buffers[: len(self.memory[0]._fields)], at))
        after = (stage.begin if k == 1 else stage.refresh)(u, memory, at)
        return {place: new for place, (old, new) in enumerate(zip(memory, after)) if new is not old}

    def _begin(
        self, at_type: type[TorchContext], theta: Tensor, x: Tensor, inputs: StepInputs, rest: Tensor | None
    ) -> tuple[Tensor, TorchContext, list[Any]]:
        """What flows in, where it happens, and the stages with their live values."""
        work = working_dtype(theta.dtype)
        live = self.live_layout
        numbers = [inputs.live[i] for i in range(live.total_norm)]
        u = x.to(work)
        raw = u if inputs.gradient is None else inputs.gradient.to(work)
        powers = [(numbers[b], numbers[p]) for b, p in live.powers]
        value = self.weights.join(theta, rest)
        at = at_type(value, raw, inputs, numbers[live.k], numbers[live.looks], powers)
        return u, at, self.bound(numbers)

    def asking(self, turn: tuple[int, int]) -> Callable[..., Any]:
        """(θ, x, inputs, *buffers) → a shard's partial result for each reduction of one turn."""
        chosen = [i for i, reduction in enumerate(self.analysis.reductions) if reduction.turn == turn]

        def ask(theta: Tensor, x: Tensor, inputs: StepInputs, *buffers: Tensor) -> tuple[Tensor, ...]:
            _, _, at = self.evaluate(ShardContext, theta, x, inputs, *buffers)
            assert isinstance(at, ShardContext)  # made by evaluate
            return tuple(at.partials[i] for i in chosen)

        return ask

    @cached_property
    def totals(self) -> tuple[Total, ...]:
        """What its stages ask of all layers."""
        return totals_of(self.stages, self.memory)

    @property
    def asks_about_layers(self) -> bool:
        """Whether a step needs more of its layer, or of all layers, than one element after another."""
        return bool(self.analysis.reductions or self.totals) or self.needs_total_norm

    @property
    def levels(self) -> int:
        """How many times all layers are added up."""
        return 1 + max((total.level for total in self.totals), default=-1)

    def totals_of(self, level: int) -> list[int]:
        """The numbers of its totals over all layers on one level."""
        return [i for i, total in enumerate(self.totals) if total.level == level]

    def adding(self, level: int, is_shard: bool) -> Callable[..., Any]:
        """(θ, x, inputs, *buffers) → what a layer, or a shard, adds to each total over all layers on one level."""
        chosen, at_type = self.totals_of(level), ShardContext if is_shard else AskingContext

        def add(theta: Tensor, x: Tensor, inputs: StepInputs, *buffers: Tensor) -> tuple[Tensor, ...]:
            _, _, at = self.evaluate(at_type, theta, x, inputs, *buffers)
            assert isinstance(at, AskingContext)  # made by evaluate
            return tuple(at.addends[i] for i in chosen)

        return add

    def function(self) -> Callable[..., Any]:
        """(θ, x, inputs, *buffers) → u, or None when θ was updated."""

        def run(theta: Tensor, x: Tensor, inputs: StepInputs, *buffers: Tensor) -> Tensor | None:
            u, at, bound = self._begin(TorchContext, theta, x, inputs, self.rest_in(buffers))
            read = self._read(buffers, at)
            u, after = self.flow(bound, u, read, inputs.normals, at)
            changed = [new is not old for new, old in zip(after, read)]
            # A new buffer may be an old one, or θ itself: copy those before anything is written.
            old = [*buffers, theta]
            after = [new.clone() if any(new is o for o in old) else new for new in after]
            for place, (buffer, new) in enumerate(zip(buffers, after)):
                if changed[place]:
                    self.write(place, buffer, new, inputs.key)
            if not self.updates:
                return u
            kept, rest = self.weights.cut(at.theta + u, theta.dtype, inputs.key)
            theta.copy_(kept)
            if rest is not None:
                self.rest_in(buffers).copy_(rest)
            return None

        return run


def shapes_of_forms(segment: Segment, shape: Sequence[int]) -> dict[int, tuple[int, ...]]:
    """The shapes of values that neither have the parameter's, nor need lie as they are, by the places of buffers."""
    found = (place for place in segment.factors if segment.formats[place] is not None)
    return {place: tuple(_shape_of(segment, place, shape)) for place in found}


def _shape_of(segment: Segment, place: int, shape: Sequence[int]) -> Sequence[int]:
    """That of a buffer's values, of a parameter of this shape."""
    index, name = segment.factors.get(place, (0, ""))
    return segment.stages[index].buffer_shapes(*shape[-2:])[name] if name else shape


def _factors(segment: Segment) -> dict[int, tuple[int, str]]:
    """The places of a segment's buffers in other shapes than the parameter's: the number of the stage, and the name."""
    found = {
        state_name(label, name): (index, name)
        for index, (label, stage) in enumerate(zip(segment.labels, segment.stages))
        for name in stage.buffer_shapes(1, 1)
    }
    return {place: found[name] for place, name in enumerate(segment.buffers) if name in found}
