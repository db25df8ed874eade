"""The whole examination, in an order in which each part needs only what the parts before it have found in order."""

from __future__ import annotations

from collections.abc import Callable

from edsl.errors import first_line
from edsl.lab.doctor.caches import caches
from edsl.lab.doctor.findings import Findings, Problem, Section, StepCheck, examined
from edsl.lab.doctor.machine import compilers, gpus, machine
from edsl.lab.doctor.packages import packages

SECTIONS: dict[str, Callable[[], Section]] = {
    "packages": packages,
    "machine": machine,
    "compilers": compilers,
    "caches": caches,
}


def examine() -> Findings:
    """Look at this machine, and step a few pipelines on it. Nothing that is broken here raises.

    Example:
        >>> from edsl.lab.doctor.examination import SECTIONS
        >>> [*SECTIONS]
        ['packages', 'machine', 'compilers', 'caches']
    """
    found = {title: examined(title, look) for title, look in SECTIONS.items()}
    problems = [problem for section in found.values() for problem in section.problems]
    steps: list[StepCheck] = []
    if any(problem.fails for problem in problems):
        problems.append(Problem("no steps were taken", "mend what fails above first", fails=True))
    else:
        found["devices"] = examined("devices", gpus)
        problems += found["devices"].problems
        steps, refused = _steps()
        problems += refused
    facts = {title: section.facts for title, section in found.items() if section.facts}
    return Findings(facts, steps, problems)


def _steps() -> tuple[list[StepCheck], list[Problem]]:
    """Steps beside references; torch may be here and still not load."""
    try:
        from edsl.lab.doctor.steps import problems_of, step_checks

        steps = list(step_checks())
    except Exception as reason:
        said = f"no steps were taken: {first_line(reason, 300)}"
        return [], [Problem(said, "reinstall torch: pip install --force-reinstall torch", fails=True)]
    return steps, list(problems_of(steps))
