"""Hyper-parameters to tune together, and where in their box the next trial is.

A space is written as "lr=log(1e-4,1), beta2=(.8,.99), beta3=decay(.9,.9999), every=int(1,10), nesterov={True,False}".
Points are kept in the unit cube, so that every tuner sees the same box. All is a pure function of the results so far.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from edsl.errors import EdslError, shown
from edsl.lab.races.tuning.samplers import optuna_for, point_after
from edsl.language.domain import plain

DIGITS = 4  # of a tuned number: what a person can type again
STARTS = 1 / 4  # share of the trials that adaptive tuners begin with, spread evenly
MOST_REFUSED = 100  # points in a row that the language may refuse
EDGE = 0.03  # of a range: a best value that is nearer to an end lies on the edge
_ONE = re.compile(r"\s*([A-Za-z_][\w.]*)\s*=\s*(?:(log|decay|int|)\s*\(([^()]*)\)|\{([^{}]*)\})\s*(?:,|$)")

Candidate = tuple[tuple[str, Any], ...]  # names with values


@dataclass(frozen=True)
class Dimension:
    """One hyper-parameter: a range or some options.

    Attributes:
        scale: of a range: "log"; "decay", on which 1 − value is even on a log scale; "int" for whole numbers; or "".
    """

    name: str
    low: float = 0.0
    high: float = 1.0
    scale: str = ""
    options: tuple[Any, ...] = ()

    def at(self, share: float) -> Any:
        """The value at a share in [0, 1] of the range."""
        if self.options:
            return self.options[min(int(share * len(self.options)), len(self.options) - 1)]
        if self.scale == "int":
            return int(min(self.low + math.floor(share * (self.high - self.low + 1)), self.high))
        low, high = self._scaled(self.low), self._scaled(self.high)
        value = low + share * (high - low)
        if self.scale == "decay":
            return round(1 - _short(math.exp(value)), 12)
        return _short(math.exp(value) if self.scale == "log" else value)

    def share(self, value: Any) -> float | None:
        """Where a value lies, or None outside."""
        if self.options:
            return (self.options.index(value) + 0.5) / len(self.options) if value in self.options else None
        if not isinstance(value, (int, float)) or isinstance(value, bool) or not self.low <= value <= self.high:
            return None
        if self.scale == "int":
            return (value - self.low + 0.5) / (self.high - self.low + 1)
        low, high = self._scaled(self.low), self._scaled(self.high)
        return (self._scaled(value) - low) / (high - low)

    def _scaled(self, value: float) -> float:
        """Where a value is on a scale that is even."""
        return {"log": lambda: math.log(value), "decay": lambda: math.log(1 - value)}.get(self.scale, lambda: value)()

    def __str__(self) -> str:
        if self.options:
            return f"{self.name}={{{','.join(map(plain, self.options))}}}"
        return f"{self.name}={self.scale}({plain(self.low)},{plain(self.high)})"


def _short(value: float) -> float:
    """A number that a person can type again."""
    return float(f"{value:.{DIGITS}g}")


@lru_cache
def read_space(text: str) -> tuple[Dimension, ...]:
    """The dimensions of a space.

    Raises:
        EdslError: for text that is none, a range without a length, or a name given twice.
    """
    found: list[Dimension] = []
    place = 0
    while place < len(text.rstrip()):
        one = _ONE.match(text, place)
        if one is None:
            raise EdslError(
                f"--tune takes NAME=RANGE, … with ranges such as log(1e-4,1), (.8,.99), decay(.9,.999), int(1,10) or "
                f"{{a,b}}; got "
                f"{shown(text[place:].strip())}"
            )
        found.append(_dimension(*one.groups()))
        place = one.end()
    names = [dimension.name for dimension in found]
    if not found or len(set(names)) < len(names):
        raise EdslError(f"--tune takes each hyper-parameter once, got {', '.join(names) or 'none'}")
    return tuple(found)


def _dimension(name: str, scale: str | None, ends: str | None, options: str | None) -> Dimension:
    if options is not None:
        values = tuple(_option(part.strip()) for part in options.split(","))
        if len(values) < 2 or len(set(values)) < len(values) or "" in values:
            raise EdslError(f"--tune {name}: give two different options or more, got {{{options}}}")
        return Dimension(name, options=values)
    try:
        low, high = (float(part) for part in (ends or "").split(","))
    except ValueError:
        raise EdslError(f"--tune {name}: a range is two numbers, such as log(1e-4,1), got ({ends})") from None
    if not -math.inf < low < high < math.inf:
        raise EdslError(f"--tune {name}: a range goes from a number to a larger one, got ({ends})")
    if scale == "log" and low <= 0:
        raise EdslError(f"--tune {name}: a range on a log scale begins above 0, got log({ends})")
    if scale == "decay" and high >= 1:
        raise EdslError(f"--tune {name}: a range of decays ends below 1, got decay({ends})")
    if scale == "int" and not (low.is_integer() and high.is_integer()):
        raise EdslError(f"--tune {name}: a range of whole numbers ends in whole numbers, got int({ends})")
    return Dimension(name, low, high, scale or "")


def _option(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return {"True": True, "False": False}.get(text, text)


def starts_of(trials: int) -> int:
    """How many of so many trials adaptive tuners begin with."""
    return max(1, round(STARTS * trials))


def next_candidates(
    sampler: str,
    space: Sequence[Dimension],
    own: Mapping[str, Any],
    scores: Mapping[Candidate, float],
    trials: int,
    accepts: Callable[[Candidate], bool],
) -> list[Candidate]:
    """What to try next, all at once; nothing once as many as `trials` are tried, or the space has no more.

    The first is the pipeline's own values, where they lie in the space; then come evenly spread points, the same for
    all pipelines; then, but for "quasi", what the sampler makes of the results.

    Args:
        own: the pipeline's values, where `own[name]` is not in the space the middle is taken.
        scores: what each gave, the less the better, infinite where it diverged.
        accepts: whether the language takes it; what it refuses costs no trial.
    """
    spread = trials if sampler == "quasi" else starts_of(trials)
    starts = _starts(tuple(space), tuple(own.get(dimension.name) for dimension in space), spread + MOST_REFUSED)
    known: list[float] = []
    found: list[Candidate] = []
    seen: set[Candidate] = set()
    refused = begun = 0  # begun: how many points were taken from the starts
    while len(seen) < trials and refused < MOST_REFUSED:
        if len(seen) < spread:
            point = starts[begun]
            begun += 1
        elif found:
            return found
        else:
            point = point_after(sampler, starts[:begun], tuple(known))
        candidate = tuple((dimension.name, dimension.at(share)) for dimension, share in zip(space, point))
        if candidate in seen or not accepts(candidate):
            refused += 1
            known.append(scores.get(candidate, math.inf))
            continue
        seen.add(candidate)
        if candidate in scores:
            known.append(scores[candidate])
        elif len(seen) <= spread:
            found.append(candidate)
            known.append(math.inf)  # not read before it is known
        else:
            return [candidate]
    return found


@lru_cache(maxsize=256)
def _starts(space: tuple[Dimension, ...], own: tuple[Any, ...], count: int) -> tuple[tuple[float, ...], ...]:
    """A pipeline's own values, then a Halton sequence over the cube (Halton 1960)."""
    from scipy.stats.qmc import Halton

    shares = [dimension.share(value) for dimension, value in zip(space, own)]
    halton = Halton(len(space), scramble=False).random(count + 1)[1:]  # the first is a corner
    spread = [tuple(map(float, point)) for point in halton]
    first = [tuple(0.5 if share is None else share for share in shares)] if None not in shares else []
    return tuple([*first, *spread][:count])


