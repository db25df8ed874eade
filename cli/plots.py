"""`edsl map` and `edsl frequency`: pictures of a pipeline's mathematics."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from edsl.cli.gradients import NO_NOISE, Noise
from edsl.cli.numbers import read_axis, read_range
from edsl.cli.render.page import print_note
from edsl.errors import EdslError, nearest
from edsl.language.pipeline import Pipeline
from edsl.language.spec import parse
from edsl.plotting import check_picture
from edsl.theory.text.figure import figure
from edsl.theory.text.schedules import at_step, taken_at

AXES = {"--x": "alpha=-100:100", "--y": "beta1=0:0.999"}
MOST_ALPHA = 10_000  # beyond, stable sharpness falls below the least that a map can tell from 0
POINTS = 200  # along each axis of a map
PLANE_POINTS = {"certified": 50, "delay": 120, "batch": 120, "rate": 80}  # of what takes longer


def draw_map(
    spec: str, x: str | None, y: str | None, curvature: float | None, out: Path, asked: Asked, step: int | None = None
) -> None:
    """Draw what is asked for over two hyper-parameters, E's where none are named."""
    asked.check(curvature)
    check_picture(out)
    if asked.of == "stability":
        stability_map(spec, x, y, curvature, out, step)
        return
    from edsl.theory.design.maps import Plane
    from edsl.theory.stability.plot import Axis, save_plane

    written = parse(spec)
    pipeline = at_step(written, step)
    spans = _axis(x, "--x", pipeline), _axis(y, "--y", pipeline)
    _check_spans(pipeline, spans)
    points = PLANE_POINTS[asked.of]
    axes = tuple(Axis.over(name, low, high, float(pipeline.hyperparameters[name]), points) for name, low, high in spans)
    gradients = asked.noise.gradients(pipeline.estimator.calls)
    plane = Plane(pipeline, (spans[0][0], spans[1][0]), axes[0].values, axes[1].values, gradients)
    values, label, blank = _drawn(plane, asked)
    said = f"; {gradients.said}" if gradients.said else ""
    save_plane(out, pipeline.line + said, (axes[0], axes[1]), values, label, blank)
    for remark in [*taken_at(written, step), *linearise_notes(pipeline)]:
        print_note(remark)
    print_note(f"drawn: {out}")


@dataclass(frozen=True)
class Asked:
    """What a map shows: --of, and the options that it needs."""

    of: str = "stability"
    noise: Noise = NO_NOISE
    condition: float | None = None
    spectrum: str | None = None

    def check(self, curvature: float | None) -> None:
        """Raises EdslError for options that are missing, or that would do nothing."""
        kinds = ("stability", *PLANE_POINTS)
        if self.of not in kinds:
            raise EdslError(f"unknown --of {self.of!r}; {nearest(self.of, kinds, 'choose among')}")
        noisy = self.noise.batch_noise is not None or self.noise.batch is not None
        given = {
            "--condition": (self.condition is not None, ("certified",), ("certified",)),
            "--delay": (self.noise.delay is not None, ("delay",), ("delay", "batch", "rate")),
            "--batch-noise, or --batch and --noise-scale": (noisy, ("batch",), ("batch", "delay", "rate")),
            "--spectrum": (self.spectrum is not None, ("rate",), ("rate",)),
            "--curvature": (curvature is not None, (), ("stability",)),
        }
        for name, (is_given, needed, allowed) in given.items():
            if self.of in needed and not is_given:
                raise EdslError(f"--of {self.of} needs {name}")
            if is_given and self.of not in allowed:
                raise EdslError(f"{name.partition(',')[0]} has no effect with --of {self.of}")


def _drawn(plane: Any, asked: Asked) -> tuple[Any, str, str]:
    """(values, what they are, what is left white)."""
    if asked.of == "certified":
        assert asked.condition is not None  # check has seen to it
        label = f"the certified s = lr · L, condition {figure(asked.condition)}"
        return plane.certified(asked.condition), label, "none certified, or all"
    if asked.of == "rate":
        low, high = read_range(asked.spectrum or "", "--spectrum")
        label = f"1 − worst rate, curvatures {figure(low)} to {figure(high)}"
        return 1 - plane.rate((low, high)), label, "diverges"
    return plane.sharpness(), "the largest stable s = lr · h", "none stable, or any"


def linearise_notes(pipeline: Pipeline) -> tuple[str, ...]:
    """What was idealised."""
    from edsl.theory.systems.linearise import linearise

    return linearise(pipeline, 0).notes


