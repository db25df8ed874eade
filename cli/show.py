"""`edsl show`: what a spec means."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from edsl.cli import render
from edsl.cost import ELEMENT, buffers, cost
from edsl.pipeline import Pipeline
from edsl.spec import parse
from edsl.stage import Stage
from edsl.theory.notation import recurrences


def show(spec: str, as_json: bool) -> None:
    """Print a spec's canonical text, stages, cost and recurrences."""
    pipeline = parse(spec)
    description = describe(pipeline)
    if as_json:
        render.json_out(description)
    else:
        render.description(description)


def describe(pipeline: Pipeline) -> dict[str, Any]:
    """A pipeline in plain values."""
    written = recurrences(pipeline)
    total = cost(pipeline)
    return {
        "spec": str(pipeline),
        "fingerprint": pipeline.fingerprint,
        "stages": [
            {
                "stage": label,
                "kind": stage.kind,
                "arguments": stage.arguments(),
                "letters": dict(part.letters),
                "buffers": _buffers(stage),
                "bytes_per_parameter": None if _buffers(stage) is None else ELEMENT * len(_buffers(stage) or ()),
                "recurrence": list(part.lines),
            }
            for stage, label, part in zip(pipeline.stages, pipeline.labels, written)
        ],
        "cost": None if total is None else asdict(total),
    }


def _buffers(stage: Stage) -> list[str] | None:
    from edsl.adapters.foreign import Foreign

    return None if isinstance(stage, Foreign) else list(buffers(stage))
