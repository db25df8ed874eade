"""What training with a pipeline holds in memory, from names and shapes alone: nothing is allocated."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any

import torch

from edsl.costs.cost import kept_buffers, traffic
from edsl.costs.temporaries import Temporary, temporaries
from edsl.costs.traffic import bytes_of_loops
from edsl.errors import EdslError
from edsl.groups.exclusion import excluded_names
from edsl.groups.matrix_kinds import matrix_kinds_in_name
from edsl.groups.routing import check_patterns, kinds_in_names, route_of
from edsl.language.pipeline import Pipeline
from edsl.language.rules.names import state_name
from edsl.language.spec import as_pipeline
from edsl.numerics.dtypes import read_dtype
from edsl.numerics.weights.form import WeightForm
from edsl.numerics.weights.forms import NEAREST, form_of, read_weights
from edsl.optim.foreign.build import build, parameters_for
from edsl.optim.foreign.probe import probing
from edsl.optim.state import state_tensors
from edsl.step.checks import check_steppable
from edsl.step.parts.matrices import Matrices
from edsl.step.plan import GroupPlan, matrices_in
from edsl.step.state_dtype import Kept, read_kept

Shapes = Mapping[str, Sequence[int]]


@dataclass(frozen=True)
class BufferMemory:
    """One buffer of a stage, over all tensors of a route."""

    name: str
    dtype: str
    bytes: int


@dataclass(frozen=True)
class StageMemory:
    """What a stage keeps; `buffers` is None where another package's optimizer does not tell."""

    stage: str
    kind: str
    buffers: tuple[BufferMemory, ...] | None

    @property
    def bytes(self) -> int | None:
        return None if self.buffers is None else sum(buffer.bytes for buffer in self.buffers)


@dataclass(frozen=True)
class RouteMemory:
    """The parameters on one route, "" where there are no routes, and what its stages keep for them.

    Attributes:
        parameters: how many elements these tensors have.
        spared: how many of the tensors are left out of weight decay and layerwise scaling.
    """

    route: str
    names: tuple[str, ...]
    parameters: int
    spared: int
    stages: tuple[StageMemory, ...]


@dataclass(frozen=True)
class Memory:
    """Bytes of one optimizer and its parameters.

    Attributes:
        parameters, tensors: how many.
        state: between steps, without the count of steps, 8 bytes a tensor; None where another package's
            optimizer does not tell.
        traffic: what must pass through memory in a step, each tensor once; None for another package's.
        traffic_of_loops: what the step's loops move, where no cache keeps a layer from one loop to the next;
            None where the step is more than elements, norms and means.
        temporaries: what a step allocates at the most, but for the model's and another package's own; None
            for another package's optimizer alone.
    """

    spec: str
    dtype: str
    parameters: int
    tensors: int
    parameter_bytes: int
    gradient_bytes: int
    state: int | None
    traffic: int | None
    traffic_of_loops: int | None
    temporaries: tuple[Temporary, ...] | None
    routes: tuple[RouteMemory, ...]

    @property
    def temporary(self) -> int | None:
        """Bytes that a step allocates at the most."""
        return None if self.temporaries is None else sum(one.bytes for one in self.temporaries)

    @property
    def temporary_on_cpu(self) -> int | None:
        """The same where native code steps."""
        return None if self.temporaries is None else sum(one.on_cpu for one in self.temporaries)

    def least_seconds(self, bandwidth: float) -> float | None:
        """A lower bound of a step's time, at a bandwidth in GB/s."""
        return _seconds(self.traffic, bandwidth)

    def loop_seconds(self, bandwidth: float) -> float | None:
        """What the step's loops take at a bandwidth in GB/s, where no cache helps."""
        return _seconds(self.traffic_of_loops, bandwidth)


