"""A head-to-head: every optimizer on the same task, with the same seeds and the same number of trials."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from edsl.lab.races.controls import controls_of, explores
from edsl.lab.races.entrant import Entrant, Work
from edsl.lab.races.learning_rate import learning_rates, scaled
from edsl.lab.races.tuning import best_factor, merged, on_edge, round_of_factors
from edsl.lab.tasks.catalogue import task as task_named
from edsl.lab.tasks.own import Source
from edsl.lab.tasks.task import Task
from edsl.lab.trials.setting import Setting
from edsl.language.registry.plugins import Plugin
from edsl.language.spec import parse

TUNING_SEEDS_FROM = 1_000_000  # seeds that no final run uses
METRICS = {"accuracy": True, "loss": False, "train": False}  # name: whether more is better


@dataclass(frozen=True)
class Tuning:
    """How each entrant's learning rate is found.

    Attributes:
        tuner: "grid" or "tpe", see `edsl.lab.races.tuning`; "" leaves every learning rate as given; "fixed" tries
            `factors` and nothing else.
        trials: learning rates that each entrant may try.
        seeds: trials of each learning rate, on seeds of their own.
    """

    tuner: str = ""
    trials: int = 8
    seeds: int = 2
    factors: tuple[float, ...] = ()


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
    ) -> tuple[dict[float, float], list[Work]]:
        """The mean score of each factor on the learning rate that is wholly tried, and what is missing for the next.

        Rounds are replayed from the first, so the answer does not depend on the order in which trials end.
        """
        scores: dict[float, float] = {}
        while factors := self._next_factors(entrant, scores):
            works = {factor: self._tuning_work(entrant, factor) for factor in factors}
            missing = [work for tries in works.values() for work in tries if work.key not in trials]
            if missing:
                return scores, missing
            scores |= merged(
                [(factor, [self.score(trials[work.key]) for work in tries]) for factor, tries in works.items()]
            )
        return scores, []

    def _next_factors(self, entrant: Entrant, scores: dict[float, float]) -> list[float]:
        if self.tuning.tuner == "fixed":
            return [] if scores else list(self.tuning.factors)
        place = self.entrants.index(entrant)
        return round_of_factors(self.tuning.tuner, scores, self.tuning.trials, place)

    def _tuning_work(self, entrant: Entrant, factor: float) -> list[Work]:
        spec = self.spec_at(entrant, factor)
        return [self._work(entrant, spec, TUNING_SEEDS_FROM + seed) for seed in range(self.tuning.seeds)]

    def spec_at(self, entrant: Entrant, factor: float) -> str:
        """An entrant's spec with its learning rates times a factor."""
        return entrant.spec if factor == 1 else str(scaled(parse(entrant.spec), factor))

    def chosen(self, entrant: Entrant, trials: Mapping[tuple[str, int], dict[str, Any]]) -> tuple[str, bool, int]:
        """The spec of an entrant's final trials, whether its learning rate is on the edge of those tried, how many."""
        if not self.tuning.tuner:
            return entrant.spec, False, 0
        scores, missing = self.tuned(entrant, trials)
        if missing or not scores:
            return entrant.spec, False, len(scores)
        return self.spec_at(entrant, best_factor(scores)), on_edge(scores), len(scores)

    def score(self, trial: dict[str, Any]) -> float:
        """What tuning minimises: infinite for a trial that diverged or failed."""
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

    def _work(self, entrant: Entrant, spec: str, seed: int) -> Work:
        return Work(self.setting, spec, seed, self.plugins, entrant.name, self.source)

    def tells(self, work: Work) -> str:
        """What a trial is, beside its entrant's name: the learning rates that it tries, and its seed."""
        rates = learning_rates(parse(work.spec)) if self.tuning.tuner else {}
        tried = "".join(f"{name}={rate:.3g}, " for name, rate in rates.items())
        tuning = work.seed >= TUNING_SEEDS_FROM
        return f"{tried}{'tuning ' if tuning else ''}seed {work.seed - TUNING_SEEDS_FROM * tuning}"
