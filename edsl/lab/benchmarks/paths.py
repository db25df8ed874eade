"""Which paths a pipeline takes on a parameter set here, seen by stepping tensors of the same names, smaller."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

import edsl
from edsl.engine.paths import StepPath
from edsl.errors import EdslError
from edsl.lab.benchmarks.parameter_sets import Shape
from edsl.lab.closure import closure_for
from edsl.language.schedules.group import ANY_TOTAL
from edsl.language.spec import parse

MOST = 48  # of a side: paths depend on the number of dimensions, not on sizes; 48 can be cut in 2, 3, 4, 6, 8, 12 …


def paths_on(spec: str, shapes: Mapping[str, Shape]) -> dict[tuple[StepPath, ...], list[str]]:
    """The names of the parameters that step by each path, on this machine's CPU.

    Raises:
        EdslError: for a spec that can't step these parameters, or is another package's optimizer.

    Example:
        >>> from edsl.lab.benchmarks.paths import paths_on
        >>> {path[0].taken: names for path, names in paths_on("grad | sgd", {"a.weight": (4, 4)}).items()}
        {'C++': ['a.weight']}
    """
    pipeline = parse(spec)
    if pipeline.update.moves_weights:
        raise EdslError(f"{pipeline.line} is another package's optimizer and takes its own paths; leave --params away")
    generator = torch.Generator().manual_seed(0)
    named = [
        (name, torch.nn.Parameter(0.1 * torch.randn([min(size, MOST) for size in shape], generator=generator)))
        for name, shape in shapes.items()
    ]
    optimizer: Any = edsl.compile(pipeline, named, total_steps=ANY_TOTAL)

    def loss() -> torch.Tensor:
        return torch.stack([parameter.square().sum() for _, parameter in named]).sum()

    if pipeline.estimator.needs_closure:
        optimizer.step(closure_for(pipeline, optimizer, loss))
    else:
        loss().backward()
        optimizer.step()
    found: dict[tuple[StepPath, ...], list[str]] = {}
    for name, paths in optimizer.paths().items():
        found.setdefault(paths, []).append(name)
    return found
