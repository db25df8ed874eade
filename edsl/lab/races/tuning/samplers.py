"""What proposes the next point of the unit cube: a Gaussian process of our own, optuna's TPE and CMA-ES, or none.

All is a pure function of the scores so far.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from edsl.errors import EdslError, either, shown
from edsl.lab.races.tuning.gaussian_process import next_point

SAMPLERS = ("gp", "tpe", "quasi", "cmaes")
OF_OPTUNA = ("tpe", "cmaes")
SIGMA, POPULATION = 0.15, 4  # of CMA-ES: its first spread in the unit cube, and its points a generation


Points = tuple[tuple[float, ...], ...]


@lru_cache(maxsize=4096)
def point_after(sampler: str, starts: Points, scores: tuple[float, ...]) -> tuple[float, ...]:
    """The point after those that have these scores: one of the starts, then what the sampler makes of the scores."""
    if len(scores) < len(starts):
        return starts[len(scores)]
    points = [point_after(sampler, starts, scores[:count]) for count in range(len(scores))]
    return next_point(points, scores, len(starts)) if sampler == "gp" else _by_optuna(sampler, starts, points, scores)


def _by_optuna(sampler: str, starts: Points, points: list[tuple[float, ...]], scores: tuple[float, ...]) -> Any:
    """By optuna's sampler, begun anew: CMA-ES at the best of the starts."""
    optuna = optuna_for(sampler)
    names = [f"x{place}" for place in range(len(points[0]))]
    over = {name: optuna.distributions.FloatDistribution(0.0, 1.0) for name in names}
    finite = [score for score in scores if math.isfinite(score)]
    worst = max(finite, default=0.0)
    values = [score if math.isfinite(score) else worst + abs(worst) + 1 for score in scores]
    best = points[min(range(len(starts)), key=values.__getitem__)]
    study = optuna.create_study(sampler=_sampler(optuna, sampler, len(scores), dict(zip(names, best))))
    for place, (point, value) in enumerate(zip(points, values)):
        if sampler == "cmaes" and place >= len(starts):  # its state is in the trials that it asked for
            study.tell(study.ask(over), value)
        else:
            trial = optuna.trial.create_trial(params=dict(zip(names, point)), distributions=over, value=value)
            study.add_trial(trial)
    asked = study.ask(over).params
    return tuple(asked[name] for name in names)


def optuna_for(sampler: str) -> Any:
    """optuna; raises EdslError where it is not installed."""
    try:
        import optuna
    except ImportError:
        raise EdslError(f"the tuner {sampler} needs optuna: pip install 'edsl-optim[tune]'") from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


def _sampler(optuna: Any, name: str, seed: int, best: Mapping[str, float]) -> Any:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # these samplers may change in optuna's next version, which is pinned
        if name == "cmaes":
            return optuna.samplers.CmaEsSampler(
                x0=dict(best), sigma0=SIGMA, popsize=POPULATION, seed=0, n_startup_trials=1
            )
        return optuna.samplers.TPESampler(seed=seed, n_startup_trials=1, multivariate=True)


def check_sampler(name: str) -> None:
    """Raises EdslError for an unknown one, or one whose package is missing."""
    if name not in SAMPLERS:
        raise EdslError(f"with --tune, the tuner must be {either(SAMPLERS)}, got {shown(name)}")
    if name in OF_OPTUNA:
        optuna_for(name)
    if name == "cmaes":
        from importlib.util import find_spec

        if find_spec("cmaes") is None:
            raise EdslError("the tuner cmaes needs the package cmaes: pip install 'edsl-optim[tune]'")
