"""A pipeline with a group's values, cut into segments: what the group's parameters share in a step."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from math import prod
from typing import Any

import torch
from torch import Tensor

from edsl.errors import EdslError, EdslWarning
from edsl.language.arguments import SYNONYMS, stands_for
from edsl.language.domain import DECAY
from edsl.language.pipeline import Pipeline
from edsl.language.reductions import segments
from edsl.language.rules.names import state_name
from edsl.language.schedules.group import Following, StepClock
from edsl.language.stage import Estimator, Stage
from edsl.numerics.formats.form import BufferForm
from edsl.numerics.formats.format import StateFormat
from edsl.numerics.formats.layout import in_rows
from edsl.numerics.structures import ELEMENTS, ESTIMATE, MATRIX, SCALAR
from edsl.numerics.weights.form import WeightForm
from edsl.numerics.weights.forms import NEAREST
from edsl.step.inputs import LiveLayout
from edsl.step.parts.matrices import Matrices, factor_shapes, matrices_of, packed_shape
from edsl.step.segment import Segment
from edsl.step.state_dtype import StateDtype, dtype_for, form_for, kept_for, rounds

_FIXED = (float, int)  # values that nobody changes in place
_CHANGING = object()


class GroupPlan:
    """What the parameters of one group share in a step: its pipeline, values and segments."""

    def __init__(
        self,
        base: Pipeline,
        spared: bool,
        values: dict[str, Any],
        route: str = "",
        state_dtype: StateDtype = None,
        following: Following | None = None,
        weights: WeightForm = NEAREST,
    ) -> None:
        self.base = base.unscheduled()
        self.weights = weights
        self.following = following or Following({}, {}, StepClock())
        self.route = route
        self.state_dtype = state_dtype
        self.spared = spared
        self.values = dict(values)
        self._pipeline = pipeline = self._with_values(values)
        self.synonyms = _synonyms(pipeline, values)
        self._seen: dict[str, Any] = dict.fromkeys(("route", "exclude", *self.synonyms, *values), _CHANGING)
        self.stages = pipeline.stages
        own = [place for place in pipeline.keys.values() if place[1] in pipeline.stages[place[0]].live_fields()]
        hidden = [(index, field) for index, stage in enumerate(pipeline.stages) for field in stage.hidden_fields()]
        self.entries = (*own, *hidden)
        self.live_layout = LiveLayout(
            len(self.entries),
            decays=tuple(
                place
                for place, (index, field) in enumerate(self.entries)
                if pipeline.stages[index].domain_of(field) == DECAY
            ),
        )
        self.memory: dict[int, Any] = {
            index: type(pipeline.stages[index].init(0.0)) for index in (0, *self.engine_stages)
        }
        self.is_matrix = any(stage.is_matrix for stage in pipeline.stages)
        self.segments = tuple(self._segments())
        self._numbers: list[float] = [getattr(self.stages[index], field) for index, field in self.entries]
        self._place_of = {entry: place for place, entry in enumerate(self.entries)}
        self._scheduled = _scheduled_places(self)
        followed = {self.entries[place][0] for _, place in self._scheduled}
        self._running = [index for index in followed if self.stages[index].hidden_fields()]  # scheduled, and run others
        self._followed: dict[str, float] | None = None  # the scheduled numbers that the others stand for

    @property
    def pipeline(self) -> Pipeline:
        """The pipeline with the values of now."""
        if self._pipeline.stages is not self.stages:
            self._pipeline = self._pipeline.revalued(self.stages)
        return self._pipeline

    @property
    def estimator(self) -> Estimator:
        """The pipeline's estimator with the values of now."""
        stage = self.stages[0]
        own = [(key, self.entries[place][1]) for key, place in self._scheduled if self.entries[place][0] == 0]
        if own:
            now = self.following.now()
            stage = stage.bind({field: now[key] for key, field in own})
        assert isinstance(stage, Estimator)  # the pipeline has seen to it
        return stage

    @property
    def engine_stages(self) -> range:
        """The stages that run here: all but the estimator, and another package's optimizer."""
        return range(1, len(self.pipeline.stages) - self.pipeline.stages[-1].moves_weights)

    def _with_values(self, values: dict[str, Any]) -> Pipeline:
        pipeline = self.base.override(**values)
        return pipeline.without_decay() if self.spared else pipeline

    def _segments(self) -> Iterator[Segment]:
        stages, running = self.pipeline.stages, self.engine_stages
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
                live_layout=self.live_layout,
                updates=end == len(stages),
                formats=_formats(self, begin, end),
                weights=self.weights,
            )

    def change(self, values: dict[str, Any]) -> None:
        """Set new values of some hyper-parameters for the next steps, all of them or, on an error, none.

        With a scheduler every step comes here, so only what depends on the new values is rebuilt.

        Raises:
            EdslError: for a value outside its domain, or one that needs a buffer which isn't there.
        """
        keys, changes = self._pipeline.keys, {}
        for key, value in values.items():
            index, field = keys[key]
            changes.setdefault(index, {})[field] = value
        stages = [*self.stages]
        for index, own in changes.items():
            stages[index] = self._changed(index, own)
        self.values.update(values)
        self._followed = None
        self.stages = tuple(stages)
        for index, own in changes.items():
            for field in (*own, *stages[index].hidden_fields()):
                self._numbers[self._place_of[index, field]] = getattr(stages[index], field)

    def _changed(self, index: int, values: dict[str, Any]) -> Stage:
        """A stage with other values in some fields."""
        before = self.stages[index]
        if None in values.values():
            raise EdslError("a hyper-parameter that was a number when the optimizer was built must stay one, got None")
        stage = before.revalued(values)
        if index in self.memory:
            needed: Any = type(stage.init(0.0))
            if needed is not self.memory[index]:
                _check_buffers(stage, needed, self.memory[index])
        exact = "e" if stage.hidden_fields() else stage.name  # that of a rule is the E within it
        for field in stage.constant:
            if getattr(stage, field) != getattr(before, field):
                warnings.warn(
                    f"{stage.name}: {field} changed while training, where this form is exact only for a "
                    f"constant one; {exact}(…, buffers=2) follows a schedule exactly",
                    EdslWarning,
                    stacklevel=2,
                )
        spared = before.spared_values() if self.spared else {}
        return stage.bind({field: spared[field] for field in values if field in spared}) if spared else stage

    def record_values(self, group: dict[str, Any], keys: Iterable[str]) -> None:
        """Remember the group's current objects under these keys, for `moved` to compare with."""
        for key in keys:
            value = group.get(key, "")
            self._seen[key] = value if key not in self.values or type(value) in _FIXED else _CHANGING

    def moved(self, group: dict[str, Any]) -> list[str]:
        """The keys whose objects in the group may have changed since `record_values`."""
        return [key for key, value in self._seen.items() if group.get(key, "") is not value]

    def numbers(self, k: int) -> list[float]:
        """The live values of step k, as `live_layout` has them."""
        if self._scheduled and (now := self.following.now()) is not self._followed:
            self._follow(now)
        return self.live_layout.vector(self._numbers, k, self.estimator.looks(k))

    def _follow(self, now: dict[str, float]) -> None:
        """Take over the scheduled numbers of a step, and what follows from them in stages within rules."""
        for key, place in self._scheduled:
            self._numbers[place] = now[key]
        for index in self._running:
            places = [(key, self.entries[place]) for key, place in self._scheduled]
            stage = self.stages[index].bind({field: now[key] for key, (own, field) in places if own == index})
            for field in stage.hidden_fields():
                self._numbers[self._place_of[index, field]] = getattr(stage, field)
        self._followed = now

    def live(self, k: int, device: torch.device) -> Tensor:
        """The vector of these numbers; float64, so that 1 − β keeps its digits."""
        numbers = self.numbers(k)
        if device.type == "cuda":  # pinned, so that the copy does not wait for the device
            pinned = torch.tensor(numbers, dtype=torch.float64, device="cpu", pin_memory=True)
            return pinned.to(device, non_blocking=True)
        dtype = torch.float32 if device.type == "mps" else torch.float64
        return torch.tensor(numbers, dtype=dtype, device=device)

    @cached_property
    def estimated(self) -> tuple[str, ...]:
        """The names of the estimator's buffers."""
        return tuple(f"{self.pipeline.labels[0]}.{name}" for name in self.memory[0]._fields)

    @cached_property
    def buffers(self) -> tuple[str, ...]:
        """The names of all state of one parameter, but for its step."""
        found = (*self.estimated, *(name for segment in self.segments for name in segment.buffers))
        return tuple(dict.fromkeys(found))  # every segment reads the rest of θ

    @cached_property
    def rounds_stochastically(self) -> bool:
        """Whether weights are, or some state is, rounded at random."""
        return self.weights.rounds or rounds(self.state_dtype)

    @cached_property
    def structures(self) -> dict[str, str]:
        """What is known of the values of each buffer, by its name."""
        return structures_of(self.pipeline)

    @cached_property
    def factor_buffers(self) -> frozenset[str]:
        """The buffers that do not have the parameter's shape."""
        return frozenset(name for name, own in self.structures.items() if own not in (ELEMENTS, ESTIMATE))

    @cached_property
    def scalars(self) -> frozenset[str]:
        """The buffers that are one number a layer; of a sharded one every process has it."""
        return frozenset(name for name, own in self.structures.items() if own == SCALAR)

    def dtype_of(self, name: str, dtype: torch.dtype) -> torch.dtype:
        """The dtype of one buffer of a parameter of some dtype, where it isn't in codes."""
        if name == self.weights.buffer:
            return self.weights.rest_dtype(dtype)
        return dtype_for(self.state_dtype, name, self.structures[name], dtype)

    def form_of(self, name: str, parameter: Any) -> BufferForm | None:
        """The form in which a parameter's buffer is kept, None where it is kept in a dtype."""
        if self.state_dtype is None or name == self.weights.buffer:
            return None
        return form_for(self.state_dtype, name, tuple(parameter.shape), self.structures[name], parameter)

    def forms(self, parameter: Any) -> dict[str, BufferForm]:
        """The buffers of a parameter that aren't kept in a dtype."""
        found = {name: self.form_of(name, parameter) for name in self.buffers if self.state_dtype is not None}
        return {name: form for name, form in found.items() if form is not None}

    def coded(self, parameter: Any) -> dict[str, StateFormat]:
        """Those of them that have the parameter's shape: they are in codes."""
        found = self.forms(parameter).items()
        return {name: form for name, form in found if isinstance(form, StateFormat) and name not in self.factor_buffers}

    def matrices(self, shape: Sequence[int], name: str, kinds: Sequence[str] | None) -> Matrices | None:
        """How a parameter is taken as matrices, None where it isn't; raises EdslError where it can't be.

        Args:
            kinds: those of the module that owns it, or None where that is not known.
        """
        return matrices_in(self.pipeline, shape, name, kinds) if self.is_matrix else None

    def shapes(self, parameter: Any, matrices: Matrices | None) -> dict[str, tuple[int, ...]]:
        """The shape of each buffer of a parameter that is taken as these matrices, as it is kept."""
        own = dict.fromkeys(self.buffers, tuple(parameter.shape)) | dict.fromkeys(self.scalars, (1,))
        own |= {name: form.shape(tuple(parameter.shape)) for name, form in self.coded(parameter).items()}
        return own | {name: packed_shape(shapes) for name, shapes in kept_shapes(self, matrices).items()}

    def estimator_memory(self, state: dict[str, Any]) -> Any:
        """The estimator's buffers in a parameter's state."""
        return self.memory[0](*(state[name] for name in self.estimated))


