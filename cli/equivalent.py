"""`edsl equivalent`: do two pipelines take the same steps?"""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import Any

from edsl.cli.render.equality import print_comparison
from edsl.cli.render.page import print_json
from edsl.errors import EdslError
from edsl.language.pipeline import Pipeline
from edsl.language.spec import parse
from edsl.theory.text.schedules import check_constant

STEPS, STRICT, LOOSE = 20, 1e-9, 1e-6  # loose where a run on a quadratic was strict: in a network, rounding grows
EXIT = {"equal": 0, "different": 1, "linear part": 3}


def equivalent(first: str, second: str, as_json: bool) -> None:
    """Print the comparison; the exit code is 0 equal, 1 different, 3 equal in the linear part."""
    from edsl.theory.equivalence.comparison import DIFFERENT, Comparison, Undecided, compare

    pipelines = parse(first), parse(second)
    for pipeline in pipelines:
        check_constant(pipeline, "edsl equivalent")
    run = None
    try:
        comparison = compare(*pipelines)
    except Undecided as reason:
        run = _run(*pipelines, LOOSE)
        if run["parted"] is None:
            raise EdslError(f"{reason}, and finds no difference in {run['steps']} steps") from None
        comparison = Comparison(*pipelines, DIFFERENT)
    if comparison.equal and pipelines[0] != pipelines[1]:
        run = _run(*pipelines, STRICT if comparison.run is None else LOOSE)
        if run["parted"] is not None:
            raise EdslError("the recurrences are equal, but runs diverge: see edsl verify")
    maps = [values for values in comparison.maps if _is_confirmed(pipelines[0], pipelines[1].override(**values))]
    if as_json:
        print_json(
            {
                "verdict": comparison.verdict,
                "equal": comparison.equal,
                "left_out": comparison.left_out,
                "relations": [asdict(relation) for relation in comparison.relations],
                "maps": maps,
                "first_parting": comparison.first_parting,
                "first_difference": comparison.first_difference,
                "largest_difference": comparison.largest_difference,
                "run": run,
            }
        )
    else:
        print_comparison(comparison, maps, run)
    sys.exit(EXIT[comparison.verdict])


def _is_confirmed(first: Pipeline, second: Pipeline) -> bool:
    """Whether a run finds a map to be right."""
    return first == second or _run(first, second, LOOSE)["parted"] is None


def _run(first: Pipeline, second: Pipeline, tolerance: float) -> dict[str, Any]:
    """What training a small network with both in float64 shows."""
    from edsl.lab.verify import verify

    found = asdict(verify(str(first), str(second), steps=STEPS, tolerance=tolerance))
    return {key: found[key] for key in ("steps", "tolerance", "largest", "parted", "notes")}
