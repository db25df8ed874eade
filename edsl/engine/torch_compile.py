"""torch.compile, for steps that neither native code nor kernels can take.

What is compiled holds no tensors, and is kept for other optimizers of the process that need the same: Dynamo
and inductor give little of it back, so compiling anew for each optimizer would fill the memory bit by bit.
Dynamo keeps every backend that it was ever given, too. So there is one for all, a function of this module;
for which optimizer it works is known while a compiled function runs.
"""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from types import FunctionType
from typing import Any

import torch

from edsl.errors import EdslWarning, brief
from edsl.kernels.progress import compiling

MOST_KEPT = 256  # functions; those in use stay with their optimizers
MOST_GRAPHS = 4  # of a function that another optimizer may join: torch stops at 8


class Inductor:
    """The graphs that torch has compiled for one optimizer's steps, or for another's like them.

    Attributes:
        fallbacks: one reason for each graph that could not be compiled, and so runs eagerly.
    """

    def __init__(self) -> None:
        self.fallbacks: list[str] = []
        self._graphs: set[_Graph] = set()

    @property
    def graphs(self) -> int:
        """How many compiled graphs its steps have run."""
        return len(self._graphs) - len(self.fallbacks)

    def compiled(self, key: Any, make: Callable[[], Any], dynamic: bool) -> Callable[..., Any]:
        """The function that `make` gives, compiled when it is first called with inputs of a new kind.

        Args:
            key: all that it depends on beside the values and sizes of its inputs.
        """
        function = _function(key, make, dynamic)

        def run(*inputs: Any) -> Any:
            before = _running.set((self, function))
            try:
                return function.call(*inputs)
            except Exception as reason:
                if not type(reason).__module__.startswith("torch._dynamo"):
                    raise
                function.give_up(reason)  # before anything has run
                return function.call(*inputs)
            finally:
                _running.reset(before)

        return run

    def note(self, graph: _Graph) -> None:
        """Count a graph that a step runs for the first time."""
        if graph in self._graphs:
            return
        self._graphs.add(graph)
        if graph.fallback:
            self.fallbacks.append(graph.fallback)
            if len(self.fallbacks) == 1:
                warnings.warn(f"{graph.fallback}: running uncompiled", EdslWarning, stacklevel=2)


@dataclass(eq=False)
class _Graph:
    """A graph that was compiled, or not, for the reason in `fallback`."""

    fallback: str = ""


@dataclass(eq=False)
class _Function:
    """A function under torch.compile, and the graphs that it has so far."""

    call: Callable[..., Any]
    plain: Callable[..., Any]
    graphs: list[_Graph] = field(default_factory=list)

    def give_up(self, reason: Exception) -> None:
        """Run it as it stands from now on, where Dynamo can't follow it."""
        graph = _Graph(_why(reason))
        self.graphs.append(graph)
        self.call = _noted(graph, self.plain)

    @property
    def serves_others(self) -> bool:
        return len(self.graphs) < MOST_GRAPHS and not any(graph.fallback for graph in self.graphs)


_running: ContextVar[tuple[Inductor, _Function]] = ContextVar("running")
_kept: OrderedDict[Any, _Function] = OrderedDict()  # the last used at the end


def _function(key: Any, make: Callable[[], Any], dynamic: bool) -> _Function:
    """The function of this key, of this process or new."""
    key = (key, dynamic, torch.get_num_threads(), torch.get_default_dtype())  # on which Dynamo's guards look, too
    known = _kept.pop(key, None)
    if known is None or not known.serves_others:
        plain = make()
        known = _Function(_under_torch_compile(plain, dynamic), plain)
    _kept[key] = known
    while len(_kept) > MOST_KEPT:
        _kept.popitem(last=False)
    return known


def _under_torch_compile(function: Any, dynamic: bool) -> Callable[..., Any]:
    # torch's recompile limit counts per code object: a code object of its own for each function.
    own = FunctionType(
        function.__code__.replace(),
        function.__globals__,
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )
    return torch.compile(own, fullgraph=True, dynamic=dynamic, backend=_backend)


def _backend(module: torch.fx.GraphModule, inputs: list[Any]) -> Callable[..., Any]:
    """torch's inductor, counted; where it can't compile, the graph as it stands."""
    from torch._dynamo.exc import RestartAnalysis

    asking, function = _running.get()
    graph = _Graph()
    try:
        with compiling(asking.graphs + 1), warnings.catch_warnings():  # the compiler's warnings are about itself
            warnings.simplefilter("ignore")
            compiled = _by_inductor(module, inputs)
    except RestartAnalysis:  # not a failure: Dynamo traces once more
        raise
    except Exception as reason:  # any failure of the compiler leaves the eager graph, which is right
        graph, compiled = _Graph(_why(reason)), module.forward
    function.graphs.append(graph)
    return _noted(graph, compiled)


def _by_inductor(module: torch.fx.GraphModule, inputs: list[Any]) -> Callable[..., Any]:
    """Compiled, and once more without fusion where that fails: torch 2.13 loses a row's mean that two loops read."""
    from torch._dynamo import lookup_backend
    from torch._inductor import config

    inductor = lookup_backend("inductor")
    try:
        return inductor(module, inputs)
    except Exception as reason:
        if not str(reason).startswith("KeyError"):
            raise
    with config.patch(max_fusion_size=1):
        return inductor(module, inputs)


def _noted(graph: _Graph, call: Callable[..., Any]) -> Callable[..., Any]:
    """The same function, which tells the optimizer that runs it what it runs."""

    def run(*inputs: Any) -> Any:
        _running.get()[0].note(graph)
        return call(*inputs)

    return run


def _why(reason: Exception) -> str:
    text = str(reason)
    if "C++ compiler" in text or "InvalidCxxCompiler" in type(reason).__name__:
        return "no C++ compiler was found (install g++, or name one in CXX)"
    return f"torch.compile failed ({brief(reason, 200)})"
