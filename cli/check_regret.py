"""`edsl check-regret`: which conditions of the paper's convergence theorems hold."""

from __future__ import annotations

import math
import sys
from dataclasses import asdict, fields

from edsl.cli.render.page import print_json
from edsl.cli.render.theory import print_regret
from edsl.errors import EdslError
from edsl.language.pipeline import Pipeline
from edsl.language.schedules.layerwise import check_same_for_all

ASSUMED = "1/sqrt(k)"  # of a schedule that is not given


def check_regret(
    beta2: float | None,
    beta3: float | None,
    spec: str | None,
    lr_schedule: str | None,
    alpha_schedule: str | None,
    decay_schedule: str | None,
    gradient_bound: float,
    as_json: bool,
) -> None:
    """Print every condition; exit code 1 if one of Theorem 2's that hyper-parameters decide fails."""
    from edsl.language.spec import parse
    from edsl.theory.regret.conditions import FAILS, conditions, nonconvex_rate, readings
    from edsl.theory.systems.exploration import places_of_e

    pipeline = parse(spec or "alto")
    values = pipeline.hyperparameters
    if not pipeline.update.has_moments:
        raise EdslError(
            f"Theorem 2 is about updates with two moments, such as lamb or adam, got {pipeline.update.name}"
        )
    for name, value in {"--beta2": beta2, "--beta3": beta3}.items():
        if value is not None and not 0 <= value < 1:
            raise EdslError(f"{name} must lie in [0, 1), got {value:g}")
    if not 0 < gradient_bound < math.inf:
        raise EdslError(f"--gradient-bound must be a number above 0, got {gradient_bound:g}")
    schedules = {"lr": lr_schedule, "alpha": alpha_schedule, "weight decay": decay_schedule}
    schedules = _own_schedules(pipeline, schedules)
    formulas = {name: ASSUMED if text is None else text for name, text in schedules.items()}
    decays = (
        float(values["beta2"] if beta2 is None else beta2),
        float(values["beta3"] if beta3 is None else beta3),
    )
    theorem2 = conditions(
        *decays,
        reads=readings(pipeline),
        lr_schedule=formulas["lr"],
        alpha_schedule=formulas["alpha"],
        decay_schedule=formulas["weight decay"],
        lr=values.get("lr", 1.0),
        alpha=max((abs(pipeline.stages[place].alpha) for place in places_of_e(pipeline)), default=0.0),  # pyright: ignore
        decay=_decay(pipeline),
    )
    theorem1 = nonconvex_rate(decays[1], values["eps1"], gradient_bound)
    holds = all(condition.verdict != FAILS for condition in theorem2)
    report = {
        "beta2": decays[0],
        "beta3": decays[1],
        "schedules": formulas,
        "assumed": [name for name, text in schedules.items() if text is None],
        "theorem2": [asdict(condition) for condition in theorem2],
        "theorem1": asdict(theorem1),
        "hyperparameters_hold": holds,
    }
    if as_json:
        print_json(report)
    else:
        print_regret(report)
    sys.exit(0 if holds else 1)


def _own_schedules(pipeline: Pipeline, given: dict[str, str | None]) -> dict[str, str | None]:
    """The factors that are given, with those of the spec's own schedules."""
    from edsl.theory.text.schedules import factor_of

    found = dict(given)
    check_same_for_all(pipeline.layerwise, "Theorem 2")
    for key, value in pipeline.schedules.items():
        name = key.replace("weight_decay", "weight decay")
        if name not in given:
            raise EdslError(f"Theorem 2 takes schedules of lr, alpha and weight_decay, got {key}={value}")
        if given[name] is not None:
            raise EdslError(f"the spec has its own {key}={value}: leave out --{name.split()[-1]}-schedule")
        found[name] = factor_of(value.schedule)
        if found[name] is None:
            raise EdslError(f"{key}={value} ends at step T: Theorem 2 is about all k, and nothing is claimed beyond T")
    return found


def _decay(pipeline: Pipeline) -> float:
    """The largest weight decay of any stage: of the base update, or behind it."""
    found = [
        getattr(stage, field.name)
        for stage in pipeline.stages[pipeline.update_index :]
        for field in fields(stage)
        if field.name in stage.live_fields() and (field.name == "weight_decay" or stage.name == "decay")
    ]
    return max(found, default=0.0)
