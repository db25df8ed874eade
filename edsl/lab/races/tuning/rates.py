"""The learning rates that tuning tries: the next ones, from the scores of the earlier ones.

Pure functions of the results so far, so that a race that was killed, or whose trials end in another
order, tries the same.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from edsl.errors import EdslError, either, shown
from edsl.lab.races.tuning.samplers import optuna_for

STEP = math.sqrt(10)  # between neighbours of the first grid
FIRST = 5  # learning rates of the first grid
RANGE = (1e-3, 1e3)  # of TPE, as factors on the pipeline's own learning rate
TUNERS = ("grid", "tpe")


def round_of_factors(tuner: str, scores: Mapping[float, float], trials: int, seed: int = 0) -> list[float]:
    """Factors on the learning rate to try next, all at once; none once there are as many as `trials`.

    Args:
        tuner: "grid", five on a log grid first, then one beyond the edge while the best lies there, else one
            between the best and the neighbour that is farther away; or "tpe", optuna's.
        scores: what each factor tried so far gave, the less the better, infinite where it diverged.
    """
    left = trials - len(scores)
    if left <= 0:
        return []
    if tuner == "tpe":
        return [_tpe(scores, seed)]
    if not scores:
        first = min(FIRST, trials)
        return [STEP**power for power in range(-(first // 2), first - first // 2)]
    return [_grid(scores)]


def _grid(scores: Mapping[float, float]) -> float:
    factors = sorted(scores)
    at = factors.index(best_factor(scores))
    if at == 0:
        return factors[0] / STEP
    if at == len(factors) - 1:
        return factors[-1] * STEP
    below, best, above = factors[at - 1 : at + 2]
    return math.sqrt(best * above) if above / best > best / below else math.sqrt(below * best)


def best_factor(scores: Mapping[float, float]) -> float:
    """The factor of the least score, the smaller of equals; the smallest where all diverged."""
    return min(scores, key=lambda factor: (scores[factor], factor))


def on_edge(scores: Mapping[float, float]) -> bool:
    """Whether the best is the smallest or largest that was tried, so that a better one may lie beyond."""
    return best_factor(scores) in (min(scores), max(scores))


def _tpe(scores: Mapping[float, float], seed: int) -> float:
    """The next factor by optuna's TPE, from all results so far."""
    optuna = optuna_for("tpe")
    low, high = (math.log10(end) for end in RANGE)
    over: dict[str, Any] = {"log_factor": optuna.distributions.FloatDistribution(low, high)}
    sampler = optuna.samplers.TPESampler(seed=seed * 1000 + len(scores), n_startup_trials=FIRST - 1)
    study = optuna.create_study(sampler=sampler)
    if not scores:
        return 1.0  # the pipeline's own
    worst = max((score for score in scores.values() if math.isfinite(score)), default=0.0)
    for factor, score in scores.items():
        value = score if math.isfinite(score) else worst + abs(worst) + 1
        study.add_trial(
            optuna.trial.create_trial(params={"log_factor": math.log10(factor)}, distributions=over, value=value)
        )
    return 10 ** round(study.ask(over).params["log_factor"], 6)


def check_tuner(tuner: str) -> None:
    """Raises EdslError for an unknown tuner."""
    if tuner not in TUNERS:
        raise EdslError(f"tuner must be {either(TUNERS)}, got {shown(tuner)}")


def merged(pairs: Sequence[tuple[float, Sequence[float]]]) -> dict[float, float]:
    """Each factor's mean score over its seeds, in the order in which the factors were tried."""
    return {factor: sum(scores) / len(scores) for factor, scores in pairs}
