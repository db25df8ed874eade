"""`edsl landscape`: walks over a function of one or two numbers, counted and drawn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edsl.cli.render.landscape import print_sweeps, print_tours
from edsl.cli.render.page import print_json, print_note
from edsl.errors import EdslError

MOST_SPECS = 12  # with their controls, in one picture
MOST_POINTS = 20_000_000  # recorded


def landscape(
    name: str,
    specs: list[str],
    starts: int | None,
    steps: int,
    seed: int | None,
    controls: bool,
    as_json: bool,
    out: Path,
) -> None:
    """Walk, print the table or JSON, and draw."""
    import torch

    from edsl.lab.landscapes.landscapes import landscape as find
    from edsl.lab.landscapes.pictures import save_line, save_plane
    from edsl.lab.landscapes.walks import RATES, sweep, tour, walk
    from edsl.plotting import check_picture, pyplot

    place = find(name)
    flat = place.dimension == 1
    if flat:
        for option, value in (("--starts", starts), ("--seed", seed)):
            if value is not None:
                raise EdslError(f"{name} has one start and many learning rates: drop {option}")
    count = len(RATES) if flat else 20 if starts is None else starts
    seed = 0 if seed is None else seed
    for what, value, least in (("--starts", count, 1), ("--steps", steps, 1), ("--seed", seed, 0)):
        if value < least:
            raise EdslError(f"{what} must be a whole number ≥ {least}, got {value}")
    if count * steps > MOST_POINTS:
        raise EdslError(f"--starts times --steps must be at most {MOST_POINTS:,}, got {count * steps:,}")
    check_picture(out)
    pyplot()
    chosen = _chosen(specs, controls)
    torch.set_num_threads(1)
    begins = place.starts(count, seed)
    walked = []
    for number, (label, pipeline) in enumerate(chosen, start=1):
        print_note(f"walk {number}/{len(chosen)}: {label}")
        walked.append(walk(place, pipeline, begins, steps, RATES if flat else None))
    labels = [label for label, _ in chosen]
    if flat:
        sweeps = [sweep(place, label, one) for label, one in zip(labels, walked)]
        save_line(out, place, walked, sweeps)
        found: list[Any] = sweeps
    else:
        tours = [tour(place, label, one) for label, one in zip(labels, walked)]
        save_plane(out, place, walked, tours)
        found = tours
    configuration = {"landscape": name, "steps": steps, "starts": count if not flat else 1, "seed": seed}
    if as_json:
        print_json({**configuration, "out": str(out), "rows": [one.record() for one in found]})
    elif flat:
        print_sweeps(configuration, place.minima.tolist(), found)
    else:
        print_tours(configuration, found)
    print_note(f"drawn: {out}")


def _chosen(specs: list[str], controls: bool) -> list[tuple[str, Any]]:
    """A label and a pipeline for each spec and its controls, none twice."""
    from edsl.lab.races.controls import controls_of
    from edsl.language.rules.texts import line_of
    from edsl.language.spec import parse

    chosen: dict[str, tuple[str, Any]] = {}
    for spec in specs:
        pipeline = parse(spec)
        chosen.setdefault(str(pipeline), (line_of(spec), pipeline))
    if controls:
        for _, pipeline in list(chosen.values()):
            for control in controls_of(pipeline):
                label = _said(control.name, control.pipeline)
                chosen.setdefault(str(control.pipeline), (label, control.pipeline))
    if len(chosen) > MOST_SPECS:
        raise EdslError(f"at most {MOST_SPECS} optimizers with their controls, got {len(chosen)}; try --no-controls")
    return list(chosen.values())


def _short(value: Any) -> str:
    return f"{value:.6g}" if type(value) is float else repr(value)


def _said(name: str, pipeline: Any) -> str:
    """Such as "twin: adam(lr=0.01, beta2=0.99)": the update with what differs from its defaults."""
    from dataclasses import fields

    update = pipeline.update
    stages = []
    for stage in pipeline.stages[1:] if pipeline.estimator.name == "grad" else pipeline.stages:
        if stage is not update:
            stages.append(str(stage))
            continue
        try:
            own = {field.name: field.default for field in fields(stage)}
            said = [f"{k}={_short(v)}" for k, v in stage.arguments().items() if k == "lr" or own.get(k) != v]
            stages.append(f"{stage.name}({', '.join(said)})")
        except (TypeError, AttributeError):
            stages.append(str(stage))
    return f"{name}: {' | '.join(stages)}"
