"""What must run beside a pipeline with E, so that a difference can be laid to E."""

from __future__ import annotations

from dataclasses import dataclass

from edsl.pipeline import Pipeline

WITHOUT, TWIN = "without E", "twin"


@dataclass(frozen=True)
class Control:
    """A pipeline to run beside another, and what it shows."""

    name: str
    pipeline: Pipeline
    about: str


def controls_of(pipeline: Pipeline) -> tuple[Control, ...]:
    """The base without E, and E's linear twin; none for a pipeline without E.

    The twin is the same base update with a slower (α < 0) or faster (α > 0) momentum and no E:
    see `edsl.theory.twin`.

    Example:
        >>> import edsl
        >>> from edsl.lab.controls import controls_of
        >>> [str(control.pipeline.update) for control in controls_of(edsl.parse("grad | e(alpha=-90) | adam(lr=0.1)"))]
        ['adam(lr=0.1, beta2=0.9, beta3=0.999, weight_decay=0, eps1=1e-08)', \
'adam(lr=0.1, beta2=0.99, beta3=0.999, weight_decay=0, eps1=1e-08)']
    """
    if "e" not in {stage.name for stage in pipeline.stages}:
        return ()
    base = _without_e(pipeline)
    controls = [Control(WITHOUT, base, "the same optimizer without E")]
    if (twin := _twin(pipeline, base)) is not None:
        controls.append(twin)
    return tuple(controls)


def twin_of(pipeline: Pipeline) -> Control | None:
    """The linear twin alone, or None where there is none."""
    return next((control for control in controls_of(pipeline) if control.name == TWIN), None)


def _without_e(pipeline: Pipeline) -> Pipeline:
    estimator = pipeline.estimator
    if getattr(estimator, "gives_difference", False):  # a difference that only E reads
        estimator = estimator.replace({"common": False})
    return Pipeline((estimator, *(stage for stage in pipeline.stages[1:] if stage.name != "e")))


def _twin(pipeline: Pipeline, base: Pipeline) -> Control | None:
    from edsl.theory.twin import linear_twin

    twin = linear_twin(pipeline, base)
    return None if twin.pipeline is None else Control(TWIN, twin.pipeline, twin.about)
