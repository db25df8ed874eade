"""torch.compile, for steps that neither native code nor kernels can take.

Dynamo keeps every backend that it was ever given. So there is one for all optimizers, a function of this
module that holds nothing of theirs; which of them it compiles for is known while a function of theirs runs.
What is compiled hangs on a code object of its own, and goes with it.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextvars import ContextVar
from types import FunctionType
from typing import Any

import torch

from edsl.errors import EdslWarning
from edsl.progress import compiling


class Inductor:
    """What torch's inductor has compiled for one optimizer.

    Attributes:
        graphs: how many there are.
        fallbacks: one reason for each graph that could not be compiled, and so runs eagerly.
    """

    def __init__(self) -> None:
        self.graphs = 0
        self.fallbacks: list[str] = []

    def compile(self, function: Any, dynamic: bool) -> Callable[..., Any]:
        """The function, compiled when it is first called with inputs of a new kind."""
        # torch's recompile limit counts per code object: a code object of its own for each function.
        own = FunctionType(
            function.__code__.replace(),
            function.__globals__,
            function.__name__,
            function.__defaults__,
            function.__closure__,
        )
        compiled = torch.compile(own, fullgraph=True, dynamic=dynamic, backend=_backend)

        def run(*inputs: Any) -> Any:
            before = _running.set(self)
            try:
                return compiled(*inputs)
            finally:
                _running.reset(before)

        return run


_running: ContextVar[Inductor] = ContextVar("running")


def _backend(graph: torch.fx.GraphModule, inputs: list[Any]) -> Callable[..., Any]:
    """torch's inductor, counted; where it can't compile, the graph as it stands."""
    from torch._dynamo import lookup_backend
    from torch._dynamo.exc import RestartAnalysis

    asking = _running.get()
    try:
        with compiling(asking.graphs + 1), warnings.catch_warnings():  # the compiler's warnings are about itself
            warnings.simplefilter("ignore")
            compiled = lookup_backend("inductor")(graph, inputs)
    except RestartAnalysis:  # not a failure: Dynamo traces once more
        raise
    except Exception as reason:  # any failure of the compiler leaves the eager graph, which is right
        asking.fallbacks.append(_why(reason))
        if len(asking.fallbacks) == 1:
            warnings.warn(f"{asking.fallbacks[0]}: running uncompiled", EdslWarning, stacklevel=2)
        return graph.forward
    asking.graphs += 1
    return compiled


def _why(reason: Exception) -> str:
    text = str(reason)
    if "C++ compiler" in text or "InvalidCxxCompiler" in type(reason).__name__:
        return "no C++ compiler was found (install g++, or name one in CXX)"
    line = next((line.strip() for line in text.splitlines() if line.strip()), type(reason).__name__)
    return f"torch.compile failed ({line[:200]})"