def kept_shapes(plan: GroupPlan, matrices: Matrices | None) -> dict[str, list[tuple[int, ...]]]:
    """The shapes of what each factor buffer is kept in, one for each matrix of a parameter."""
    found = factor_shapes(plan.pipeline, matrices)
    if plan.state_dtype is None or matrices is None:
        return found
    count = (sum(prod(part.shape) for part in matrices.parts),)
    forms = {name: form_for(plan.state_dtype, name, count, plan.structures[name]) for name in found}
    return {
        name: shapes if (form := forms[name]) is None else [_kept_shape(form, shape) for shape in shapes]
        for name, shapes in found.items()
    }


def _kept_shape(form: BufferForm, shape: tuple[int, ...]) -> tuple[int, ...]:
    return form.shape(in_rows(shape) if isinstance(form, StateFormat) else shape)


def _formats(plan: GroupPlan, begin: int, end: int) -> tuple[BufferForm | None, ...]:
    """The forms that were chosen for the buffers of some stages, and none for the rest of θ."""
    labels = plan.pipeline.labels
    names = [state_name(labels[index], name) for index in range(begin, end) for name in plan.memory[index]._fields]
    found = [kept_for(plan.state_dtype, name, plan.structures[name], torch.float32) for name in names]
    rest = (None,) if plan.weights.buffer else ()
    return (*(one if isinstance(one, BufferForm) else None for one in found), *rest)


