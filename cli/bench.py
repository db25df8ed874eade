"""`edsl bench`: what a step of each optimizer takes."""

from __future__ import annotations

from edsl.cli.render.bench import print_bench
from edsl.cli.render.page import print_json, print_note


def bench(
    specs: list[str] | None,
    params: str,
    against: str,
    dtype: str,
    device: str,
    threads: int,
    steps: int,
    first_steps: bool,
    as_json: bool,
) -> None:
    """Measure, and print a table or JSON; what is being measured goes to stderr.

    Args:
        against: names of other packages' optimizers, between commas.
    """
    from edsl.lab.benchmarks.bench import bench as planned

    peers = [name.strip() for name in against.split(",") if name.strip()]
    chosen = planned(
        specs or [],
        params,
        peers,
        dtype=dtype,
        device=device,
        threads=threads,
        steps=steps,
        first_steps=first_steps,
    )
    found = chosen.run(print_note).record()
    if as_json:
        print_json(found)
    else:
        print_bench(found)