def stability_map(
    spec: str, x: str | None, y: str | None, curvature: float | None, out: Path, step: int | None = None
) -> None:
    """Draw spectral radius and stable sharpness over two hyper-parameters, E's where none are named."""
    from edsl.theory.stability.maps import radius_map, sharpness_map, step_sizes
    from edsl.theory.stability.plot import Axis, save_map
    from edsl.theory.systems.linearise import linearise

    pipeline = _of_one_step(spec, step)
    spans = _axis(x, "--x", pipeline), _axis(y, "--y", pipeline)
    names = (spans[0][0], spans[1][0])
    system = linearise(pipeline)
    _check_spans(pipeline, spans)
    if curvature is not None and not 0 < curvature < math.inf:
        raise EdslError(f"--curvature must be a number above 0, got {curvature:g}")
    lr = float(pipeline.hyperparameters.get("lr", 1.0))
    axes = tuple(Axis.over(name, low, high, float(pipeline.hyperparameters[name]), POINTS) for name, low, high in spans)
    grid = axes[0].values, axes[1].values
    on_map = all(axis.values[0] <= axis.own <= axis.values[-1] for axis in axes)
    h = curvature
    if h is None:  # that of s = 1, at the pipeline's own lr or in the middle of the map
        h = 1 / next((axis.middle for axis in axes if axis.name == "lr" and not (on_map and lr > 0)), lr)
    radius = radius_map(system, names, *grid, h=h)
    stable = step_sizes(system, names, *grid) * sharpness_map(system, names, *grid)
    about = f"curvature h = {figure(h)}" + ("" if "lr" in names else f" (s = {figure(lr * h)})")
    save_map(out, pipeline.line, (axes[0], axes[1]), radius, stable, about)
    for remark in system.notes:
        print_note(remark)
    if not on_map:
        print_note(f"the pipeline's own {' and '.join(f'{a.name}={figure(a.own)}' for a in axes)} lies outside the map")
    print_note(f"drawn: {out}")


def _axis(text: str | None, option: str, pipeline: Pipeline) -> tuple[str, float, float]:
    """An axis as it is given, or the one of E's that is drawn by default."""
    name, low, high = read_axis(text or AXES[option], option)
    has = pipeline.hyperparameters
    if pipeline.update.moves_weights and not has:
        raise EdslError(f"{pipeline.update.name} is another package's optimizer: edsl does not know its recurrence")
    if name not in has and text is None:
        known = ", ".join(key for key in has)
        raise EdslError(f"{pipeline.update.name} stands without e: name the axes by --x and --y, of {known}")
    if name not in has:
        raise EdslError(f"unknown hyper-parameter {name!r}; {nearest(name, has, 'it has')}")
    return name, low, high


def _check_spans(pipeline: Pipeline, spans: tuple[tuple[str, float, float], tuple[str, float, float]]) -> None:
    names = [name for name, _, _ in spans]
    if names[0] == names[1]:
        raise EdslError(f"--x and --y must be two hyper-parameters, got {names[0]} twice")
    for name, low, high in spans:
        _check_ends(pipeline, name, low, high)
    if pipeline.hyperparameters.get("lr") == 0 and "lr" not in names:
        raise EdslError("lr is 0: nothing moves; give an lr above 0")


def _check_ends(pipeline: Pipeline, name: str, low: float, high: float) -> None:
    """Both ends of an axis must be values that the hyper-parameter may take, apart from E's bound on alpha."""
    index, field = pipeline.keys[name]
    stage = pipeline.stages[index]
    domain = next(one.metadata["domain"] for one in fields(stage) if one.name == field)
    if stage.name == "e" and field == "alpha" and max(abs(low), abs(high)) > MOST_ALPHA:
        raise EdslError(f"{name} must lie in [-{MOST_ALPHA:g}, {MOST_ALPHA:g}] on a map, got {low:g}:{high:g}")
    for end in (low, high):
        try:
            domain.read(end)
        except ValueError:
            raise EdslError(f"{name} must lie in {domain}, got {low:g}:{high:g}") from None


def _of_one_step(spec: str, step: int | None) -> Pipeline:
    """The pipeline with the numbers of one step, which are said."""
    written = parse(spec)
    pipeline = at_step(written, step)
    for line in taken_at(written, step):
        print_note(line)
    return pipeline


def frequency(spec: str, out: Path, step: int | None = None) -> None:
    """Draw gain, phase, poles and zeros of the adaptors, and of the whole pipeline per unit of lr."""
    check_picture(out)
    from edsl.theory.stability.plot import save_bode
    from edsl.theory.systems.filter import adaptor_filter, update_filter

    pipeline = _of_one_step(spec, step)
    filters = {"adaptors, g → u": adaptor_filter(pipeline)} if pipeline.update_index > 1 else {}
    try:
        unit = pipeline.override(lr=1.0) if "lr" in pipeline.hyperparameters else pipeline
        filters["whole, g → −Δθ/lr"] = update_filter(unit)
    except EdslError as reason:
        if not filters:
            raise EdslError(f"nothing to draw: {reason}, and no adaptor stands before it") from None
        print_note(f"the adaptors alone: {reason}")
    save_bode(out, pipeline.line, filters)
    print_note(f"drawn: {out}")
