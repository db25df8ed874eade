"""Pipeline + parameters → compiled step.

The estimator comes first, over all parameters at once. Then data flows once through each parameter:
θ, g and the memory go into one compiled function as 1-D aliases in storage order (matrices, where a
stage asks for them), the stages run one after another, and the function writes the memory and θ back
in place. So every size and layout shares one graph, and nothing as large as the parameter is
allocated. A stage that needs a norm over *all* parameters splits the pipeline into segments.

Hyper-parameters go in as one float64 vector, so a schedule never recompiles. Powers βᵏ are computed
on the host and go with them: inside the loop over elements a pow would cost more than all else.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from types import FunctionType
from typing import Any

import torch
from torch import Tensor

from edsl.domain import Number
from edsl.errors import EdslError, EdslWarning, shown
from edsl.layout import alias, check_parameter, is_dense, working_dtype
from edsl.oracle import Oracle, Slot, generator_for, total_norm
from edsl.pipeline import Pipeline
from edsl.plan import Plan, is_foreign
from edsl.segment import Given, Segment, WatchingAt
from edsl.stage import Estimator, Stage

MODES = ("compiled", "eager")


@dataclass(frozen=True)
class Watched:
    """What one parameter's base update computed: its roots (√v̂) and norms (of θ, of r), in order."""

    parameter: Tensor
    k: int
    update: Stage
    roots: list[Tensor]
    norms: list[Tensor]


class Item:
    """One parameter in one step: aliases of θ, of what flows through the stages, and of the state."""

    def __init__(self, slot: Slot, plan: Plan, state: dict[str, Any], maximize: bool) -> None:
        assert slot.gradient is not None  # the engine passes over parameters without one
        self.parameter, self.plan, self.state, self.name = slot.parameter, plan, state, slot.name
        parameter = slot.parameter
        self.k = int(state["step"]) + 1
        self.dense = is_dense(parameter) and (not plan.is_matrix or parameter.is_contiguous())
        self.theta = self.laid(parameter.detach())
        self.maximize = maximize
        self.gradient = self.seen(slot.gradient.detach().resolve_neg())
        self.hessian = None if slot.hessian is None else self.seen(slot.hessian)
        self.difference = None if slot.difference is None else self.seen(slot.difference)
        self.x = self.gradient

    def seen(self, tensor: Tensor) -> Tensor:
        """What the estimator found, of −f where f is to be maximized."""
        return self.laid(-tensor if self.maximize else tensor)

    def laid(self, tensor: Tensor) -> Tensor:
        """An alias of a tensor, or of a copy in the parameter's layout."""
        return alias(self.like_parameter(tensor), self.plan.is_matrix)

    def memory(self, segment: Segment) -> list[Tensor]:
        views = []
        for name in segment.buffers:
            buffer = self.state[name]
            if name in self.plan.reshaped:
                views.append(buffer)
                continue
            laid = self.like_parameter(buffer)
            if laid is not buffer:
                self.state[name] = laid
            views.append(alias(laid, self.plan.is_matrix))
        return views

    def u(self) -> Tensor:
        """What flows out of the last segment, in the gradient's dtype and the parameter's layout."""
        if not self.dense:
            return self.x.to(self.gradient.dtype, copy=True).view(self.parameter.shape)
        u = torch.empty_like(self.parameter, dtype=self.gradient.dtype, requires_grad=False)
        alias(u).copy_(self.x)
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
            return tensor.resolve_neg().contiguous()
        return torch.empty_like(parameter, dtype=tensor.dtype, requires_grad=False).copy_(tensor)


