"""The entrants of an ablation: a pipeline, and what is left of it without each of its parts."""

from __future__ import annotations

from edsl.errors import EdslError
from edsl.lab.races.entrant import Entrant
from edsl.language.pipeline import Pipeline
from edsl.language.rules.texts import has_rules, line_of
from edsl.language.spec import parse
from edsl.language.stage import Adaptor, Wrapper

# Table 7 of Zhao et al. 2025: its name, the argument that switches the part off, what is switched off
SWITCHES = (
    ("−a_m", "m_reads", "g", "the first moment reads the raw gradient, not E's"),
    ("−a_v", "v_reads", "g", "the second moment reads the raw gradient, not E's"),
    ("−bc", "bias_correction", False, "no bias correction"),
    ("−lrr", "layerwise", False, "no layerwise factor"),
)


def ablation(spec: str) -> tuple[Entrant, ...]:
    """The whole pipeline first; then without each adaptor, wrapper and switch of Table 7 that it has.

    Raises:
        EdslError: for a bad spec, or a pipeline of one part.
    """
    pipeline = parse(spec)
    whole = line_of(spec) if has_rules(spec) else spec
    entrants = {str(pipeline): Entrant(whole, str(pipeline))}
    reads = any(isinstance(stage, Adaptor) for stage in pipeline.stages)
    for name, argument, value, about in SWITCHES:
        if argument in pipeline.keys and (reads or not name.startswith("−a")):
            less = str(pipeline.override(**{argument: value}))
            entrants.setdefault(less, Entrant(f"{whole} {name}", less, "", about))
    for index, stage in enumerate(pipeline.stages):
        if isinstance(stage, (Adaptor, Wrapper)):
            label = pipeline.labels[index]
            less = str(_without(pipeline, index))
            entrants.setdefault(less, Entrant(f"{whole} −{label}", less, "", f"without {stage}"))
    if len(entrants) == 1:
        raise EdslError(f"{whole} has nothing to ablate: no adaptor, wrapper or switch")
    return tuple(entrants.values())


def _without(pipeline: Pipeline, index: int) -> Pipeline:
    _, *stages = pipeline.stages
    return Pipeline((pipeline.estimator.without_difference(), *stages[: index - 1], *stages[index:]))