def matrices_in(pipeline: Pipeline, shape: Sequence[int], name: str, kinds: Sequence[str] | None) -> Matrices | None:
    """How a pipeline takes a parameter as matrices, None where it doesn't; the first stage that cuts decides."""
    stages = [stage for stage in pipeline.stages if stage.is_matrix]
    if not stages:
        return None
    refusing = next((stage for stage in stages if not stage.takes_vectors), None)
    cutting = next((stage for stage in stages if stage.cut[0]), stages[0])
    stage = refusing if refusing is not None and len(shape) < 2 else cutting
    known = None if kinds is None else tuple(kinds)
    return matrices_of(stage.name, cutting.cut, tuple(shape), name, known, takes_vectors=refusing is None)


def structures_of(pipeline: Pipeline) -> dict[str, str]:
    """What is known of the values of each buffer, by its name; of a pipeline with routes, of all of them."""
    found: dict[str, str] = {}
    for branch in pipeline.branches.values():
        for place, (stage, label) in enumerate(zip(branch.stages, branch.labels)):
            if stage.moves_weights:
                continue
            rest = ELEMENTS if place else ESTIMATE
            own = dict.fromkeys(type(stage.init(0.0))._fields, rest) | dict.fromkeys(stage.buffer_shapes(1, 1), MATRIX)
            own |= stage.structures() | dict.fromkeys(stage.scalars(), SCALAR)
            found |= {state_name(label, name): structure for name, structure in own.items()}
    return found


