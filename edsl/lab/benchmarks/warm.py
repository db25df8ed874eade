"""Compile a pipeline's steps before they are needed, into the caches on disk."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor

from edsl.costs.memory import routes
from edsl.errors import EdslError, brief
from edsl.groups.exclusion import excluded_names
from edsl.kernels.code_cache import UnusableCache, cache_folder
from edsl.kernels.toolchain import LIBRARY
from edsl.lab.closure import closure_for
from edsl.lab.trials.device import usable_device
from edsl.language.pipeline import Pipeline
from edsl.language.schedules.group import ANY_TOTAL
from edsl.language.spec import parse
from edsl.numerics.dtypes import read_dtype
from edsl.optim.compile import compile
from edsl.optim.optimizer import PipelineOptimizer

MOST = 1 << 24  # elements of a tensor that stands for others of its kind, where there is a smaller one


@dataclass(frozen=True)
class Warmed:
    """What was made ready for one pipeline.

    Attributes:
        tensors: how many of the parameters were stepped.
        graphs: how many compiled steps they need, natively or by torch.
        compiled: how many of these no cache had.
        fallbacks: why graphs could not be compiled.
    """

    spec: str
    tensors: int
    graphs: int
    compiled: int
    seconds: float
    fallbacks: tuple[str, ...]


def warm(spec: str, shapes: Mapping[str, Sequence[int]], dtype: str = "float32", device: str = "auto") -> Warmed:
    """Take two steps of zeros on a few tensors of each kind, so that all they need is compiled and cached.

    Compiled code depends on dtype and device, not on shapes. Two steps, since some estimators look at the
    Hessian at the first alone.

    Raises:
        EdslError: for a bad spec, dtype or device, or a parameter that the pipeline can't take.

    Example:
        >>> from edsl.lab.benchmarks.warm import warm
        >>> warm("torch.AdamW", {"weight": (3, 2)}).graphs
        0
    """
    pipeline = parse(spec)
    kind, place = read_dtype(dtype, "dtype") or torch.float32, usable_device(device)
    chosen = list(_chosen(pipeline, shapes))
    if pipeline.update.moves_weights and len(pipeline.stages) == 2:
        return Warmed(pipeline.line, 0, 0, 0, 0.0, ())  # another package's own, which is not compiled here
    groups = [
        {"params": [(name, _zeros(shapes[name], kind, place)) for name in names], "route": route}
        for route, names in chosen
    ]
    tensors = [tensor for group in groups for _, tensor in group["params"]]
    known, began = _compiled(), time.perf_counter()
    given = groups if "" not in pipeline.branches else groups[0]["params"]
    optimizer = compile(pipeline, given, total_steps=ANY_TOTAL)
    assert isinstance(optimizer, PipelineOptimizer)  # another package's alone has gone
    for _ in range(2 * pipeline.estimator.calls):
        _step(optimizer, tensors)
    seconds = time.perf_counter() - began
    return Warmed(
        spec=pipeline.line,
        tensors=len(tensors),
        graphs=optimizer.compiled_graphs,
        compiled=min(_compiled() - known, optimizer.compiled_graphs),
        seconds=seconds,
        fallbacks=tuple(optimizer.fallbacks),
    )


def _step(optimizer: PipelineOptimizer, tensors: list[Tensor]) -> None:
    """A step on gradients of zero: those of Σ θ² at θ = 0."""
    if not optimizer.pipeline.estimator.needs_closure:
        for tensor in tensors:
            tensor.grad = torch.zeros_like(tensor)
        optimizer.step()
        return
    zero = torch.zeros((), device=tensors[0].device)
    optimizer.step(
        closure_for(optimizer.pipeline, optimizer, lambda: sum((tensor.square().sum() for tensor in tensors), zero))
    )


def _chosen(pipeline: Pipeline, shapes: Mapping[str, Sequence[int]]) -> Iterator[tuple[str, list[str]]]:
    """Of each route the names of tensors that stand for all others.

    It is the first that is not too large, with and without weight decay and layerwise scaling.
    """
    spared = frozenset(excluded_names(None, tuple(shapes)))
    for route, names in routes(pipeline, shapes).items():
        of_kind: dict[Any, list[str]] = {}
        for name in names:
            of_kind.setdefault((prod(shapes[name]) == 1, name in spared), []).append(name)
        chosen = [_first(alike, shapes) for alike in of_kind.values()]
        if chosen or "" in pipeline.branches:
            yield route, chosen


def _first(names: list[str], shapes: Mapping[str, Sequence[int]]) -> str:
    """The first that is not too large, else the smallest."""
    sizes = {name: prod(shapes[name]) for name in names}
    return next((name for name in names if sizes[name] <= MOST), min(names, key=lambda name: sizes[name]))


def _zeros(shape: Sequence[int], dtype: torch.dtype, device: str) -> Tensor:
    try:
        return torch.zeros(tuple(shape), dtype=dtype, device=device, requires_grad=True)
    except RuntimeError as reason:
        said = brief(reason, 100)
        raise EdslError(f"no memory for a tensor of shape {tuple(shape)} on {device}: {said}") from None


def _compiled() -> int:
    """How many steps no cache had so far: native ones in this machine's folder, and torch's misses."""
    from torch._dynamo.utils import counters

    missed = sum(counters["inductor"][f"fxgraph_cache_{how}"] for how in ("miss", "bypass"))
    try:
        return missed + sum(1 for _ in cache_folder().glob(f"*/{LIBRARY}"))
    except UnusableCache:
        return missed
