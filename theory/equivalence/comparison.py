"""Whether two pipelines take the same steps; where they don't, whether their linear parts do."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from edsl.language.domain import plain
from edsl.language.pipeline import Pipeline
from edsl.theory.equivalence.agreement import RUN_TOLERANCE, agree, first_parting, is_linear, open_walk, run_difference
from edsl.theory.equivalence.mapping import find_map
from edsl.theory.equivalence.trajectory import IDEALS, LINEAR, Reading, walked
from edsl.theory.statements.identities import relations_between
from edsl.theory.statements.relations import Relation
from edsl.theory.systems.filter import update_filter
from edsl.theory.systems.linearise import NotLinear, linearise

EQUAL, LINEAR_PART, DIFFERENT = "equal", "linear part", "different"


class Undecided(NotLinear):
    """Two pipelines without linear models, that were shown neither equal nor different."""


@dataclass(frozen=True)
class Comparison:
    """Whether two pipelines take the same steps.

    Attributes:
        verdict: "equal", "linear part" or "different".
        run: of "equal": the largest difference |a − b| / max(1, |a|) in a run of both in float64 on a
            quadratic, from a start that is not zero; None where the two are one, or where no run without
            torch is possible (updates of matrices, other packages').
    """

    first: Pipeline
    second: Pipeline
    verdict: str
    run: float | None = None

    @property
    def equal(self) -> bool:
        """The same steps, for every sequence of gradients and every start."""
        return self.verdict == EQUAL

    @cached_property
    def left_out(self) -> tuple[str, ...]:
        """Of "linear part": what was frozen, averaged, dropped or taken at a limit, and they differ in."""
        return _left_out(branches(self.first, self.second)) if self.verdict == LINEAR_PART else ()

    @cached_property
    def relations(self) -> tuple[Relation, ...]:
        """Known relations by which they agree, with their sources."""
        return () if self.verdict == DIFFERENT else relations_between(self.first, self.second)

    @cached_property
    def maps(self) -> tuple[dict[str, float], ...]:
        """Values of the second one's hyper-parameters that make its steps the first's, if some were found.

        They were confirmed as `compare` confirms "equal". None found does not prove that there are none.
        """
        found = None if self.equal else find_map(self.first, self.second)
        return () if found is None else (found,)

    @property
    def first_difference(self) -> tuple[int, float, float] | None:
        """(n, weight of the gradient n steps back in the first, in the second): where linear parts first differ."""
        return self._apart[0]

    @property
    def largest_difference(self) -> tuple[float, float, float] | None:
        """(frequency in cycles a step, gain of the first, of the second): where linear parts differ most."""
        return self._apart[1]

    @cached_property
    def first_parting(self) -> int | None:
        """Of "different" without linear models: the first step at which the same random gradients part them."""
        pairs = branches(self.first, self.second) if self.verdict == DIFFERENT else []
        found = [first_parting(*pair) for pair in pairs if all(map(_reason, pair))]
        return min((step for step in found if step is not None), default=None)

    @cached_property
    def _apart(self) -> tuple[Any, Any]:
        pairs = branches(self.first, self.second) if self.verdict == DIFFERENT else []
        linear = [pair for pair in pairs if not any(map(_reason, pair)) and not agree(*pair, LINEAR)]
        return _where(*linear[0]) if linear else (None, None)


def compare(first: Pipeline, second: Pipeline) -> Comparison:
    """Whether two pipelines take the same steps, with their hyper-parameters held constant.

    "equal": their recurrences agree on random gradients, as small and as large as any of their numbers,
    in extended precision and up to the rounding of the numbers themselves; and so do they in a run on a
    quadratic in float64. "linear part": they agree once what `left_out` names is left out of both.
    "different": their linear parts differ; or neither has one, and runs part.

    Raises:
        NotLinear: where they are not equal, and one has no linear model; names the stage. `Undecided`
            where neither has one, and nothing parts them here.

    Example:
        >>> import edsl
        >>> from edsl.theory.equivalence.comparison import compare
        >>> heavy_ball = edsl.parse("grad | sgd(lr=0.1, momentum=0.9)")
        >>> compare(heavy_ball, edsl.parse("grad | e(alpha=-9, beta1=0.9) | sgd(lr=1)")).verdict
        'equal'
        >>> compare(edsl.parse("adam"), edsl.parse("adamw")).left_out
        ('weight decay: weight_decay=0 in the first, weight_decay=0.01 in the second',)
    """
    if first == second:
        return Comparison(first, second, EQUAL)
    verdicts: list[str] = []
    undecided: list[NotLinear] = []
    pairs = branches(first, second)
    for pair in pairs:
        try:
            verdicts.append(_verdict(*pair))
        except NotLinear as reason:
            undecided.append(reason)
    if DIFFERENT in verdicts:
        return Comparison(first, second, DIFFERENT)
    if undecided:
        raise undecided[0]
    if LINEAR_PART in verdicts:
        return Comparison(first, second, LINEAR_PART)
    runs = [run_difference(*pair) for pair in pairs]
    return Comparison(first, second, EQUAL, None if None in runs else max(run for run in runs if run is not None))


def _verdict(first: Pipeline, second: Pipeline) -> str:
    """The verdict on two pipelines without routes; raises NotLinear as `compare` does."""
    if agree(first, second):
        run = run_difference(first, second)
        if run is not None and not run <= RUN_TOLERANCE:
            raise NotLinear("the two are one recurrence, but rounding parts them in a run of float64")
        return EQUAL
    reasons = [_reason(pipeline) for pipeline in (first, second)]
    if not any(reasons):
        return LINEAR_PART if agree(first, second, LINEAR) else DIFFERENT
    if all(reasons) and first_parting(first, second) is not None:
        return DIFFERENT
    kind = Undecided if all(reasons) else NotLinear
    raise kind(f"{next(filter(None, reasons))}; edsl verify compares runs")


def branches(first: Pipeline, second: Pipeline) -> list[tuple[Pipeline, Pipeline]]:
    """The pairs to compare: the two, or route by route.

    Raises:
        NotLinear: where the two lead parameters to different routes.
    """
    ones, others = first.branches, second.branches
    if _routes(ones) != _routes(others):
        names = [", ".join(names) or "no routes" for names in (ones, others)]
        raise NotLinear(f"parameters are led apart, to {names[0]} and to {names[1]}: compare the routes one by one")
    return [(ones[name], others[name]) for name in ones]


def _routes(names: Iterable[str]) -> Any:
    """What two routings have in common if they lead alike: kinds in any order, patterns in theirs."""
    from edsl.updates.route import KINDS

    return {name for name in names if name in KINDS}, [name for name in names if name not in KINDS]


@lru_cache(maxsize=256)
def _reason(pipeline: Pipeline) -> str:
    """Why a pipeline has no linear model, or ""."""
    if pipeline.estimator.is_linear and is_linear(pipeline):
        return ""
    try:
        linearise(pipeline)
    except NotLinear as reason:
        return str(reason)
    return f"{pipeline.update.name} has no linear model: its recurrence changes with k"


def _left_out(pairs: Sequence[tuple[Pipeline, Pipeline]]) -> tuple[str, ...]:
    """In words, what must be left out of two pipelines that they agree: no more of it than must be."""
    ideal = set(IDEALS)
    for one in IDEALS:
        if all(agree(*pair, Reading(frozenset(ideal - {one}))) for pair in pairs):
            ideal.remove(one)
    words: dict[str, str] = {}
    for pair in pairs:
        needed = [one for one in IDEALS if one in ideal and not agree(*pair, Reading(frozenset(ideal - {one})))]
        words.update({one: _said(one, *pair) for one in needed if one not in words})
    return tuple(words[one] for one in IDEALS if one in words)


def _said(ideal: str, first: Pipeline, second: Pipeline) -> str:
    """What one of `IDEALS` leaves out of two pipelines."""
    if ideal == "decay":
        return f"weight decay: {_decays(first)} in the first, {_decays(second)} in the second"
    if ideal == "estimator":
        return f"the estimator: {first.estimator} in the first, {second.estimator} in the second"
    if ideal == "noise":
        said = [", ".join(_named(pipeline, "noise")) or "none" for pipeline in (first, second)]
        return f"noise, which is 0 on average: {said[0]} in the first, {said[1]} in the second"
    guards = dict.fromkeys([*_named(first, "guard"), *_named(second, "guard")])
    stages = " and ".join(dict.fromkeys(_having(ideal, first) + _having(ideal, second)))
    return {
        "guard": f"gradients that are not finite, judged by {' and '.join(guards)}",
        "evaluated": "the averaged weights to evaluate with",
        "spared": "parameters spared decay and layerwise scaling (biases, norms)",
        "first": f"the first step of {stages}, taken as any later one",
        "debias": f"debiasing in {stages}, taken at its limit",
        "root": f"√v̂, frozen in {stages}: beta3, eps1 and what v reads don't count",
    }[ideal]


def _named(pipeline: Pipeline, name: str) -> list[str]:
    return [str(stage) for stage in pipeline.stages if stage.name == name]


def _having(ideal: str, pipeline: Pipeline) -> list[str]:
    """The stages that something is idealised of."""
    found = walked(pipeline, open_walk((pipeline,)), LINEAR).idealised
    return [stage.name for stage in pipeline.stages if (ideal, stage.name) in found]


def _decays(pipeline: Pipeline) -> str:
    """The hyper-parameters that spared parameters are spared, with their values."""
    spared = {
        key: value
        for key, value in pipeline.hyperparameters.items()
        if pipeline.keys[key][1] in pipeline.stages[pipeline.keys[key][0]].spared_values()
    }
    return ", ".join(f"{key}={plain(value)}" for key, value in spared.items()) or "none"


def _where(first: Pipeline, second: Pipeline) -> tuple[Any, Any]:
    """Where two linear parts differ: the first weight of a past gradient, and the frequency of the largest ratio."""
    one, two = update_filter(first), update_filter(second)
    weights = one.impulse(200), two.impulse(200)
    apart = np.flatnonzero(~np.isclose(*weights, rtol=1e-9, atol=1e-15))
    place = int(apart[0]) if len(apart) else None
    frequencies = np.linspace(0.0005, 0.5, 500)
    gains = one.bode(frequencies)[0], two.bode(frequencies)[0]
    most = int(np.argmax(abs(np.log(gains[0] + 1e-300) - np.log(gains[1] + 1e-300))))
    return (
        None if place is None else (place, float(weights[0][place]), float(weights[1][place])),
        (float(frequencies[most]), float(gains[0][most]), float(gains[1][most])),
    )
