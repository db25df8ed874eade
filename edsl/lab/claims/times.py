"""Seconds to 20, 40 and 60 %: ALTO beside Lamb at a large batch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edsl.lab.claims.claim import Claim
from edsl.lab.claims.raced import raced, row_of
from edsl.lab.races.build import race
from edsl.lab.results.result_tables import figure_text
from edsl.lab.results.results import Results
from edsl.lab.results.scaling import times_text
from edsl.lab.results.statistics import BETTER
from edsl.lab.results.targets import Reached

TARGETS = (0.2, 0.4, 0.6)
ALTO, LAMB, ADAM = "alto(lr=0.01)", "lamb(lr=0.01)", "adam(lr=0.003)"
PAPER = ((137, 196), (334, 409), (608, 865))  # seconds of ALTO and of Lamb to each target


@dataclass(frozen=True)
class Workload:
    """What is trained, and for how long; `quick` for a smoke test."""

    name: str
    task: str
    model: str | None
    batch: int
    budget: dict[str, int]
    seeds: int
    quick: dict[str, Any]
    caveat: str


HERE = Workload(
    "times",
    "mnist1d",
    None,
    2048,
    {"steps": 300},
    6,
    {"batch": 256, "steps": 20},
    "MNIST-1D and an MLP, which comes to 60 % within seconds: the first step's compilation is a share of them.",
)
VGG16 = Workload(
    "times-vgg16",
    "cifar100",
    "vgg16",
    16384,
    {"epochs": 200},
    3,
    {"batch": 8, "steps": 2},
    "Seconds are of this machine, the paper's of its own: their ratios alone can be compared.",
)


def run(out: Path, quick: bool) -> Claim:
    """Race ALTO, Lamb and Adam on MNIST-1D at batch 2048, learning rates tuned."""
    return _run(HERE, out, quick)


def run_vgg16(out: Path, quick: bool) -> Claim:
    """The paper's own: VGG-16 on CIFAR-100 at batch 16,384, for an accelerator; EDSL_DATA may name a local copy."""
    return _run(VGG16, out, quick)


def _run(workload: Workload, out: Path, quick: bool) -> Claim:
    amounts: dict[str, Any] = workload.quick if quick else {"batch": workload.batch, **workload.budget}
    chosen = race(
        workload.task,
        (LAMB, ALTO, ADAM),
        model=workload.model,
        seeds=2 if quick else workload.seeds,
        lr="default" if quick else "auto",
        trials=6,
        tune_seeds=1,
        schedule="warmup-cosine",
        **amounts,
    )
    found, _, drawn = raced(chosen, out / "race", TARGETS)
    pairs = list(zip(row_of(found, ALTO).targets, row_of(found, LAMB).targets))
    fewer = [ours.family_wise == BETTER for ours, _ in pairs]
    sooner = [_sooner(ours, theirs) for ours, theirs in pairs]
    verdict = "reproduced" if all(fewer) and all(sooner) else "partly" if any(fewer) else "not seen"
    said = "; ".join(f"{_percent(ours)} ALTO {times_text(ours)}, Lamb {times_text(theirs)}" for ours, theirs in pairs)
    paper = ", ".join(f"{100 * aim:.0f} % in {a} s to Lamb's {b}" for aim, (a, b) in zip(TARGETS, PAPER))
    commands = " ".join(f"--{name} {value}" for name, value in {"batch": workload.batch, **workload.budget}.items())
    model = f" --model {workload.model}" if workload.model else ""
    return Claim(
        name=workload.name,
        title="Time to 20, 40 and 60 %" + (" of VGG-16" if workload is VGG16 else ""),
        paper=f"At a large batch VGG-16 comes sooner to each accuracy with ALTO than with Lamb: {paper}.",
        ours=f"Steps (seconds), medians: {said}.",
        verdict=verdict,
        rule="Reproduced: ALTO needs fewer steps than Lamb to all three, family-wise among all that the race judges, "
        "and its median seconds are fewer; partly: fewer steps to some",
        table=tuple(_table(found)),
        pictures=tuple(place for place in drawn if place.stem == "curves"),
        commands=f"edsl compare '{LAMB}' '{ALTO}' '{ADAM}' --task {workload.task}{model} {commands} --targets "
        f"20%,40%,60% --lr auto --trials 6 --tune-seeds 1 --schedule warmup-cosine --seeds {workload.seeds} "
        "--no-controls",
        caveat=f"Accuracies are of the validation split, read at 20 points of a trial. {workload.caveat}",
    )


def _sooner(ours: Reached, theirs: Reached) -> bool:
    if ours.seconds is None:
        return False
    return theirs.seconds is None or ours.seconds < theirs.seconds


def _percent(one: Reached) -> str:
    return f"{100 * one.target:.0f} %:"


def _table(found: Results) -> list[dict[str, Any]]:
    return [
        {
            "optimizer": row.name,
            "lr": ", ".join(f"{rate:.3g}" for rate in row.lr.values()),
            **{f"to {100 * one.target:.0f} %": times_text(one) for one in row.targets},
            **{f"steps to {100 * one.target:.0f} % − Lamb's": _difference(one) for one in row.targets},
            "test accuracy, %": figure_text(row.test_accuracy, 100),
        }
        for row in found.rows
    ]


def _difference(one: Reached) -> str:
    if one.difference is None:
        return ""
    ends = one.difference.low, one.difference.high
    between = "" if None in ends else f" [{one.difference.low:+.0f}, {one.difference.high:+.0f}]"
    return f"{one.difference.mean:+.0f}{between}, {one.family_wise}"
