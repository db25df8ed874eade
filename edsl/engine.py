"""Pipeline + parameters → compiled step.

Data flows once through each parameter: θ, g and the memory go into one compiled function as 1-D
views in storage order, the stages run one after another, and the function writes the memory and θ
back in place. So every size and layout shares one graph, and nothing as large as the parameter is
allocated. A stage that needs a norm over *all* parameters splits the pipeline into segments.

Hyper-parameters go in as one float64 vector, so a schedule never recompiles. Powers βᵏ are computed
on the host and go with them: inside the loop over elements a pow would cost more than all else.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from functools import cached_property
from hashlib import blake2b
from types import FunctionType
from typing import Any

import torch
from torch import Tensor

from edsl.domain import Number
from edsl.errors import EdslError, EdslWarning
from edsl.pipeline import Pipeline
from edsl.stage import At, NoMemory, Stage

MODES = ("compiled", "eager")
HALF = (torch.bfloat16, torch.float16)


class TensorAt(At):
    """Where a step happens, in torch."""

    def __init__(self, theta: Tensor, gradient: Tensor, k: Tensor, powers: list[tuple[Tensor, Tensor]]) -> None:
        self.theta = theta
        self.gradient = gradient
        self.k = k
        self.powers = powers  # (β, βᵏ) for every decay

    def sqrt(self, x: Tensor) -> Tensor:
        return x.sqrt()

    def norm(self, x: Tensor) -> Tensor:
        return torch.linalg.vector_norm(x)

    def debias(self, x: Tensor, beta: Any) -> Tensor:
        for known, power in self.powers:
            if known is beta:
                return x / (1 - power)
        return x / (1 - beta**self.k)

    def first(self, x: Tensor, otherwise: Tensor) -> Tensor:
        return torch.where(self.k == 1, x, otherwise)

    def clamp(self, x: Tensor, bound: Any) -> Tensor:
        return torch.minimum(torch.maximum(x, (-bound).to(x.dtype)), bound.to(x.dtype))

    def minimum(self, x: Any, y: Any) -> Tensor:
        return torch.where(y < x, y, x)

    def ratio(self, x: Any, y: Any) -> Tensor:
        zero = (x == 0) | (y == 0)
        return torch.where(zero, 1.0, x / torch.where(zero, 1.0, y))


class WatchingAt(TensorAt):
    """Where a step happens while somebody watches: roots and norms are kept as they are taken."""

    def __init__(self, theta: Tensor, gradient: Tensor, k: Tensor, powers: list[tuple[Tensor, Tensor]]) -> None:
        super().__init__(theta, gradient, k, powers)
        self.roots: list[Tensor] = []
        self.norms: list[Tensor] = []

    def sqrt(self, x: Tensor) -> Tensor:
        self.roots.append(super().sqrt(x))
        return self.roots[-1]

    def norm(self, x: Tensor) -> Tensor:
        self.norms.append(super().norm(x))
        return self.norms[-1]


@dataclass(frozen=True)
class Watched:
    """What one parameter's base update computed: its roots (√v̂) and norms (of θ, of r), in order."""

    parameter: Tensor
    k: int
    update: Stage
    roots: list[Tensor]
    norms: list[Tensor]