def _check_buffers(stage: Stage, needed: Any, built: Any) -> None:
    """Raises EdslError where a stage needs buffers that it was built without."""
    lost = [name for name in needed._fields if name not in built._fields]
    if lost:
        raise EdslError(
            f"{stage.name}: was built without its buffers {', '.join(lost)} because a value was 0; "
            "build the optimizer with the value above 0 to schedule it"
        )


def _synonyms(pipeline: Pipeline, values: dict[str, Any]) -> dict[str, tuple[str, ...]]:
    """By the synonyms of a group's hyper-parameters that a step doesn't read, such as betas, what they stand for."""
    if pipeline.update.moves_weights:  # the group is another package's, where they may be its own names
        return {}
    betas = pipeline.update.betas
    found = {"beta1": betas[:1], **{name: stands_for(name, {"": betas}) for name in SYNONYMS}}  # β₁ is E's here
    return {name: names for name, names in found.items() if name not in values and names and values.keys() >= {*names}}


def _scheduled_places(plan: GroupPlan) -> tuple[tuple[str, int], ...]:
    """The key and the place of each number on a schedule, but for what is spared."""
    keys = plan.pipeline.keys
    found = [(key, keys[key]) for key in plan.following.schedules]
    if plan.spared:
        found = [(key, (i, name)) for key, (i, name) in found if name not in plan.stages[i].spared_values()]
    return tuple((key, plan.entries.index(entry)) for key, entry in found)
