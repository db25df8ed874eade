"""`edsl plan`: what optimizers need for a model's parameters, before anything is allocated."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from edsl.cli.render.page import print_json
from edsl.cli.render.plan import print_plans
from edsl.errors import EdslError
from edsl.language.rules.texts import line_of

if TYPE_CHECKING:
    from edsl.costs.memory import Memory, RouteMemory, StageMemory


def plan(
    specs: list[str],
    params: str,
    dtype: str,
    state_dtype: str | None,
    weights: str | None,
    bandwidth: float | None,
    as_json: bool,
    attach: bool = False,
    offload: bool = False,
) -> None:
    """Print a table of all specs, then each one's stages."""
    from edsl.costs.memory import memory
    from edsl.costs.placement import placement
    from edsl.lab.benchmarks.parameter_sets import parameter_set

    if bandwidth is not None and not (math.isfinite(bandwidth) and bandwidth > 0):
        raise EdslError(f"--bandwidth must be a number of GB/s > 0, got {bandwidth:g}")
    shapes = parameter_set(params)
    made = [(line_of(spec), memory(spec, shapes, dtype, state_dtype, weights)) for spec in specs]
    found = [{"given": given, **_described(one, bandwidth)} for given, one in made]
    if attach or offload:
        for plan, spec, (_, one) in zip(found, specs, made):
            plan["placement"] = {"attach": attach, "offload": offload}
            plan["placement"] |= asdict(placement(one, spec, shapes, attach, offload))
    if as_json:
        print_json({"params": params, "bandwidth": bandwidth, "plans": found})
    else:
        print_plans(params, found)


def _described(found: Memory, bandwidth: float | None) -> dict[str, Any]:
    """A plan in plain values."""
    return {
        "spec": found.spec,
        "dtype": found.dtype,
        "parameters": found.parameters,
        "tensors": found.tensors,
        "parameter_bytes": found.parameter_bytes,
        "gradient_bytes": found.gradient_bytes,
        "state_bytes": found.state,
        "state_per_parameter": _share(found.state, found.parameters),
        "temporary_bytes": found.temporary,
        "temporary_bytes_on_cpu": found.temporary_on_cpu,
        "traffic_bytes": found.traffic,
        "traffic_bytes_of_loops": found.traffic_of_loops,
        "least_seconds": None if bandwidth is None else found.least_seconds(bandwidth),
        "loop_seconds": None if bandwidth is None else found.loop_seconds(bandwidth),
        "temporaries": None if found.temporaries is None else [asdict(one) for one in found.temporaries],
        "routes": [_route(route) for route in found.routes],
    }


def _route(route: RouteMemory) -> dict[str, Any]:
    return {
        "route": route.route,
        "tensors": len(route.names),
        "spared": route.spared,
        "parameters": route.parameters,
        "names": list(route.names),
        "stages": [_stage(stage, route.parameters) for stage in route.stages],
    }


def _stage(stage: StageMemory, parameters: int) -> dict[str, Any]:
    return {
        "stage": stage.stage,
        "kind": stage.kind,
        "bytes": stage.bytes,
        "bytes_per_parameter": _share(stage.bytes, parameters),
        "buffers": None
        if stage.buffers is None
        else [{**asdict(buffer), "bytes_per_parameter": _share(buffer.bytes, parameters)} for buffer in stage.buffers],
    }


def _share(size: int | None, parameters: int) -> float | None:
    return None if size is None or parameters == 0 else size / parameters
