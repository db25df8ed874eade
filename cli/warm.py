"""`edsl warm`: compile optimizers before a job needs them."""

from __future__ import annotations

from dataclasses import asdict

from edsl.cli.render.page import print_json
from edsl.cli.render.plan import print_warmed


def warm(specs: list[str], params: str, dtype: str, device: str, as_json: bool) -> None:
    """Compile each spec's steps for these parameters, and say what that took."""
    from edsl.lab.benchmarks.parameter_sets import parameter_set
    from edsl.lab.benchmarks.warm import warm as run

    shapes = parameter_set(params)
    found = []
    for spec in specs:
        found.append(asdict(run(spec, shapes, dtype, device)))
        if not as_json:
            print_warmed(found[-1])
    if as_json:
        print_json({"params": params, "dtype": dtype, "warmed": found})