class Engine:
    """Runs the pipelines of an optimizer's groups on their parameters.

    Attributes:
        graphs: how many graphs were compiled.
        fallbacks: one reason for each graph that could not be compiled, and so runs eagerly.
    """

    def __init__(self, pipeline: Pipeline, mode: str, state_dtype: torch.dtype | None = None) -> None:
        self.pipeline = pipeline
        self.mode = mode
        self.state_dtype = state_dtype
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
        route = group.get("route", "")
        pipeline = self.pipeline.branch(route)
        keys = pipeline.hyperparameters
        missing = [key for key in (*keys, "exclude") if key not in group]
        if missing:
            raise EdslError(f"param group {index} has lost its {', '.join(missing)}")
        values = {key: group[key] if isinstance(group[key], (float, int)) else _number(key, group[key]) for key in keys}
        if plan is None:
            plan = self._plans[index, spared] = Plan(pipeline, spared, values, route, self.state_dtype)
        elif plan.route != route:
            raise EdslError(
                f"param group {index}: its route is fixed, got {shown(route)} instead of {shown(plan.route)}"
            )
        elif plan.values != values:
            plan.change(values)
        return plan

    def oracle(self, groups: list[dict[str, Any]], states: Any, closure: Callable[[], Any] | None) -> Oracle:
        """The model as the estimator sees it at the next step."""
        slots = list(self._slots(groups, states))
        calls = groups[0].get("calls", 0) if groups else 0
        return Oracle(slots, max((slot.k for slot in slots), default=1), calls, closure, self.estimator(groups))

    def estimator(self, groups: list[dict[str, Any]]) -> Estimator:
        """The estimator with the groups' values, in which they must agree."""
        found = [self.plan(index, group, spared=False).pipeline.estimator for index, group in enumerate(groups)]
        if any(other != found[0] for other in found[1:]):
            raise EdslError(f"all param groups must agree on the estimator, got {' and '.join(map(str, set(found)))}")
        return found[0] if found else self.pipeline.estimator

    def _slots(self, groups: list[dict[str, Any]], states: Any) -> Iterator[Slot]:
        taken: set[str] = set()
        reads_grad = not self.pipeline.estimator.needs_closure
        for index, group in enumerate(groups):
            names = group.get("param_names")
            for position, parameter in enumerate(group["params"]):
                name = names[position] if names else f"{index}.{position}"
                name = f"{name}@{index}" if name in taken else name  # of two models in one optimizer
                taken.add(name)
                if parameter.requires_grad or reads_grad:  # its closure may unfreeze one yet
                    memory = partial(self._estimator_memory, groups, states, index, parameter)
                    state = states.get(parameter, {})
                    k = int(state["step"]) + 1 if "step" in state else 1
                    climbs = group.get("maximize", False)
                    yield Slot(parameter, name, index, k, "step" in state, memory, climbs)

    def _estimator_memory(self, groups: list[dict[str, Any]], states: Any, index: int, parameter: Tensor) -> Any:
        plan = self.plan(index, groups[index], spared=False)
        if "step" not in states[parameter]:
            states[parameter].update(plan.fresh_state(parameter))
        memory = plan.estimator_memory(states[parameter])
        if any(buffer.shape != parameter.shape for buffer in memory):
            raise EdslError("a parameter changed its shape: build a new optimizer after changing shapes")
        return memory

    def step(self, groups: list[dict[str, Any]], states: Any, slots: list[Slot]) -> list[Item]:
        """One step of every parameter with a gradient; the items hold u if nothing updates θ."""
        items = list(self._items(groups, states, slots))
        self._flow(items, self._run)
        for item in items:
            if not is_foreign(item.plan.pipeline.update):
                item.write_back()
            item.state["step"] += 1
        return items

    def _run(self, segment: Segment, item: Item, given: Given, buffers: list[Tensor]) -> Any:
        if segment.refreshes(item.k):
            segment.refresh(item.k, item.theta, item.x, given, *buffers)
        return self._function(segment, item)(item.theta, item.x, given, *buffers)

    def watch(self, groups: list[dict[str, Any]], states: Any, slots: list[Slot]) -> list[Watched]:
        """What the next step will compute on the way, without taking it."""
        seen: list[Watched] = []

        def look(segment: Segment, item: Item, given: Given, buffers: list[Tensor]) -> Tensor:
            u, _, at = segment.evaluate(WatchingAt, item.theta, item.x, given, *buffers)
            assert isinstance(at, WatchingAt)  # made by evaluate
            if segment.updates:
                seen.append(Watched(item.parameter, item.k, item.plan.pipeline.update, at.roots, at.norms))
            return u

        self._flow(list(self._items(groups, states, slots)), look)
        return seen

    def _flow(self, items: list[Item], call: Callable[[Segment, Item, Given, list[Tensor]], Any]) -> None:
        """Take all items that have elements through one segment after the other."""
        items = [item for item in items if item.theta.numel() > 0]
        lives: dict[tuple[int, int, torch.device], Tensor] = {}
        for number in range(max((len(item.plan.segments) for item in items), default=0)):
            passing = [item for item in items if number < len(item.plan.segments)]
            totals = self._total_norms(passing, number)
            for item in passing:
                segment = item.plan.segments[number]
                total = totals.get(self._pool(item, segment))
                device = item.theta.device
                live = lives.get((id(item.plan), item.k, device))
                if live is None:
                    live = lives[id(item.plan), item.k, device] = item.plan.live(item.k, device)
                given = Given(
                    gradient=item.gradient if number > 0 else None,
                    live=live,
                    total_norm=None if total is None else total.to(device),
                    normals=tuple(_normal(stage, label, item) for stage, label in segment.noisy),
                    hessian=item.hessian,
                    difference=item.difference,
                )
                item.x = call(segment, item, given, item.memory(segment))

    def _total_norms(self, items: list[Item], number: int) -> dict[str, Tensor]:
        """The norms that a segment needs: over all parameters, or behind a route over its own."""
        pools: dict[str, list[Tensor]] = {}
        for item in items:
            segment = item.plan.segments[number]
            if segment.needs_total_norm:
                pools.setdefault(self._pool(item, segment), []).append(item.x)
        return {pool: total_norm(tensors) for pool, tensors in pools.items()}

    def _pool(self, item: Item, segment: Segment) -> str:
        return "" if segment.begin < self.pipeline.update_index else item.plan.route

    def _items(self, groups: list[dict[str, Any]], states: Any, slots: list[Slot]) -> Iterator[Item]:
        spared = [frozenset(group.get("exclude", ())) for group in groups]
        plans: dict[tuple[int, bool], Plan] = {}
        for slot in slots:
            if slot.gradient is None:
                continue
            parameter, name, index = slot.parameter, slot.name, slot.group
            if slot.gradient.is_sparse:
                raise EdslError(f"parameter {name} has a sparse gradient; edsl needs dense ones (sparse=False)")
            choice = (index, name.partition("@")[0] in spared[index])
            plan = plans.get(choice)
            if plan is None:
                plan = plans[choice] = self.plan(index, groups[index], choice[1])
            state = states[parameter]
            check_parameter(parameter, name)
            check_matrix(plan.pipeline, parameter, name)
            if "step" not in state:
                state.update(plan.fresh_state(parameter))
            shapes = plan.shapes(parameter) if plan.reshaped else {}
            for buffer in plan.buffers:
                if state[buffer].shape != shapes.get(buffer, parameter.shape):
                    raise EdslError(
                        f"parameter {name} has shape {tuple(parameter.shape)}, its state {buffer} "
                        f"{tuple(state[buffer].shape)}: build a new optimizer after changing shapes"
                    )
            yield Item(slot, plan, state, groups[index].get("maximize", False))

    def _function(self, segment: Segment, item: Item) -> Callable[..., Any]:
        given = (item.hessian is None, item.difference is None)
        dynamic = segment.serves_all_sizes
        form = _form(item.theta) if dynamic else item.theta.shape
        key = (segment.key, item.theta.dtype, item.gradient.dtype, item.theta.device, form, given)
        if key not in self._functions:
            function = segment.function()
            self._functions[key] = self._compiled(function, dynamic) if self.mode == "compiled" else function
        return self._functions[key]

    def _compiled(self, function: Any, dynamic: bool) -> Callable[..., Any]:
        # torch's recompile limit counts per code object: a code object of its own for each function.
        own = FunctionType(
            function.__code__.replace(),
            function.__globals__,
            function.__name__,
            function.__defaults__,
            function.__closure__,
        )
        return torch.compile(own, fullgraph=True, dynamic=dynamic, backend=self._inductor)

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


