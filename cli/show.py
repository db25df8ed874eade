"""`edsl show`: what a spec means."""

from __future__ import annotations

from dataclasses import asdict
from math import prod
from typing import Any

from edsl.cli.render.page import print_json
from edsl.cli.render.pipeline import print_pipeline
from edsl.costs.cost import REFERENCE_SHAPE, cost, stage_state
from edsl.lab.races.controls import explores
from edsl.language.pipeline import Pipeline
from edsl.language.registry.lookup import stage_class
from edsl.language.registry.zoo import zoo_names
from edsl.language.rules.shapes import ELEMENT, in_words
from edsl.language.rules.stage import RuleStage
from edsl.language.spec import parse
from edsl.language.stage import Estimator, Stage
from edsl.theory.text.notation import recurrences


def show(spec: str, params: str, as_json: bool) -> None:
    """Print a spec's canonical text, stages, cost and recurrences; with parameters, their paths too."""
    spec = _whole(spec)
    pipeline = parse(spec)
    description = describe(pipeline)
    if params:
        description["paths"] = _paths(spec, params)
    if as_json:
        print_json(description)
    else:
        print_pipeline(description)


def _whole(spec: str) -> str:
    """A spec; of an adaptor or a wrapper of the zoo alone, one in which it stands."""
    name = spec.strip()
    if name not in zoo_names():
        return spec
    return {"adaptor": f"grad | {name} | adamw", "wrapper": f"adamw | {name}"}.get(stage_class(name).kind, name)


def describe(pipeline: Pipeline) -> dict[str, Any]:
    """A pipeline in plain values."""
    routed = "" not in pipeline.branches
    total = {route: cost(branch) for route, branch in pipeline.branches.items()}
    return {
        "spec": str(pipeline),
        "fingerprint": pipeline.fingerprint,
        "stages": [
            {
                "stage": part.label,
                "kind": part.stage.kind,
                "about": part.stage.rule.about if isinstance(part.stage, RuleStage) else "",
                "arguments": part.stage.arguments(),
                "letters": dict(part.letters),
                "shapes": _shapes(part.stage),
                **_state(part.stage),
                "recurrence": list(part.lines),
            }
            for part in recurrences(pipeline)
        ],
        "cost": _record(total[""]) if not routed else {route: _record(found) for route, found in total.items()},
        "estimator": _estimator(pipeline.estimator),
        "notes": [*_schedules(pipeline), *_notes(pipeline)],
    }


def _paths(spec: str, params: str) -> list[dict[str, Any]]:
    """By which path the parameters of a set step on this machine, and why by no faster one."""
    from edsl.lab.benchmarks.parameter_sets import parameter_set
    from edsl.lab.benchmarks.paths import paths_on

    found = paths_on(spec, parameter_set(params)).items()
    return [{"parameters": names, "paths": [asdict(path) for path in paths]} for paths, names in found]


def _record(found: Any) -> dict[str, Any] | None:
    return None if found is None else asdict(found)


def _estimator(estimator: Estimator) -> dict[str, Any]:
    closure = "loss and backward()" if estimator.calls_backward else "loss alone"
    return {
        "forwards": estimator.forwards,
        "backwards": estimator.backwards,
        "closure": closure if estimator.needs_closure else None,
        "calls": estimator.calls,
        "noise": estimator.noise,
    }


def _schedules(pipeline: Pipeline) -> list[str]:
    """The schedules and rules of layers as formulas."""
    if not pipeline.schedules and not pipeline.layerwise:
        return []
    from edsl.theory.text.schedules import as_equations

    return as_equations(pipeline)


def _notes(pipeline: Pipeline) -> list[str]:
    """What a reader of the pipeline should know."""
    notes = []
    if explores(pipeline) and pipeline.estimator.draws_directions and not pipeline.estimator.gives_difference:
        name = pipeline.estimator.name
        notes.append(
            f"each {name} estimate has directions of its own, so the differences that E averages are mostly noise: "
            f"{name}(common=True) | e(buffers=2) takes both gradients along the same ones, at twice the evaluations"
        )
    if any(stage.buffer_shapes(1, 1) for stage in pipeline.all_stages):
        rows, columns = REFERENCE_SHAPE
        notes.append(f"bytes are of a {rows} × {columns} parameter: factors of other shapes count by its size")
    return notes


def _shapes(stage: Stage) -> dict[str, str]:
    """The buffers of a rule that hold less than a number for each element, in words."""
    shapes = stage.variant.shapes if isinstance(stage, RuleStage) else {}
    return {name: in_words(shape) for name, shape in shapes.items() if shape != ELEMENT}


def _state(stage: Stage) -> dict[str, Any]:
    """What a stage keeps for a parameter, and how much; None where another package's optimizer doesn't tell."""
    if not stage.moves_weights:
        names = [name.replace("__", ".") for name in stage.init(0.0)._fields]
        return {"buffers": names, "bytes_per_parameter": stage_state(stage, *REFERENCE_SHAPE)}
    from edsl.costs.memory import foreign_state

    found = foreign_state(stage, {"weight": REFERENCE_SHAPE})
    if found is None:
        return {"buffers": None, "bytes_per_parameter": None}
    size = sum(one.bytes for one in found) / prod(REFERENCE_SHAPE)
    return {"buffers": [one.name for one in found], "bytes_per_parameter": size}
