"""`edsl equivalent`: are two pipelines the same linear system?"""

from __future__ import annotations

import sys
from dataclasses import asdict

from edsl.cli.render.equality import print_comparison
from edsl.cli.render.page import print_json
from edsl.spec import parse


def equivalent(first: str, second: str, as_json: bool) -> None:
    """Print the comparison; exit code 0 where equal, 1 where not."""
    from edsl.theory.equivalence import compare
    from edsl.theory.linearise import linearise

    pipelines = parse(first), parse(second)
    comparison = compare(*pipelines)
    notes = list(dict.fromkeys(note for pipeline in pipelines for note in linearise(pipeline).notes))
    if as_json:
        print_json({**asdict(comparison), "notes": notes})
    else:
        print_comparison(first, second, comparison, notes)
    sys.exit(0 if comparison.equal else 1)
