"""`edsl equivalent`: are two pipelines the same linear system?"""

from __future__ import annotations

import sys
from dataclasses import asdict

from edsl.cli import render
from edsl.spec import parse


def equivalent(first: str, second: str, as_json: bool) -> None:
    """Print the comparison; exit code 0 where equal, 1 where not."""
    from edsl.theory.equivalence import compare
    from edsl.theory.linearise import linearise

    pipelines = parse(first), parse(second)
    comparison = compare(*pipelines)
    notes = list(dict.fromkeys(note for pipeline in pipelines for note in linearise(pipeline).notes))
    if as_json:
        render.json_out({**asdict(comparison), "notes": notes})
    else:
        render.comparison(first, second, comparison, notes)
    sys.exit(0 if comparison.equal else 1)
