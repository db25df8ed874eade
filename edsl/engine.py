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
from dataclasses import dataclass
from hashlib import blake2b
from types import FunctionType
from typing import Any

import torch
from torch import Tensor

from edsl.domain import Number
from edsl.errors import EdslError, EdslWarning
from edsl.layout import check_parameter, flat, is_dense, working_dtype
from edsl.pipeline import Pipeline
from edsl.plan import Plan
from edsl.segment import Segment, WatchingAt
from edsl.stage import Stage

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
        """Take all items that have elements through one segment after the other."""
        items = [item for item in items if item.theta.numel() > 0]
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
                for buffer in plan.buffers:
                    if state[buffer].shape != parameter.shape:
                        raise EdslError(
                            f"parameter {name} has shape {tuple(parameter.shape)}, its state {buffer} "
                            f"{tuple(state[buffer].shape)}: build a new optimizer after changing shapes"
                        )
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


def _number(key: str, value: Any) -> Any:
    """The number that a group's tensor or numpy scalar holds; raises EdslError where it holds none."""
    try:
        return Number().read(value)
    except ValueError as reason:
        raise EdslError(f"param group: {key} {reason}") from None


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