def sensitivities(space: Sequence[Dimension], scores: Mapping[Candidate, float]) -> dict[str, float]:
    """How much of the scores' variance each hyper-parameter explains, by fANOVA over a random forest; they add up to 1.

    A diverged trial counts as worse than the worst; the scores' ranks are used, so that one bad value decides nothing.
    Nothing without optuna, or with fewer than 8 trials.

    Source: Hutter, Hoos and Leyton-Brown 2014.
    """
    from importlib.util import find_spec

    if len(scores) < 8 or find_spec("optuna") is None:
        return {}
    from scipy.stats import rankdata

    optuna = optuna_for("fanova")
    over = {dimension.name: optuna.distributions.FloatDistribution(0.0, 1.0) for dimension in space}
    study = optuna.create_study()
    ranks = rankdata([min(score, 1e300) for score in scores.values()])
    for candidate, rank in zip(scores, ranks):
        values = dict(candidate)
        point = {d.name: share for d in space if (share := d.share(values[d.name])) is not None}
        if len(point) == len(over):
            study.add_trial(optuna.trial.create_trial(params=point, distributions=over, value=float(rank)))
    evaluator = optuna.importance.FanovaImportanceEvaluator(n_trees=64, seed=0)
    found = optuna.importance.get_param_importances(study, evaluator=evaluator)
    return {dimension.name: float(found.get(dimension.name, 0.0)) for dimension in space}


def on_edge(space: Sequence[Dimension], candidate: Candidate) -> list[str]:
    """The names whose value lies at an end of its range, so that a better one may lie beyond."""
    values = dict(candidate)
    shares = {
        dimension.name: dimension.share(values[dimension.name])
        for dimension in space
        if not dimension.options and dimension.name in values
    }
    return [name for name, share in shares.items() if share is None or not EDGE <= share <= 1 - EDGE]
