"""`edsl verify`: whether two optimizers take the same steps."""

from __future__ import annotations

import sys
from dataclasses import asdict

from edsl.cli.render.equality import print_verdict
from edsl.cli.render.page import print_json


def verify(first: str, second: str, steps: int, tolerance: float, seed: int, mode: str, as_json: bool) -> None:
    """Print the verdict; exits with 0 if the two are equal, 1 if not."""
    from edsl.lab.verify import verify as run

    found = asdict(run(first, second, steps, tolerance, seed, mode))
    if as_json:
        print_json({"equal": found["parted"] is None, **found})
    else:
        print_verdict(found)
    sys.exit(0 if found["parted"] is None else 1)
