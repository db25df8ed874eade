"""A head-to-head: every optimizer on the same task, with the same seeds and the same number of trials."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property, lru_cache, partial
from typing import Any

from edsl.errors import EdslError
from edsl.lab.races.controls import controls_of, explores
from edsl.lab.races.entrant import Entrant, Work
from edsl.lab.races.learning_rate import learning_rates, scaled, values_of
from edsl.lab.races.tuning.rates import best_factor, merged, on_edge, round_of_factors
from edsl.lab.races.tuning.space import Candidate, Dimension, next_candidates, read_space, starts_of
from edsl.lab.races.tuning.space import on_edge as at_ends
from edsl.lab.tasks.catalogue import task as task_named
from edsl.lab.tasks.own import Source
from edsl.lab.tasks.task import Task
from edsl.lab.trials.hopeless import Bar, bar
from edsl.lab.trials.setting import Setting
from edsl.language.registry.plugins import Plugin
from edsl.language.spec import parse

TUNING_SEEDS_FROM = 1_000_000  # seeds that no final run uses
METRICS = {"accuracy": True, "loss": False, "train": False}  # name: whether more is better


@dataclass(frozen=True)
class Tuning:
    """How each entrant's learning rate is found.

    Attributes:
        tuner: "grid" or "tpe", see `edsl.lab.races.tuning.rates`; "" leaves every learning rate as given; "fixed" tries
            `factors` and nothing else; with a space "tpe", "quasi" or "cmaes", see `edsl.lab.races.tuning.space`.
        trials: learning rates, or points of the space, that each entrant may try.
        seeds: trials of each, on seeds of their own.
        space: hyper-parameters that are tuned together, as text; "" for the learning rate alone.
        prune: stop hopeless tuning trials, by `edsl.lab.trials.hopeless`, the same way for all.
    """

    tuner: str = ""
    trials: int = 8
    seeds: int = 2
    factors: tuple[float, ...] = ()
    space: str = ""
    prune: bool = False

    @property
    def dimensions(self) -> tuple[Dimension, ...]:
        return read_space(self.space) if self.space else ()


@dataclass(frozen=True)
class Race:
    """A race that can be run: `edsl.lab.races.build.race` makes one.

    Attributes:
        seeds: final trials of each entrant, on seeds 0, 1, ….
        baseline: the name of the entrant that the others are compared to.
        metric: what decides, and what tuning minimises or maximises on the validation split: "accuracy",
            "loss", or "train" for the final training loss.
        kind: "compare", "sweep", "ablate" or "sharpness": what its report asks.
        plugins: the files that brought stages of its entrants, with their texts.
        source: where a task of one's own comes from; None for one of edsl's.
        looks: numbers of seeds after which it may stop, see `edsl.lab.results.sequential`; the last is the most.
    """

    setting: Setting
    entrants: tuple[Entrant, ...]
    seeds: int
    tuning: Tuning
    metric: str
    baseline: str
    kind: str = "compare"
    plugins: tuple[Plugin, ...] = ()
    source: Source | None = None
    looks: tuple[int, ...] = ()

    @property
    def task(self) -> Task:
        return task_named(self.setting.task) if self.source is None else self.source.task()

    @property
    def higher_is_better(self) -> bool:
        return METRICS[self.metric]

    def configuration(self) -> dict[str, Any]:
        """What must agree for two runs to be of one race; as JSON."""
        return {
            **asdict(self.setting),
            "measures": list(self.setting.measures),
            "levels": list(self.setting.levels),
            "entrants": [asdict(entrant) for entrant in self.entrants],
            "seeds": self.seeds,
            "tuning": {**asdict(self.tuning), "factors": list(self.tuning.factors)},
            "metric": self.metric,
            "baseline": self.baseline,
            "kind": self.kind,
            "plugins": [plugin.record() for plugin in self.plugins],
            "looks": list(self.looks),
            "source": None if self.source is None else self.source.record(),
        }

    @cached_property
    def planned(self) -> int:
        """How many trials there will be at the most."""
        each = self.seeds
        if self.tuning.tuner:
            each = self.tuning.trials * self.tuning.seeds + 2 * self.seeds
        return each * len(self.entrants)

    @cached_property
    def controls(self) -> dict[str, dict[str, str]]:
        """By the name of each entrant with E, the names of its controls by kind, as far as they are in the race.

        They are known by their pipelines: an optimizer that somebody asked for is a control like any other, and
        several may share one.
        """
        named = {entrant.spec: entrant.name for entrant in self.entrants}
        pipelines = {entrant.name: parse(entrant.spec) for entrant in self.entrants}
        return {
            name: {
                control.name: named[str(control.pipeline)]
                for control in controls_of(pipeline)
                if str(control.pipeline) in named
            }
            for name, pipeline in pipelines.items()
            if explores(pipeline)
        }

    def ready(self, trials: Mapping[tuple[str, int], dict[str, Any]]) -> Iterator[Work]:
        """The trials that can run now; a function of what is finished alone.

        All entrants take one turn before the next, so that an unfinished race compares as many trials of each.
        """
        plans = [self._plan(entrant, trials) for entrant in self.entrants]
        for turn in range(max(len(works) for works in plans)):
            for works in plans:
                if turn < len(works) and works[turn].key not in trials:
                    yield works[turn]

    def _plan(self, entrant: Entrant, trials: Mapping[tuple[str, int], dict[str, Any]]) -> list[Work]:
        """What an entrant runs, as far as it is known: what tuning misses, then its final trials."""
        finals = [self._work(entrant, entrant.spec, seed) for seed in range(self.seeds)]
        if not self.tuning.tuner:
            return finals
        tried, unfinished = self.tuned(entrant, trials)
        if not unfinished:
            best = self.spec_at(entrant, best_factor(tried))
            finals += [self._work(entrant, best, seed) for seed in range(self.seeds) if best != entrant.spec]
        return [*unfinished, *finals]

    def tuned(
        self, entrant: Entrant, trials: Mapping[tuple[str, int], dict[str, Any]]
    ) -> tuple[dict[Any, float], list[Work]]:
        """The mean score of each candidate that is wholly tried, and what is missing for the next.

        A candidate is a factor on the learning rates, or a point of the space.

        Rounds are replayed from the first, so the answer does not depend on the order in which trials end.
        """
        scores: dict[Any, float] = {}
        before: list[dict[str, Any]] = []  # the trials of the rounds that have ended
        while candidates := self._next(entrant, scores):
            least = bar(self.metric, before) if self.tuning.prune else None
            works = {candidate: self.tuning_work(entrant, candidate, least) for candidate in candidates}
            missing = [work for tries in works.values() for work in tries if work.key not in trials]
            if missing:
                return scores, missing
            before += [trials[work.key] for tries in works.values() for work in tries]
            scores |= merged(
                [(candidate, [self.score(trials[work.key]) for work in tries]) for candidate, tries in works.items()]
            )
        return scores, []

    def space_of(self, entrant: Entrant) -> tuple[Dimension, ...]:
        """What of the space an entrant has."""
        keys = parse(entrant.spec).keys
        return tuple(dimension for dimension in self.tuning.dimensions if dimension.name in keys)

    def _next(self, entrant: Entrant, scores: dict[Any, float]) -> list[Any]:
        if self.tuning.space:
            space = self.space_of(entrant)
            own = values_of(parse(entrant.spec), [dimension.name for dimension in space])
            waits = self.tuning.prune and not scores  # for what others are measured by
            most = starts_of(self.tuning.trials) if waits else self.tuning.trials
            return next_candidates(self.tuning.tuner, space, own, scores, most, partial(self._accepts, entrant))
        if self.tuning.tuner == "fixed":
            return [] if scores else list(self.tuning.factors)
        place = self.entrants.index(entrant)
        return round_of_factors(self.tuning.tuner, scores, self.tuning.trials, place)

    def _accepts(self, entrant: Entrant, candidate: Candidate) -> bool:
        try:
            return bool(self.spec_at(entrant, candidate))
        except EdslError:
            return False

    def tuning_work(self, entrant: Entrant, candidate: Any, least: Bar | None = None) -> list[Work]:
        """The trials of a candidate, which are stopped where they miss a bar."""
        spec = self.spec_at(entrant, candidate)
        seeds = range(TUNING_SEEDS_FROM, TUNING_SEEDS_FROM + self.tuning.seeds)
        return [replace(self._work(entrant, spec, seed), bar=least) for seed in seeds]

    def spec_at(self, entrant: Entrant, factor: float | Candidate) -> str:
        """An entrant's spec with its learning rates times a factor, or with the values of a point of the space."""
        if isinstance(factor, tuple):
            return _spec_with(entrant.spec, factor)
        return entrant.spec if factor == 1 else str(scaled(parse(entrant.spec), factor))

    def chosen(self, entrant: Entrant, trials: Mapping[tuple[str, int], dict[str, Any]]) -> tuple[str, bool, int]:
        """The spec of an entrant's final trials, whether its learning rate is on the edge of those tried, how many."""
        if not self.tuning.tuner:
            return entrant.spec, False, 0
        scores, missing = self.tuned(entrant, trials)
        if missing or not scores:
            return entrant.spec, False, len(scores)
        best: Any = best_factor(scores)
        edge = bool(at_ends(self.space_of(entrant), best)) if self.tuning.space else on_edge(scores)
        return self.spec_at(entrant, best), edge, len(scores)

    def score(self, trial: dict[str, Any]) -> float:
        """What tuning minimises: infinite for a trial that diverged, failed or was stopped."""
        if trial["status"] != "ok":
            return math.inf
        value = trial[
            {"accuracy": "validation_accuracy", "loss": "validation_loss", "train": "train_loss"}[self.metric]
        ]
        if value is None or not math.isfinite(value):
            return math.inf
        if self.metric != "accuracy":
            return value
        loss = trial["validation_loss"]  # ties of a whole number of examples are common
        return -value + 1e-6 * (min(loss, 1e3) if loss is not None else 1e3)

    def tuned_values(self, spec: str) -> dict[str, Any]:
        """The values in a spec of what the race tunes: its learning rates, or what it has of the space."""
        if self.tuning.space:
            return values_of(parse(spec), [dimension.name for dimension in self.tuning.dimensions])
        return dict(learning_rates(parse(spec))) if self.tuning.tuner else {}

    def _work(self, entrant: Entrant, spec: str, seed: int) -> Work:
        return Work(self.setting, spec, seed, self.plugins, entrant.name, self.source)

    def tells(self, work: Work) -> str:
        """What a trial is, beside its entrant's name: what it tries, and its seed."""
        tried = "".join(f"{name}={shown_value(value)}, " for name, value in self.tuned_values(work.spec).items())
        tuning = work.seed >= TUNING_SEEDS_FROM
        return f"{tried}{'tuning ' if tuning else ''}seed {work.seed - TUNING_SEEDS_FROM * tuning}"


@lru_cache(maxsize=4096)
def _spec_with(spec: str, candidate: Candidate) -> str:
    """A spec with other values; raises EdslError where the language refuses them."""
    return str(parse(spec).override(**dict(candidate)))


def shown_value(value: Any) -> str:
    """A tuned value with three digits."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)