def memory(
    spec: Any, shapes: Shapes, dtype: Any = "float32", state_dtype: Any = None, weights: str | None = None
) -> Memory:
    """What a pipeline needs for parameters of these names and shapes.

    Biases and norms are excluded from weight decay by name, and routes are decided by name, as far as names
    tell: see `kinds_in_names`.

    Args:
        dtype: of the parameters and gradients.
        state_dtype: of all state, as in `edsl.compile`.
        weights: how parameters in half precision keep their values, as there.

    Raises:
        EdslError: for a bad spec or dtype, or a parameter that the pipeline can't take.

    Example:
        >>> from edsl.costs.memory import memory
        >>> found = memory("alto", {"wte.weight": (50257, 768), "ln_f.bias": (768,)})
        >>> found.state / found.parameters
        12.0
    """
    pipeline = as_pipeline(spec)
    given, kept = read_dtype(dtype, "dtype") or torch.float32, read_kept(state_dtype)
    if kept is not None and pipeline.update.moves_weights:
        raise EdslError(f"state_dtype applies to edsl's updates only; {pipeline.update.name} chooses its own")
    if weights is not None and pipeline.update.moves_weights:
        raise EdslError(f"weights apply to edsl's updates only; {pipeline.update.name} moves the weights itself")
    form = NEAREST if pipeline.update.moves_weights else form_of(read_weights(weights), given)
    form.check(given, "the dtype")
    own = routes(pipeline, shapes)
    excluded = frozenset(excluded_names(None, tuple(shapes)))
    dtypes = (given, kept, form)
    shares = [
        _Share(route, pipeline.branch(route), {name: tuple(shapes[name]) for name in names}, excluded, *dtypes)
        for route, names in own.items()
    ]
    parameters = sum(prod(shape) for shape in shapes.values())
    size = parameters * given.itemsize
    state = _total(share.state for share in shares)
    kept_by_all = sum(share.kept for share in shares)
    moved = None if state is None or pipeline.update.moves_weights else int(traffic(size, state, kept_by_all))
    branches = [(share.pipeline, tuple(share.shapes.values()), share.matrices) for share in shares]
    return Memory(
        spec=pipeline.line,
        dtype=_name(given),
        parameters=parameters,
        tensors=len(shapes),
        parameter_bytes=size,
        gradient_bytes=size,
        state=state,
        traffic=moved,
        traffic_of_loops=_total(share.moved_by_loops for share in shares),
        temporaries=None if _is_bare(pipeline) else temporaries(branches, given, kept, form),
        routes=tuple(share.memory() for share in shares),
    )


def routes(pipeline: Pipeline, shapes: Shapes) -> dict[str, list[str]]:
    """The names of the parameters that take each route.

    Raises:
        EdslError: for a parameter that no route takes, or that its pipeline can't step.
    """
    taken: dict[str, list[str]] = {route: [] for route in pipeline.branches}
    if "" not in taken:
        check_patterns(tuple(taken), list(shapes))
    kinds = kinds_in_names(shapes)
    for name, shape in shapes.items():
        parameter = torch.empty(tuple(shape), device="meta")
        route = "" if "" in taken else route_of(parameter, name, tuple(taken), kinds)
        check_steppable(pipeline.branch(route), parameter, name, {name: own} if (own := kinds[name]) else None)
        taken[route].append(name)
    return taken