@dataclass(frozen=True)
class Segment:
    """Stages that run as one function; a stage that needs the total norm begins a new one.

    `places[i]` maps the live fields of stage i to their entries in the live vector, `powers` lists
    (entry of β, entry of βᵏ), `k` is the entry of the step number.
    """

    stages: tuple[Stage, ...]
    labels: tuple[str, ...]
    memory: tuple[Any, ...]
    places: tuple[tuple[tuple[str, int], ...], ...]
    powers: tuple[tuple[int, int], ...]
    k: int
    updates: bool  # the last stage is the base update, so θ moves

    @property
    def needs_total_norm(self) -> bool:
        return self.stages[0].needs_total_norm

    @cached_property
    def key(self) -> tuple[Any, ...]:
        """What a compiled function depends on besides its tensors."""
        stages = tuple((type(stage), stage.structure(), stage.live_fields()) for stage in self.stages)
        return stages, self.memory, self.places, self.powers, self.k, self.updates

    @cached_property
    def buffers(self) -> tuple[str, ...]:
        """The names of this segment's state, in the order in which the function takes it."""
        return tuple(f"{label}.{name}" for label, memory in zip(self.labels, self.memory) for name in memory._fields)

    @cached_property
    def noisy(self) -> tuple[tuple[Any, str], ...]:
        """The stages that read noise, with their labels."""
        return tuple((stage, label) for stage, label in zip(self.stages, self.labels) if stage.needs_noise)

    def evaluate(
        self,
        at_type: type[TensorAt],
        theta: Tensor,
        x: Tensor,
        gradient: Tensor | None,
        live: Tensor,
        total_norm: Tensor | None,
        normals: list[Tensor],
        *buffers: Tensor,
    ) -> tuple[Tensor, list[Tensor], TensorAt]:
        """What flows out, the next memory, and where it happened; nothing is written."""
        work = working_dtype(theta.dtype)
        numbers = [live[i] for i in range(self.k + 1)]
        u = x.to(work)
        raw = u if gradient is None else gradient.to(work)
        at = at_type(theta.to(work), raw, numbers[self.k], [(numbers[b], numbers[p]) for b, p in self.powers])
        at.total_norm = total_norm
        taken, drawn = 0, 0
        after: list[Tensor] = []
        for stage, places, memory_type in zip(self.stages, self.places, self.memory):
            count = len(memory_type._fields)
            if stage.needs_noise:
                at.normal = normals[drawn]
                drawn += 1
            bound = stage.bind({name: numbers[i] for name, i in places})
            u, memory = bound.step(u, memory_type(*buffers[taken : taken + count]), at)
            after.extend(memory)
            taken += count
        return u, after, at

    def function(self) -> Callable[..., Any]:
        """(θ, x, gradient, live, total_norm, normals, *memory) → u, or None when θ was updated."""

        def run(theta: Tensor, x: Tensor, *rest: Any) -> Tensor | None:
            u, after, at = self.evaluate(TensorAt, theta, x, *rest)
            buffers = rest[4:]
            # A new buffer may be an old one, or θ itself: copy those before anything is written.
            old = [*buffers, theta]
            after = [new.clone() if any(new is o for o in old) else new for new in after]
            for buffer, new in zip(buffers, after):
                buffer.copy_(new)
            if not self.updates:
                return u
            theta.copy_(at.theta + u)
            return None

        return run


def working_dtype(dtype: torch.dtype) -> torch.dtype:
    """The dtype of state and arithmetic: float32 for half-precision parameters, else their own."""
    return torch.float32 if dtype in HALF else dtype