def check_matrix(pipeline: Pipeline, parameter: Tensor, name: str) -> None:
    """Raises EdslError for a parameter that is no matrix, where a stage needs one."""
    if parameter.dim() < 2:
        stage = next((stage for stage in pipeline.stages if stage.is_matrix), None)
        if stage is not None:
            which = f"parameter {name}" if name else "a parameter"
            raise EdslError(
                f"{stage.name} takes matrices (2 dimensions or more); {which} has shape {tuple(parameter.shape)}: "
                f"write route(matrix={stage.name}, other=adamw)"
            )


def _form(theta: Tensor) -> tuple[bool, ...]:
    """What a matrix function may branch on: the compiler gives equal sizes one symbol."""
    if theta.dim() == 1:
        return ()
    rows, columns = theta.shape
    return (rows > columns, rows == columns, rows == 1, columns == 1)


def _number(key: str, value: Any) -> Any:
    """The number that a group's tensor or numpy scalar holds; raises EdslError where it holds none."""
    try:
        return Number().read(value)
    except ValueError as reason:
        raise EdslError(f"param group: {key} {reason}") from None


def _normal(stage: Any, label: str, item: Item) -> Tensor:
    """Noise that depends on seed, stage, parameter and step alone."""
    generator = generator_for(item.theta.device, stage.seed, label, item.name, item.k)
    dtype = working_dtype(item.theta.dtype)
    drawn = torch.randn(item.parameter.shape, generator=generator, dtype=dtype, device=item.theta.device)
    return item.laid(drawn)  # drawn in logical order: the layout does not matter


def _why(reason: Exception) -> str:
    text = str(reason)
    if "C++ compiler" in text or "InvalidCxxCompiler" in type(reason).__name__:
        return "no C++ compiler was found (install g++, or name one in CXX)"
    line = next((line.strip() for line in text.splitlines() if line.strip()), type(reason).__name__)
    return f"torch.compile failed ({line[:200]})"
