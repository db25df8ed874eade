"""`edsl check-regret`: which conditions of the paper's convergence theorems hold."""

from __future__ import annotations

import sys
from dataclasses import asdict

from edsl.cli.render.page import print_json
from edsl.cli.render.theory import print_regret
from edsl.errors import EdslError


def check_regret(
    beta2: float | None,
    beta3: float | None,
    spec: str | None,
    lr_schedule: str,
    alpha_schedule: str,
    decay_schedule: str,
    gradient_bound: float,
    as_json: bool,
) -> None:
    """Print every condition; exit code 1 if one of Theorem 2's that hyper-parameters decide fails."""
    from edsl.spec import parse
    from edsl.theory.regret import FAILS, conditions, nonconvex_rate

    pipeline = parse(spec or "alto")
    values = pipeline.hyperparameters
    if not pipeline.update.has_moments:
        raise EdslError(
            f"Theorem 2 is about updates with two moments, such as lamb or adam, got {pipeline.update.name}"
        )
    for name, value in {"--beta2": beta2, "--beta3": beta3}.items():
        if value is not None and not 0 <= value < 1:
            raise EdslError(f"{name} must lie in [0, 1), got {value:g}")
    if not gradient_bound > 0:
        raise EdslError(f"--gradient-bound must be above 0, got {gradient_bound:g}")
    decays = (
        float(values["beta2"] if beta2 is None else beta2),
        float(values["beta3"] if beta3 is None else beta3),
    )
    theorem2 = conditions(
        *decays,
        beta1=values.get("beta1", 0.0),
        v_reads=getattr(pipeline.update, "v_reads", "u"),
        lr_schedule=lr_schedule,
        alpha_schedule=alpha_schedule,
        decay_schedule=decay_schedule,
    )
    theorem1 = nonconvex_rate(decays[1], values["eps1"], gradient_bound)
    holds = all(condition.verdict != FAILS for condition in theorem2)
    report = {
        "beta2": decays[0],
        "beta3": decays[1],
        "theorem2": [asdict(condition) for condition in theorem2],
        "theorem1": asdict(theorem1),
        "hyperparameters_hold": holds,
    }
    if as_json:
        print_json(report)
    else:
        print_regret(report)
    sys.exit(0 if holds else 1)
