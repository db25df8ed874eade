"""`edsl design`: the best hyper-parameters of a pipeline for a spectrum of curvatures, and what each choice costs."""

from __future__ import annotations

import sys
from pathlib import Path

from edsl.cli.gradients import Noise
from edsl.cli.numbers import read_range
from edsl.cli.options import words
from edsl.cli.render.page import print_json, print_note
from edsl.cli.render.theory import print_design
from edsl.language.spec import parse
from edsl.plotting import check_picture
from edsl.theory.text.schedules import at_step, taken_at


def design(
    spec: str, spectrum: str, over: str, noise: Noise, out: Path | None, as_json: bool, step: int | None = None
) -> None:
    """Print the search's result; exit code 0 where values were found that converge, 1 where not."""
    from edsl.theory.design.report import design as search

    written = parse(spec)
    pipeline = at_step(written, step)
    if out is not None:
        check_picture(out)
    gradients = noise.gradients(pipeline.estimator.calls)
    report = search(pipeline, read_range(spectrum, "--spectrum"), words(over), gradients)
    report["notes"] = taken_at(written, step)
    if out is not None:
        from edsl.theory.design.plot import save_design

        save_design(out, pipeline, report, gradients)
        print_note(f"drawn: {out}")
    if as_json:
        print_json(report)
    else:
        print_design(report)
    sys.exit(0 if report["best"]["rate"] < 1 else 1)
