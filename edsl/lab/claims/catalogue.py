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
    "fig5-resnet18": ("edsl.lab.claims.fig5:run_resnet18", "the same of ResNet-18 on CIFAR-100"),
    "fig8": ("edsl.lab.claims.fig8:run", "leaving the first minimum of f1 and f2"),
    "table1": ("edsl.lab.claims.table1:run", "E averages the gradient's change, and adds it to the gradient"),
    "placement": ("edsl.lab.claims.placement:run", "where a_k is added: to g, to m̂, to the update"),
    "table3": ("edsl.lab.claims.table3:run", "ALTO above Lamb above Adam at large batches"),
    "alpha-sign": ("edsl.lab.claims.alpha_sign:run", "α > 0 at small batches, α < 0 at large ones"),
    "times": ("edsl.lab.claims.times:run", "steps and seconds to 20, 40 and 60 %, ALTO beside Lamb"),
    "times-vgg16": ("edsl.lab.claims.times:run_vgg16", "the same of VGG-16 on CIFAR-100"),
    "memory": ("edsl.lab.claims.memory:run", "what E and its base keep, and hold at their peak (Table 6)"),
    "table7": ("edsl.lab.claims.table7:run", "each part of ALTO matters"),
    "cartpole": ("edsl.lab.claims.cartpole:run", "E before Adam in reinforcement learning"),
    "appendix-a": ("edsl.lab.claims.appendix_a:run", "E leaves plateaus sooner at a full batch"),
    "batch-rule": ("edsl.lab.claims.batch_rule:run", "the largest stable lr by batch, and the sign of α"),
}

# Those that want an accelerator and data: not among `all`.
LARGE = ("fig5-resnet18", "times-vgg16")


def claim(name: str) -> Callable[[Path, bool], Claim]:
    """The function (folder, quick) → Claim of a name; raises EdslError for an unknown one."""
    from edsl.language.registry.stages import load

    if name not in CLAIMS:
        raise EdslError(f"unknown claim {shown(name)}; {nearest(name, CLAIMS, 'claims')}")
    return load(CLAIMS[name][0])
