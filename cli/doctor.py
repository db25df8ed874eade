"""`edsl doctor`: what is here, whether it works, and what a bug report needs."""

from __future__ import annotations

import sys
from dataclasses import asdict

from edsl.cli.render.doctor import print_findings
from edsl.cli.render.page import print_json
from edsl.lab.doctor.examination import examine


def doctor(as_json: bool) -> None:
    """Print what an examination of this machine finds, and exit with 1 where something fails, else with 0."""
    found = examine()
    if as_json:
        steps = [{**asdict(step), "right": step.is_right} for step in found.steps]
        problems = [asdict(problem) for problem in found.problems]
        print_json({**found.sections, "steps": steps, "problems": problems, "fails": found.fails})
    else:
        print_findings(found)
    sys.exit(1 if found.fails else 0)
