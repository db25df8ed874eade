"""What must run beside a pipeline with E, so that a difference can be laid to E."""

from __future__ import annotations

from dataclasses import dataclass

from edsl.language.pipeline import Chain, Pipeline
from edsl.language.stage import Adaptor, Stage

WITHOUT, TWIN = "without E", "twin"


@dataclass(frozen=True)
class Control:
    """A pipeline to run beside another, and what it shows."""

    name: str
    pipeline: Pipeline
    about: str


def explores(pipeline: Pipeline) -> bool:
    """Whether a pipeline has an E, on any of its routes."""
    return any(map(_explores, pipeline.all_stages))


def controls_of(pipeline: Pipeline) -> tuple[Control, ...]:
    """The base without E, and E's linear twin; none for a pipeline without E.

    The twin is the same base update with a slower (α < 0) or faster (α > 0) momentum and no E:
    see `edsl.theory.statements.twin`.

    Example:
        >>> import edsl
        >>> from edsl.lab.races.controls import controls_of
        >>> [str(control.pipeline.update) for control in controls_of(edsl.parse("grad | e(alpha=-90) | adam(lr=0.1)"))]
        ['adam(lr=0.1, beta2=0.9, beta3=0.999, weight_decay=0, eps1=1e-08)', \
'adam(lr=0.1, beta2=0.99, beta3=0.999, weight_decay=0, eps1=1e-08)']
    """
    if not explores(pipeline):
        return ()
    base = _without_e(pipeline)
    twin = _twin(pipeline, base)
    without = Control(WITHOUT, base, "the same optimizer without E")
    return (without, twin) if isinstance(twin, Control) else (without,)


def twin_of(pipeline: Pipeline) -> Control | None:
    """The linear twin alone, or None where there is none."""
    return next((control for control in controls_of(pipeline) if control.name == TWIN), None)


def why_no_twin(pipeline: Pipeline) -> str:
    """Why a pipeline with E has no linear twin, as a clause; empty where it has one."""
    found = _twin(pipeline, _without_e(pipeline)) if explores(pipeline) else "it has no E"
    return found if isinstance(found, str) else ""


def _explores(stage: Stage) -> bool:
    return isinstance(stage, Adaptor) and stage.explores


def _without_e(pipeline: Pipeline) -> Pipeline:
    from edsl.updates.route import Route

    update = pipeline.update
    base = update
    if isinstance(update, Route):
        routes = {name: tuple(part for part in chain.stages if not _explores(part)) for name, chain in update.branches}
        base = Route(tuple((name, Chain(stages)) for name, stages in routes.items()))
    stages = (base if stage is update else stage for stage in pipeline.stages[1:] if not _explores(stage))
    return Pipeline((pipeline.estimator.without_difference(), *stages))  # which E alone reads


def _twin(pipeline: Pipeline, base: Pipeline) -> Control | str:
    """The twin, or why there is none."""
    from edsl.theory.statements.twin import linear_twin

    found = linear_twin(pipeline, base)
    return found.about if found.pipeline is None else Control(TWIN, found.pipeline, found.about)
