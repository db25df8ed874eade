"""`edsl design`: the best hyper-parameters of a pipeline for a spectrum of curvatures, and what each choice costs."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from edsl.cli.gradients import Noise
from edsl.cli.numbers import read_range
from edsl.cli.options import listed
from edsl.cli.render.page import print_json, print_note
from edsl.cli.render.theory import print_design
from edsl.errors import EdslError, nearest
from edsl.language.spec import parse
from edsl.plotting import check_picture
from edsl.theory.text.schedules import at_step, taken_at

KINDS = ("rate", "certified")


@dataclass(frozen=True)
class Sought:
    """What is made smallest: --of, with the curvatures as --spectrum or, in units of the largest, as --condition."""

    of: str = "rate"
    spectrum: str | None = None
    condition: float | None = None

    def curvatures(self, noise: Noise) -> tuple[float, float]:
        """The least and the largest.

        Raises:
            EdslError: for options that are missing, that contradict each other, or that would do nothing.
        """
        from edsl.theory.stability.conditions import check_condition

        if self.of not in KINDS:
            late = "; --delay and --batch-noise are of --of rate" if self.of in ("delay", "batch") else ""
            raise EdslError(f"unknown --of {self.of!r}; {nearest(self.of, KINDS, 'choose among')}{late}")
        if self.of == "certified" and noise != Noise():
            raise EdslError("--delay and the options of noise have no effect with --of certified")
        if (self.spectrum is None) == (self.condition is None):
            raise EdslError("give --spectrum LOW:HIGH, or --condition KAPPA for curvatures from 1/KAPPA to 1")
        if self.condition is not None:
            check_condition(self.condition)
            return 1 / self.condition, 1.0
        return read_range(self.spectrum or "", "--spectrum")


def design(
    spec: str, sought: Sought, over: str, noise: Noise, out: Path | None, as_json: bool, step: int | None = None
) -> None:
    """Print the search's result; exit code 0 where values were found that converge, 1 where not."""
    from edsl.theory.design.report import design as search

    written = parse(spec)
    pipeline = at_step(written, step)
    if out is not None:
        check_picture(out)
    curvatures = sought.curvatures(noise)
    gradients = noise.gradients(pipeline.estimator.calls)
    report = search(pipeline, curvatures, listed(over), gradients, sought.of)
    report["notes"] = [*taken_at(written, step), *report["notes"]]
    if out is not None:
        from edsl.theory.design.plot import save_design

        save_design(out, pipeline, report, gradients)
        print_note(f"drawn: {out}")
    if as_json:
        print_json(report)
    else:
        print_design(report)
    sys.exit(0 if report["best"]["rate"] < 1 else 1)
