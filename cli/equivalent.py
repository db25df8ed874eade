"""`edsl equivalent`: do two pipelines take the same steps?"""

from __future__ import annotations

import sys
from dataclasses import asdict

from edsl.cli.render.equality import print_comparison
from edsl.cli.render.page import print_json
from edsl.errors import EdslError
from edsl.pipeline import Pipeline
from edsl.spec import parse

EXIT = {"equal": 0, "different": 1, "linear part": 3}


def equivalent(first: str, second: str, as_json: bool) -> None:
    """Print the comparison; the exit code is 0 equal, 1 different, 3 equal in the linear part."""
    from edsl.theory.equivalence import DIFFERENT, Comparison, Undecided, compare

    pipelines = parse(first), parse(second)
    try:
        comparison = compare(*pipelines)
    except Undecided as reason:
        if _run(pipelines)["parted"] is None:
            raise EdslError(f"{reason}; its run parts them nowhere") from None
        comparison = Comparison(*pipelines, DIFFERENT)
    run = _run(pipelines) if comparison.equal and pipelines[0] != pipelines[1] else None
    if run is not None and run["parted"] is not None:
        raise EdslError(f"one recurrence, but a run of 50 steps parts the two at step {run['parted']['step']}: edsl verify shows where")
    if as_json:
        print_json(
            {
                "verdict": comparison.verdict,
                "equal": comparison.equal,
                "left_out": comparison.left_out,
                "relations": [asdict(relation) for relation in comparison.relations],
                "maps": comparison.maps,
                "first_difference": comparison.first_difference,
                "largest_difference": comparison.largest_difference,
                "run": run,
            }
        )
    else:
        print_comparison(comparison, run)
    sys.exit(EXIT[comparison.verdict])


def _run(pipelines: tuple[Pipeline, Pipeline]) -> dict[str, object]:
    """What training a small network with both in float64 shows."""
    from edsl.lab.verify import verify

    first, second = map(str, pipelines)
    found = asdict(verify(first, second, tolerance=1e-9))
    return {key: found[key] for key in ("steps", "tolerance", "largest", "parted", "notes")}
