"""`edsl check-stability`: does it converge on a quadratic, and how large a step may it take?"""

from __future__ import annotations

import sys

from edsl.cli.gradients import NO_NOISE, Noise
from edsl.cli.numbers import read_range
from edsl.cli.render.page import print_json
from edsl.cli.render.theory import print_stability
from edsl.errors import EdslError, shown
from edsl.language.domain import read_number


def check_stability(
    alpha: str | None,
    beta1: str | None,
    spec: str | None,
    beta2: float | None,
    momentum: str | None,
    lr: float | None,
    curvature: str | None,
    as_json: bool,
    step: int | None = None,
    noise: Noise = NO_NOISE,
) -> None:
    """Print the report; exit code 0 where stable, 1 where not."""
    from edsl.theory.stability.report import check_closed_form, check_e_with_momentum, check_pipeline

    span = None if curvature is None else read_range(curvature, "--curvature")
    if spec is not None:
        from edsl.language.spec import parse
        from edsl.theory.text.schedules import at_step, taken_at

        given = {"ALPHA": alpha, "BETA1": beta1, "--beta2": beta2, "--momentum": momentum, "--lr": lr}
        if twice := [name for name, value in given.items() if value is not None]:
            raise EdslError(f"--spec has its own {' and '.join(twice)}: give --spec alone, or ALPHA BETA1")
        pipeline = parse(spec)
        report = check_pipeline(at_step(pipeline, step), span, noise.gradients(pipeline.estimator.calls))
        report["notes"] = [*taken_at(pipeline, step), *report["notes"]]
    else:
        if alpha is None or beta1 is None:
            raise EdslError("give ALPHA and BETA1, such as -5 0.99, or --spec SPEC")
        if (lr is None) != (span is None):
            raise EdslError("--lr and --curvature go together: give both, or neither")
        if momentum not in (None, "ema", "sum"):
            raise EdslError(f"--momentum must be ema or sum, got {shown(momentum)}")
        gradients = noise.gradients(1)
        values = (_number("ALPHA", alpha), _number("BETA1", beta1), 0.9 if beta2 is None else beta2, momentum or "ema")
        if gradients.are_plain:
            report = check_closed_form(*values, lr, span)
        else:
            report = check_e_with_momentum(*values, lr, span, gradients)
    report |= noise.critical(report.get("largest_noise"))
    if as_json:
        print_json(report)
    else:
        print_stability(report)
    sys.exit(0 if report["stable"] else 1)


def _number(name: str, text: str) -> float:
    try:
        return read_number(text)
    except EdslError as reason:
        raise EdslError(f"{name}: {reason}") from None
    except ValueError:
        raise EdslError(f"{name} must be a number, got {shown(text)}") from None