@dataclass(frozen=True)
class _Share:
    """The parameters of one route; `excluded` are the names of all that are spared."""

    route: str
    pipeline: Pipeline
    shapes: dict[str, tuple[int, ...]]
    excluded: frozenset[str]
    dtype: torch.dtype
    kept_as: Kept | None  # what was asked of the state
    weights: WeightForm

    @cached_property
    def stages(self) -> tuple[StageMemory, ...]:
        return (*(self._stage(index) for index in range(len(self.pipeline.stages))), *self._rest())

    def _rest(self) -> Iterator[StageMemory]:
        """What is kept beside weights."""
        label, _, name = self.weights.buffer.partition(".")
        if name:
            dtype = self.weights.rest_dtype(self.dtype)
            size = sum(map(prod, self.shapes.values())) * dtype.itemsize
            yield StageMemory(label, "form of weights", (BufferMemory(name, _name(dtype), size),))

    @cached_property
    def taken(self) -> dict[str, Matrices | None]:
        """How each parameter is taken as matrices, as far as names tell."""
        return {
            name: matrices_in(self.pipeline, shape, name, matrix_kinds_in_name(name, shape) or None)
            for name, shape in self.shapes.items()
        }

    @property
    def matrices(self) -> tuple[Matrices, ...]:
        """Those of all parameters."""
        return tuple(one for one in self.taken.values() if one is not None)

    @cached_property
    def plans(self) -> list[GroupPlan]:
        """That of parameters with weight decay, and that of those that are spared it."""
        return [
            GroupPlan(self.pipeline, spared, self.pipeline.hyperparameters, "", self.kept_as, weights=self.weights)
            for spared in (False, True)
        ]

    @property
    def state(self) -> int | None:
        return _total(stage.bytes for stage in self.stages)

    @property
    def kept(self) -> int:
        """Bytes of state that most steps leave as they are."""
        if self.pipeline.update.moves_weights:
            return 0
        return sum(
            buffer.bytes
            for stage, names in zip(self.stages, kept_buffers(self.pipeline.stages))
            for buffer in stage.buffers or ()
            if buffer.name in names
        )

    @property
    def moved_by_loops(self) -> int | None:
        """Bytes that the loops of a step move for all parameters."""
        each = [_moved_by_loops(plan, self.dtype) for plan in self.plans] if self.shapes else [0, 0]
        sizes = ((prod(shape), each[name in self.excluded]) for name, shape in self.shapes.items())
        return _total(None if one is None else int(elements * one) for elements, one in sizes)

    def memory(self) -> RouteMemory:
        elements = sum(map(prod, self.shapes.values()))
        return RouteMemory(
            self.route, tuple(self.shapes), elements, len(self.excluded & self.shapes.keys()), self.stages
        )

    def _stage(self, index: int) -> StageMemory:
        stage, label = self.pipeline.stages[index], self.pipeline.labels[index]
        if stage.moves_weights:
            return StageMemory(label, stage.kind, foreign_state(stage, self.shapes, self.dtype))
        sizes: dict[str, int] = {}
        named: dict[str, str] = {}
        for name, shape in self.shapes.items():
            plan, parameter = self.plans[name in self.excluded], torch.empty(shape, dtype=self.dtype, device="meta")
            kept = plan.shapes(parameter, self.taken[name])
            for buffer in plan.memory[index]._fields:
                own = state_name(label, buffer)
                form = plan.form_of(own, parameter)
                dtype = plan.dtype_of(own, self.dtype) if form is None else form.dtype
                sizes[buffer] = sizes.get(buffer, 0) + prod(kept[own]) * dtype.itemsize
                if form is not None or buffer not in named:
                    named[buffer] = _name(dtype) if form is None else form.name
        return StageMemory(
            label, stage.kind, tuple(BufferMemory(buffer, named[buffer], size) for buffer, size in sizes.items())
        )


def foreign_state(stage: Any, shapes: Shapes, dtype: torch.dtype = torch.float32) -> tuple[BufferMemory, ...] | None:
    """What another package's optimizer makes in a step on the meta device, or None where it can't take one."""
    named = [
        (name, torch.empty(tuple(shape), dtype=dtype, device="meta", requires_grad=True))
        for name, shape in shapes.items()
    ]
    try:
        with probing():
            optimizer = build(stage, parameters_for(stage, named, kinds_in_names(shapes)))
            for _, parameter in named:
                parameter.grad = torch.empty_like(parameter)
            optimizer.step(*([lambda: torch.zeros(())] if stage.stands_alone else []))
    except Exception:  # another package's optimizer may raise anything
        return None
    found: dict[tuple[str, str], int] = {}
    for name, tensor, size in state_tensors(optimizer):
        key = name, _name(tensor.dtype)
        found[key] = found.get(key, 0) + size
    return tuple(BufferMemory(name, kind, size) for (name, kind), size in found.items())


def _total(sizes: Iterable[int | None]) -> int | None:
    """Their sum, or None where one is not known."""
    found = list(sizes)
    known = [size for size in found if size is not None]
    return sum(known) if len(known) == len(found) else None


def _moved_by_loops(plan: GroupPlan, dtype: torch.dtype) -> float | None:
    found = bytes_of_loops(plan, dtype)
    return None if found is None else sum(found)


def _seconds(size: int | None, bandwidth: float) -> float | None:
    return None if size is None else size / (bandwidth * 1e9)


def _is_bare(pipeline: Pipeline) -> bool:
    """Whether it is another package's optimizer alone."""
    return pipeline.update.moves_weights and len(pipeline.stages) == 2


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
