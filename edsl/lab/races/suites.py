"""Suites: several tasks with budgets and targets, raced by the same optimizers for one score."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edsl.errors import EdslError, either, nearest, shown

SUITE = "suite.json"
SCALING = {"linear": 1.0, "sqrt": 0.5, "tuned": 0.0}  # rule: the power of the batch that learning rates follow


@dataclass(frozen=True)
class Workload:
    """One task of a suite; what is None is the task's own.

    Attributes:
        target: of the metric on the validation split; by default the value that all of the baseline's trials reach.
        folder: of its race, within the suite's.
    """

    task: str
    model: str | None = None
    batch: int | None = None
    steps: int | None = None
    target: float | None = None
    folder: str = ""


@dataclass(frozen=True)
class Suite:
    """A named set of tasks.

    Attributes:
        budget: further settings of its races, as `edsl.lab.races.build.race` takes them.
        targets: of one task at several batches, as `--targets` has them: "20%,40%".
        scale_lr: of one task at several batches, how learning rates follow the batch: one of SCALING, "" for not.
    """

    name: str
    about: str
    workloads: tuple[Workload, ...]
    budget: tuple[tuple[str, Any], ...] = ()
    targets: str = ""
    scale_lr: str = ""

    @property
    def by_batch(self) -> bool:
        """Whether it is one task at several batches, which makes no score."""
        return not self.name and len({one.task for one in self.workloads}) < len(self.workloads)

    def rate_factor(self, workload: Workload) -> float:
        """What the specs' learning rates, which are meant for the first batch, are times at a workload's."""
        first = self.workloads[0].batch
        ratio = workload.batch / first if workload.batch and first else 1.0
        return ratio ** SCALING.get(self.scale_lr, 0.0)


SMALL = Suite(
    "small",
    "six tasks for a CPU: images, tables, curves, a regression, text, a convex problem",
    (
        Workload("digits", "cnn", 64, 200, 0.97),
        Workload("cancer", "mlp", 64, 100, 0.96),
        Workload("mnist1d", "mlp", 256, 300, 0.55),
        Workload("sine", "mlp", 256, 400, 0.15),
        Workload("bytes", "tiny", 16, 150, 2.95),
        Workload("logistic", "linear", 64, 200, 0.8),
    ),
    (("lr", "auto"), ("trials", 6), ("tune_seeds", 1), ("seeds", 5), ("schedule", "warmup-cosine")),
)
MEDIUM = Suite(
    "medium",
    "three tasks for a GPU: CIFAR-10 and CIFAR-100 by a ResNet-20, bytes by a GPT of 10M",
    (
        Workload("cifar10", "resnet20", 512, 8000, 0.88),
        Workload("cifar100", "resnet20", 512, 8000, 0.58),
        Workload("bytes", "large", 64, 4000, 1.35),
    ),
    (("lr", "auto"), ("trials", 8), ("tune_seeds", 1), ("seeds", 5), ("schedule", "warmup-cosine")),
)
LIGHTBENCH = Suite(
    "lightbench",
    "ten problems of the package lightbench, where it is installed, for a CPU",
    tuple(
        Workload(f"lightbench:{problem}")
        for problem in (
            "beale",
            "rosenbrock",
            "rastrigin",
            "saddle_point:easy",
            "plateau_navigation:easy",
            "ill_conditioned:easy",
            "quadratic_varying_scale:easy",
            "gradient_delay:easy",
            "sparse_gradient:easy",
            "xor_sequence:trivial",
        )
    ),
    (("lr", "auto"), ("trials", 8), ("tune_seeds", 1), ("seeds", 5)),
)
SUITES = {suite.name: suite for suite in (SMALL, MEDIUM, LIGHTBENCH)}


def suite_named(name: str) -> Suite:
    """The suite of this name; raises EdslError for an unknown one."""
    if name not in SUITES:
        raise EdslError(f"unknown suite {shown(name)}; {nearest(name, SUITES, 'suites')}")
    return SUITES[name]


def suite_of(tasks: str) -> Suite:
    """The suite of tasks that are written with commas, such as "digits,mnist1d", each with its own budget.

    Raises:
        EdslError: for a task that is given twice, or none between two commas.
    """
    names = [name.strip() for name in tasks.split(",")]
    if not all(names):
        raise EdslError(f"--task {tasks}: a task is missing between commas; write TASK,TASK,…")
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise EdslError(f"--task {tasks}: {twice} is given twice; give each task once")
    return Suite("", "", tuple(Workload(name) for name in names))


def read_batches(text: str | None) -> tuple[int, ...]:
    """Batches from "128,1024,8192", from the smallest to the largest; nothing for None.

    Raises:
        EdslError: for what is no whole number of examples, or one that is given twice.
    """
    found: list[int] = []
    for part in [] if text is None else text.split(","):
        if not part.strip().isdecimal():
            raise EdslError(f"--batch takes whole numbers of examples, such as 128 or 128,1024,8192, got {shown(text)}")
        if int(part) in found:
            raise EdslError(f"--batch {text}: {part.strip()} is given twice; give each batch once")
        found.append(int(part))
    return tuple(sorted(found))


def suite_by_batch(task: str, batches: Sequence[int], targets: str | None, rule: str | None) -> Suite:
    """One task at several batches.

    Args:
        targets: as `--targets` has them. rule: how learning rates follow the batch, one of SCALING; None for not.

    Raises:
        EdslError: for an unknown rule.
    """
    if rule is not None and rule not in SCALING:
        raise EdslError(f"--scale-lr must be {either(SCALING)}, got {shown(rule)}")
    workloads = tuple(Workload(task, batch=batch, folder=f"batch-{batch}") for batch in batches)
    return Suite("", "", workloads, targets=targets or "", scale_lr=rule or "")


def record_suite(folder: Path, suite: Suite, resume: bool) -> None:
    """Write which races a folder holds, or see that it holds these.

    Raises:
        EdslError: where it can't be written, holds another suite, or holds this one and `resume` is not said.
    """
    place = folder / SUITE
    held: dict[str, Any] = {"name": suite.name, "workloads": [asdict(one) for one in suite.workloads]}
    if suite.by_batch:
        held |= {"targets": suite.targets, "scale_lr": suite.scale_lr}
    text = json.dumps(held, indent=2) + "\n"
    if place.exists():
        if place.read_text() != text:
            raise EdslError(f"{folder} holds another suite; choose another --out")
        if not resume:
            raise EdslError(f"{folder} holds this suite already; continue it with --resume, or choose another --out")
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
    except OSError as reason:
        raise EdslError(f"can't write results to {folder}: {reason.strerror or reason}") from None


def suite_in(folder: Path) -> Suite | None:
    """The suite that a folder holds, or None; raises EdslError for a damaged record."""
    place = folder / SUITE
    if not place.exists():
        return None
    try:
        held = json.loads(place.read_text())
        workloads = tuple(Workload(**one) for one in held["workloads"])
        how = {name: held.get(name, "") for name in ("targets", "scale_lr")}
        return Suite(held["name"], "", workloads, **how)
    except (OSError, ValueError, KeyError, TypeError):
        raise EdslError(f"{place} is damaged: restore it, or run the suite again in another folder") from None


def folder_names(names: Sequence[str]) -> list[str]:
    """A folder's name for each task: its own, with a number where two are alike."""
    plain = [name.replace("/", "-").replace(":", "-") for name in names]
    return [name if plain.index(name) == place else f"{name}-{place + 1}" for place, name in enumerate(plain)]