class Plan:
    """What the parameters of one group share in a step: its pipeline, values and segments."""

    def __init__(self, base: Pipeline, spared: bool, values: dict[str, Any]) -> None:
        self.base = base
        self.spared = spared
        self.values = values
        pipeline = self.pipeline = self.with_values(values)
        self.entries = tuple(
            (index, field) for index, field in pipeline.keys.values() if field in pipeline.stages[index].live_fields()
        )
        self.decays = tuple(
            entry for entry, (index, field) in enumerate(self.entries) if _is_decay(pipeline.stages[index], field)
        )
        self.memory: dict[int, Any] = {index: type(pipeline.stages[index].init(0.0)) for index in self.running}
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
        begins = [index for index in running if index == running[0] or stages[index].needs_total_norm]
        for begin, end in zip(begins, [*begins[1:], running.stop]):
            yield Segment(
                stages=stages[begin:end],
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
            if memory is NoMemory and needed is not NoMemory:
                raise EdslError(
                    f"{stage.name}: was built without its buffers {', '.join(needed._fields)} because a value was 0; "
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

    def live(self, k: int, device: torch.device) -> Tensor:
        """The vector of live values, powers and k; float64, so that 1 − β keeps its digits."""
        numbers = [getattr(self.pipeline.stages[index], field) for index, field in self.entries]
        numbers += [numbers[i] ** k for i in self.decays]
        numbers.append(float(k))
        if device.type == "cuda":  # pinned, so that the copy does not wait for the device
            return torch.tensor(numbers, dtype=torch.float64, pin_memory=True).to(device, non_blocking=True)
        dtype = torch.float32 if device.type == "mps" else torch.float64
        return torch.tensor(numbers, dtype=dtype, device=device)

    def buffers(self) -> list[str]:
        """The names of all state of one parameter, but for its step."""
        return [name for segment in self.segments for name in segment.buffers]

    def fresh_state(self, parameter: Tensor) -> dict[str, Any]:
        """The state before the first step, each buffer in the parameter's layout."""
        zero = torch.zeros_like(parameter, dtype=working_dtype(parameter.dtype), requires_grad=False)
        # init may give one zero twice: each buffer is a tensor of its own.
        entries = [entry.clone() for segment in self.segments for stage in segment.stages for entry in stage.init(zero)]
        return {"step": torch.tensor(0.0, dtype=torch.float32), **dict(zip(self.buffers(), entries))}


class Item:
    """One parameter in one step: 1-D views of θ, of what flows through the stages, and of the state."""

    def __init__(self, parameter: Tensor, plan: Plan, state: dict[str, Any], name: str) -> None:
        gradient = parameter.grad
        assert gradient is not None  # the engine passes over parameters without one
        self.parameter, self.plan, self.state, self.name = parameter, plan, state, name
        self.k = int(state["step"]) + 1
        self.dense = is_dense(parameter)
        self.theta = flat(parameter.detach() if self.dense else parameter.detach().resolve_neg().contiguous())
        self.gradient = flat(self.like_parameter(gradient.detach().resolve_neg()))
        self.x = self.gradient

    def memory(self, segment: Segment) -> list[Tensor]:
        views = []
        for name in segment.buffers:
            buffer = self.state[name]
            laid = self.like_parameter(buffer)
            if laid is not buffer:
                self.state[name] = laid
            views.append(flat(laid))
        return views

    def u(self) -> Tensor:
        """What flows out of the last segment, in the gradient's dtype and the parameter's layout."""
        if not self.dense:
            return self.x.to(self.gradient.dtype, copy=True).view(self.parameter.shape)
        u = torch.empty_like(self.parameter, dtype=self.gradient.dtype, requires_grad=False)
        flat(u).copy_(self.x)
        return u

    def write_back(self) -> None:
        if self.dense:
            torch.autograd.graph.increment_version(self.parameter)
        else:
            self.parameter.copy_(self.theta.view(self.parameter.shape))

    def like_parameter(self, tensor: Tensor) -> Tensor:
        """The tensor itself where it has the parameter's layout, else a copy that has it."""
        parameter = self.parameter
        same = tensor.stride() == parameter.stride() if self.dense else tensor.is_contiguous() and not tensor.is_neg()
        if same:
            return tensor
        if not self.dense:
            return tensor.contiguous()
        return torch.empty_like(parameter, dtype=tensor.dtype, requires_grad=False).copy_(tensor)


class Engine:
    """Runs the pipelines of an optimizer's groups on their parameters.

    Attributes:
        graphs: how many graphs were compiled.
        fallbacks: one reason for each graph that could not be compiled, and so runs eagerly.
    """

    def __init__(self, pipeline: Pipeline, mode: str) -> None:
        self.pipeline = pipeline
        self.mode = mode
        self.graphs = 0
        self.fallbacks: list[str] = []
        self._plans: dict[tuple[int, bool], Plan] = {}
        self._functions: dict[tuple[Any, ...], Callable[..., Any]] = {}

    def forget_plans(self) -> None:
        """Read the groups anew, as after loading a checkpoint; what is compiled stays."""
        self._plans.clear()

    def plan(self, index: int, group: dict[str, Any], spared: bool) -> Plan:
        """The plan of a group for its parameters that are, or are not, spared decay."""
        plan = self._plans.get((index, spared))
        keys = self.pipeline.hyperparameters
        missing = [key for key in (*keys, "exclude") if key not in group]
        if missing:
            raise EdslError(f"param group {index} has lost its {', '.join(missing)}")
        values = {key: group[key] if isinstance(group[key], (float, int)) else _number(key, group[key]) for key in keys}
        if plan is None:
            plan = self._plans[index, spared] = Plan(self.pipeline, spared, values)
        elif plan.values != values:
            plan.change(values)
        return plan

    def step(self, groups: list[dict[str, Any]], states: Any) -> list[Item]:
        """One step of every parameter that has a gradient; the items hold u if nothing updates θ."""
        items = list(self._items(groups, states))
        self._flow(items, lambda segment, item, given: self._function(segment, item)(item.theta, item.x, *given))
        for item in items:
            if item.plan.segments[-1].updates:
                item.write_back()
            item.state["step"] += 1
        return items

    def watch(self, groups: list[dict[str, Any]], states: Any) -> list[Watched]:
        """What the next step will compute on the way, without taking it."""
        seen: list[Watched] = []

        def look(segment: Segment, item: Item, given: tuple[Any, ...]) -> Tensor:
            u, _, at = segment.evaluate(WatchingAt, item.theta, item.x, *given)
            assert isinstance(at, WatchingAt)  # made by evaluate
            if segment.updates:
                seen.append(Watched(item.parameter, item.k, item.plan.pipeline.update, at.roots, at.norms))
            return u

        self._flow(list(self._items(groups, states)), look)
        return seen

    def _flow(self, items: list[Item], call: Callable[[Segment, Item, tuple[Any, ...]], Any]) -> None:
        """Take all items through one segment after the other."""
        lives: dict[tuple[int, int, torch.device], Tensor] = {}
        for number in range(len(items[0].plan.segments) if items else 0):
            total = self._total_norm(items) if items[0].plan.segments[number].needs_total_norm else None
            for item in items:
                segment = item.plan.segments[number]
                device = item.theta.device
                live = lives.get((id(item.plan), item.k, device))
                if live is None:
                    live = lives[id(item.plan), item.k, device] = item.plan.live(item.k, device)
                given = (
                    item.gradient if number > 0 else None,
                    live,
                    None if total is None else total.to(device),
                    [_normal(stage, label, item) for stage, label in segment.noisy],
                    *item.memory(segment),
                )
                item.x = call(segment, item, given)

    def _items(self, groups: list[dict[str, Any]], states: Any) -> Iterator[Item]:
        for index, group in enumerate(groups):
            names = group.get("param_names")
            excluded = set(group.get("exclude", ()))
            plans: dict[bool, Plan] = {}
            for position, parameter in enumerate(group["params"]):
                gradient = parameter.grad
                if gradient is None:
                    continue
                name = names[position] if names else f"{index}.{position}"
                if gradient.is_sparse:
                    raise EdslError(f"parameter {name} has a sparse gradient; edsl needs dense ones (sparse=False)")
                spared = name in excluded
                plan = plans.get(spared) or plans.setdefault(spared, self.plan(index, group, spared))
                state = states[parameter]
                check_parameter(parameter, name)
                if "step" not in state:
                    state.update(plan.fresh_state(parameter))
                for buffer in plan.buffers():
                    if state[buffer].shape != parameter.shape:
                        raise EdslError(
                            f"parameter {name} has shape {tuple(parameter.shape)}, its state {buffer} "
                            f"{tuple(state[buffer].shape)}: build a new optimizer after changing shapes"
                        )
                if parameter.numel() == 0:
                    state["step"] += 1
                    continue
                yield Item(parameter, plan, state, name)

    def _total_norm(self, items: list[Item]) -> Tensor:
        first = items[0].theta.device
        norms = [torch.linalg.vector_norm(item.x, dtype=working_dtype(item.x.dtype)).to(first) for item in items]
        return torch.linalg.vector_norm(torch.stack(norms))

    def _function(self, segment: Segment, item: Item) -> Callable[..., Any]:
        key = (segment.key, item.theta.dtype, item.gradient.dtype, item.theta.device)
        if key not in self._functions:
            function = segment.function()
            self._functions[key] = self._compiled(function) if self.mode == "compiled" else function
        return self._functions[key]

    def _compiled(self, function: Any) -> Callable[..., Any]:
        # torch's recompile limit counts per code object: a code object of its own for each function.
        own = FunctionType(
            function.__code__.replace(),
            function.__globals__,
            function.__name__,
            function.__defaults__,
            function.__closure__,
        )
        return torch.compile(own, fullgraph=True, dynamic=True, backend=self._inductor)

    def _inductor(self, graph: torch.fx.GraphModule, inputs: list[Any]) -> Callable[..., Any]:
        """torch's inductor, counted; where it can't compile, the graph as it stands."""
        from torch._dynamo import lookup_backend
        from torch._dynamo.exc import RestartAnalysis

        try:
            with warnings.catch_warnings():  # the compiler's warnings are about itself
                warnings.simplefilter("ignore")
                compiled = lookup_backend("inductor")(graph, inputs)
        except RestartAnalysis:  # not a failure: Dynamo traces once more
            raise
        except Exception as reason:  # any failure of the compiler leaves the eager graph, which is right
            self.fallbacks.append(_why(reason))
            if len(self.fallbacks) == 1:
                warnings.warn(f"{self.fallbacks[0]}: running uncompiled", EdslWarning, stacklevel=2)
            return graph.forward
        self.graphs += 1
        return compiled


def flat(tensor: Tensor) -> Tensor:
    """All elements of a dense tensor in storage order, as a 1-D tensor on the same storage.

    It is no view in autograd's sense: the compiler guards on the shape of a view's base, and would
    compile anew for each. So whoever writes to it tells the version counter of the tensor.
    """
    alias = torch.empty(0, dtype=tensor.dtype, device=tensor.device)
    return alias.set_(tensor.untyped_storage(), tensor.storage_offset(), (tensor.numel(),), (1,))


def is_dense(tensor: Tensor) -> bool:
    """Whether the elements fill a block of memory without gaps or overlap, in whatever order."""
    if tensor.is_neg():
        return False  # its storage holds the values with the other sign
    return tensor.is_contiguous() or torch.empty_like(tensor, device="meta").stride() == tensor.stride()


def check_parameter(parameter: Tensor, name: str = "") -> None:
    """Raises EdslError for a parameter that no stage can step."""
    which = f"parameter {name}" if name else "a parameter"
    if parameter.is_complex():
        raise EdslError(f"{which} is complex, which is not supported; optimize torch.view_as_real of it instead")
    if parameter.dtype not in (torch.float32, torch.float64, *HALF):
        raise EdslError(f"{which} is {parameter.dtype}; expected float32, float64, bfloat16 or float16")
    if parameter.layout != torch.strided:
        raise EdslError(f"{which} is {parameter.layout}; expected a dense tensor")
    if overlaps(parameter):
        raise EdslError(f"{which} has elements that share memory (expanded or overlapping strides); clone() it first")


def overlaps(tensor: Tensor) -> bool:
    """Whether two elements may lie in one place, as in an expanded tensor."""
    reach = 0
    for stride, size in sorted((stride, size) for stride, size in zip(tensor.stride(), tensor.shape) if size > 1):
        if stride <= reach:
            return True
        reach += stride * (size - 1)
    return False


def is_foreign(stage: Stage) -> bool:
    """Whether a stage is another package's optimizer, which steps by itself."""
    from edsl.adapters.foreign import Foreign

    return isinstance(stage, Foreign)


def _number(key: str, value: Any) -> Any:
    """A group's value as a number where a tensor or numpy scalar holds one; else as it is, to be refused."""
    try:
        return Number().read(value)
    except ValueError as reason:
        raise EdslError(f"param group: {key} {reason}") from None


def _is_decay(stage: Stage, name: str) -> bool:
    """Whether a field is a decay β in [0, 1), of which a debiasing needs βᵏ."""
    domain = next(field.metadata["domain"] for field in fields(stage) if field.name == name)
    return domain.low == 0 and domain.high == 1


def _normal(stage: Any, label: str, item: Item) -> Tensor:
    """Noise that depends on seed, stage, parameter and step alone."""
    digest = blake2b(f"{stage.seed}/{label}/{item.name}/{item.k}".encode(), digest_size=7).digest()
    generator = torch.Generator(item.theta.device).manual_seed(int.from_bytes(digest, "big"))
    dtype = working_dtype(item.theta.dtype)
    drawn = torch.randn(item.parameter.shape, generator=generator, dtype=dtype, device=item.theta.device)
    return flat(item.like_parameter(drawn))  # drawn in logical order: the layout does not matter


def _why(reason: Exception) -> str:
    text = str(reason)
    if "C++ compiler" in text or "InvalidCxxCompiler" in type(reason).__name__:
        return "no C++ compiler was found (install g++, or name one in CXX)"
    line = next((line.strip() for line in text.splitlines() if line.strip()), type(reason).__name__)
    return f"torch.compile failed ({line[:200]})"
