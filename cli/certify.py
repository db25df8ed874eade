"""`edsl certify`: steps that hold for every smooth strongly convex function, or a function on which it cycles."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from edsl.cli.render.page import print_json, print_note
from edsl.cli.render.theory import print_certificate
from edsl.errors import EdslError
from edsl.language.spec import parse
from edsl.plotting import check_picture
from edsl.theory.text.schedules import at_step, taken_at


def certify(
    spec: str, condition: float, smoothness: float, run: bool, out: Path | None, as_json: bool, step: int | None = None
) -> None:
    """Print the certificate and the cycle; exit code 0 where certified at the spec's own lr, 1 where not."""
    from edsl.theory.certificates import report as certificates

    written = parse(spec)
    pipeline = at_step(written, step)
    if out is not None:
        check_picture(out)
    found = certificates.certify(pipeline, condition, smoothness)
    report = certificates.describe(found)
    report["notes"] = [*taken_at(written, step), *report["notes"]]
    ran = _run(found) if run else None
    if out is not None:
        from edsl.theory.certificates.plot import save_certificate

        save_certificate(out, found)
        print_note(f"drawn: {out}")
    if as_json:
        print_json(report if ran is None else {**report, "run": ran})
    else:
        print_certificate(report, ran)
    sys.exit(0 if report["certified"] else 1)


def _run(found: Any) -> dict[str, Any]:
    from edsl.lab.landscapes.cycles import ROUNDS, run_cycle

    if found.shown is None:
        raise EdslError("nothing to run: no cycle of up to 60 steps was found; leave out --run")
    ran = run_cycle(found.pipeline, found.system, found.shown)
    return {
        "off_after_one": ran.off_after_one,
        "off_after_push": ran.off_after_push,
        "rounds": ROUNDS,
        "steps": len(ran.losses) - 1,
        "first_loss": float(ran.losses[0]),
        "last_loss": float(ran.losses[-1]),
    }
