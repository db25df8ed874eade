"""The paper's claims that a CPU can test: one file each, one line of registration here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from edsl.errors import EdslError, nearest, shown
from edsl.lab.claims.claim import Claim

# name: (place, what it is)
CLAIMS = {
    "fig1": ("edsl.lab.claims.fig1:run", "E explores along the cardioid's and Rosenbrock's valley"),
    "fig3": ("edsl.lab.claims.fig3:run", "drift and sharpness by the sign of α"),
    "fig5": ("edsl.lab.claims.fig5:run", "ALTO over (β₁, α) at a large batch"),
    "fig8": ("edsl.lab.claims.fig8:run", "leaving the first minimum of f1 and f2"),
    "table1": ("edsl.lab.claims.table1:run", "E averages the gradient's change, and adds it to the gradient"),
    "table3": ("edsl.lab.claims.table3:run", "ALTO above Lamb above Adam at large batches"),
    "table7": ("edsl.lab.claims.table7:run", "each part of ALTO matters"),
    "appendix-a": ("edsl.lab.claims.appendix_a:run", "E leaves plateaus sooner at a full batch"),
    "batch-rule": ("edsl.lab.claims.batch_rule:run", "the largest stable lr by batch, and the sign of α"),
}


def claim(name: str) -> Callable[[Path, bool], Claim]:
    """The function (folder, quick) → Claim of a name; raises EdslError for an unknown one."""
    from edsl.language.registry.stages import load

    if name not in CLAIMS:
        raise EdslError(f"unknown claim {shown(name)}; {nearest(name, CLAIMS, 'claims')}")
    return load(CLAIMS[name][0])
