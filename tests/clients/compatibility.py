"""Which recipe works in which client: docs/compatibility.md, and what each client's tests go by.

A recipe that is not refused here is in `works(client)`, over which the client's tests are
parametrised; one that is, is in `refused(client)`, whose tests expect just that error. So a cell says
yes only where a test of that name passes.

    python tests/clients/compatibility.py       writes docs/compatibility.md
"""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

from edsl.language.registry.recipes import RECIPES

DOC = Path(__file__).parents[2] / "docs" / "compatibility.md"

NEEDS_CLOSURE = ("eadahessian", "esam_sgd", "ezo", "ezo_adam")
EVALUATES = ("eadahessian", "ezo", "ezo_adam")

NO_CLOSURE = "evaluates the loss itself: call step(closure)"
CUT = "can't work on sharded parameters (DTensor)"
UNLIKE = "needs the same parameters on all processes"

CLIENTS = {
    "a loop": ("torch", "tests/clients/test_stacks.py", {}),
    "GradScaler": ("torch", "tests/contract/test_amp.py", dict.fromkeys(NEEDS_CLOSURE, NO_CLOSURE)),
    "Lightning": ("lightning", "tests/clients/test_stacks.py", {}),
    "HF Trainer": ("transformers", "tests/clients/test_stacks.py", dict.fromkeys(NEEDS_CLOSURE, NO_CLOSURE)),
    "Accelerate": ("accelerate", "tests/clients/test_stacks.py", {}),
    "DDP": ("torch", "tests/distributed/test_ddp.py", {}),
    "ZeRO": ("torch", "tests/distributed/test_ddp.py", dict.fromkeys(NEEDS_CLOSURE, UNLIKE)),
    "FSDP2": ("torch", "tests/distributed/test_sharded.py", dict.fromkeys(EVALUATES, CUT)),
    "DCP": ("torch", "tests/distributed/test_checkpoint.py", dict.fromkeys(EVALUATES, CUT)),
}


def refused(client: str) -> dict[str, str]:
    """The recipes that a client can't train, with a part of the error that says so."""
    return CLIENTS[client][2]


def works(client: str) -> list[str]:
    """The recipes that a client trains."""
    return [recipe for recipe in RECIPES if recipe not in refused(client)]


NOTES = {
    NO_CLOSURE: "The client calls `step()` without a closure (a GradScaler allows none), so the optimizer can't "
    "evaluate the loss.",
    CUT: "Each process has a part of every parameter, but these optimizers evaluate the loss at moved parameters, or "
    "differentiate twice, which FSDP2 does not support. Under DDP they work.",
    UNLIKE: "Each process has only some of the parameters, and would move only those. Under DDP they work.",
}
PAGE = """\
# Compatibility

*yes*: trains, and resuming from the client's own checkpoint gives the same run as without interruption; under DDP,
ZeRO and FSDP2 the same as one process with the joint batch. *no*: refused with one error that says why. Each cell is
a test; `make compatibility` generates this page from the table that the tests use.

{table}

{reasons}

With {packages}.

- Lightning: `ezo`, `ezo_adam` and `eadahessian` need manual optimization, with a closure that returns the loss.
- DDP: the same three need the module itself instead of its wrapper, and average the loss themselves.
- ZeRO: it passes bare tensors in a single group, which holds `lr` and `other_lr` if the pipeline has routes.
  Schedulers see only `lr`; the other routes' rates change in proportion to its first value, `nominal_lr`.
- FSDP2: also with replicas (HSDP), and with tensor parallelism except for matrix updates. See [scale.md](scale.md).
- FSDP1 (`FullyShardedDataParallel`): element-wise pipelines work; layer norms and matrices are refused.

| client | tests |
|---|---|
{tests}
"""


def page() -> str:
    """docs/compatibility.md."""
    reasons = list(dict.fromkeys(reason for _, _, no in CLIENTS.values() for reason in no.values()))

    def cell(recipe: str, no: dict[str, str]) -> str:
        return f"no [{reasons.index(no[recipe]) + 1}]" if recipe in no else "yes"

    head = ["recipe", *CLIENTS]
    rows = [[f"`{recipe}`", *(cell(recipe, no) for _, _, no in CLIENTS.values())] for recipe in RECIPES]
    packages = dict.fromkeys(package for package, _, _ in CLIENTS.values())
    return PAGE.format(
        table="\n".join(f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *rows]),
        reasons="\n".join(f"{number}. `{reason}`: {NOTES[reason]}" for number, reason in enumerate(reasons, start=1)),
        packages=", ".join(f"{package} {version(package).partition('+')[0]}" for package in packages),
        tests="\n".join(f"| {client} | `{tests}` |" for client, (_, tests, _) in CLIENTS.items()),
    )


if __name__ == "__main__":
    DOC.write_text(page())
