"""`edsl bench`: what a step of each optimizer takes."""

from __future__ import annotations

from edsl.cli import render


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
    from edsl.lab.bench import bench as planned

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
    found = chosen.run(render.note).record()
    if as_json:
        render.json_out(found)
    else:
        render.bench_table(found)
