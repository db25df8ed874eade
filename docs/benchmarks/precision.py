"""Trains with state and weights of fewer bytes, paired by seed, and writes ../precision.md.

    python docs/benchmarks/precision.py [--tasks digits,bytes] [--model large] [--steps 300] [--seeds 10] [--threads 2]

Each finished training is a line of precision.jsonl beside this file (or in --kept): a run that is cut off goes on where
it was. What this version of edsl can't do yet is named on the page. A training of digits takes 1 s of a core; a step of
bytes takes 3.2 s of a core with the large model (10M parameters), .5 s with the small one (1M).
"""

from __future__ import annotations

import argparse
import json
import math
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from itertools import islice
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from write import described, markdown  # the same folder's

import edsl
from edsl.errors import EdslError
from edsl.lab.data.seeded import seeded
from edsl.lab.results.statistics import ConfidenceInterval, paired
from edsl.lab.tasks.catalogue import task as task_of
from edsl.lab.trials.evaluation import evaluate
from edsl.lab.trials.training import batches
from edsl.optim.state import state_bytes

HERE = Path(__file__).resolve().parent
PAGE = """\
# Precision

Written by `python docs/benchmarks/precision.py` on {day}. Each row trains the same seeds as float32 state on float32
weights does, with the same initial weights and batches. *Difference* is the mean over up to {seeds} seeds of the
validation loss less that of float32, with its 95 % interval (Student's t, paired), in per cent of float32's mean loss.
Weights in bfloat16 are computed with in float32, so that nothing differs but how they are kept; their gradients are
rounded to bfloat16. The placebo is float32 with lr · (1 + 10⁻⁵): what rounding alone does to a training is as wide as
its interval.

*Shown* says whether these seeds show what a default has to show: on digits an interval that overlaps the placebo's and
is at most {wider} times as wide, on bytes one within ±{most} %. "no" means that they don't, not that the form is worse.
State is float32 unless asked otherwise, as no smaller form has "yes" in all of its rows. Weights in half precision are
rounded stochastically unless asked otherwise: to the nearest they lose what the rows of digits show, and the other
forms hold 2 B more a parameter.

{machine}

{tables}

{absent}
"""
SPECS = {
    "digits": ("alto(lr=0.01)", "eadamw(lr=0.001)", "emuon(lr=0.02, other_lr=0.001)"),
    "bytes": ("alto(lr=0.01)", "eadamw(lr=0.001)", "emuon(lr=0.02, other_lr=0.001)"),
}
BATCH = {"digits": 128, "bytes": 32}
RATES = ("lr", "other_lr")
WIDER, MOST = 1.3, 1.0  # times a placebo's interval; % of the loss


@dataclass(frozen=True)
class Form:
    """How state and weights are kept.

    Attributes:
        weights: their dtype.
        options: of `edsl.compile`.
        nudge: what every learning rate is multiplied by.
    """

    name: str
    weights: str = "float32"
    options: dict[str, Any] = field(default_factory=dict)
    nudge: float = 1.0


REFERENCE = Form("float32")
PLACEBO = Form("placebo", nudge=1 + 1e-5)
FORMS = (
    REFERENCE,
    PLACEBO,
    *(Form(f"{kept} state", options={"state_dtype": kept}) for kept in ("bfloat16", "int8", "float8_e4m3fn", "int4")),
    *(Form(f"{one} weights", "bfloat16", {"weights": one}) for one in ("nearest", "stochastic", "kahan", "split")),
    Form("split weights, int8 state", "bfloat16", {"weights": "split", "state_dtype": "int8"}),
)


class ComputedInFloat32(nn.Module):
    """A model whose parameters may be kept in half precision, and are computed with in float32."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: Tensor) -> Any:
        return functional_call(self.model, {name: p.float() for name, p in self.model.named_parameters()}, (inputs,))


def train(name: str, model: str | None, steps: int, spec: str, form: Form, seed: int) -> dict[str, float]:
    """One training: the validation loss at its end, bytes of state a parameter, seconds."""
    began = time.monotonic()
    task = task_of(name)
    with seeded(seed):
        kept = task.model(model)[1]().to(getattr(torch, form.weights))
    network = ComputedInFloat32(kept)
    optimizer = edsl.compile(spec, kept, **form.options)
    for group in optimizer.param_groups:
        group.update({key: group[key] * form.nudge for key in RATES if key in group})
    data = task.data()
    for rows in islice(batches(len(data.train.inputs), BATCH[name], seed), steps):
        optimizer.zero_grad()
        task.loss(network(data.train.inputs[rows]), data.train.targets[rows]).backward()
        optimizer.step()
    loss, _ = evaluate(task, network, data.validation)
    size = state_bytes(optimizer) / sum(p.numel() for p in kept.parameters())
    return {"loss": loss, "bytes": size, "seconds": time.monotonic() - began}


@dataclass(frozen=True)
class Sizes:
    """What is trained."""

    tasks: tuple[str, ...]
    model: str
    steps: int
    seeds: int
    forms: tuple[str, ...] = ("",)  # those are trained that have one of these in their names, and float32

    def of(self, task: str) -> tuple[str | None, int]:
        """A task's model and steps."""
        return (self.model, self.steps) if task == "bytes" else (None, 300)

    def trainings(self) -> Iterator[tuple[str, str, Form, int]]:
        """Seed by seed, so that a run that is cut off has pairs."""
        for task in self.tasks:
            for seed in range(self.seeds):
                for spec in SPECS[task]:
                    for form in FORMS:
                        if form is REFERENCE or any(part in form.name for part in self.forms):
                            yield task, spec, form, seed


def key_of(sizes: Sizes, task: str, spec: str, form: Form, seed: int) -> str:
    """By which a finished training is known again."""
    return json.dumps([task, *sizes.of(task), spec, form.name, seed])


def run(sizes: Sizes, kept: Path, most: float = math.inf) -> tuple[dict[str, dict[str, float]], dict[str, str]]:
    """All trainings that there is time for, those of an earlier run taken from where they are kept.

    Args:
        most: seconds.

    Returns:
        What each found, by its key, and why forms were refused, by their names.
    """
    lines = kept.read_text(encoding="utf-8").splitlines() if kept.exists() else []
    done = {one["key"]: one for one in map(json.loads, lines)}
    refused: dict[str, str] = {}
    began = time.monotonic()
    for task, spec, form, seed in sizes.trainings():
        key = key_of(sizes, task, spec, form, seed)
        if key in done or form.name in refused or time.monotonic() - began > most:
            continue
        try:
            found = train(task, *sizes.of(task), spec, form, seed)
        except EdslError as reason:
            refused[form.name] = str(reason).splitlines()[0]
            continue
        done[key] = {"key": key, **found}
        with kept.open("a", encoding="utf-8") as file:
            file.write(json.dumps(done[key]) + "\n")
    return done, refused


def page(sizes: Sizes, done: dict[str, dict[str, float]], refused: dict[str, str]) -> str:
    """The page of what was found."""
    tables = "\n\n".join(_table(sizes, task, done) for task in sizes.tasks)
    said = "\n".join(f"- {name}: {why}" for name, why in refused.items())
    machine = markdown(["machine", ""], [[*row] for row in {**described(), "torch": torch.__version__}.items()], left=2)
    absent = f"Not trained:\n\n{said}" if said else ""
    filled = PAGE.format(
        day=date.today(), seeds=sizes.seeds, machine=machine, tables=tables, absent=absent, wider=WIDER, most=MOST
    )
    return filled.rstrip() + "\n"


def _table(sizes: Sizes, task: str, done: dict[str, dict[str, float]]) -> str:
    model, steps = sizes.of(task)
    head = f"## {task}\n\n{model or 'mlp'}, batches of {BATCH[task]}, {steps} steps."
    rows = [row for spec in SPECS[task] for form in FORMS if (row := _row(sizes, task, spec, form, done))]
    titles = ["optimizer", "kept as", "seeds", "state B/param", "loss", "difference %", "95 % interval", "shown"]
    return f"{head}\n\n{markdown(titles, rows, left=2)}"


def _row(sizes: Sizes, task: str, spec: str, form: Form, done: dict[str, dict[str, float]]) -> list[str] | None:
    """A form's losses beside those of float32 with the same seeds."""
    pairs = _pairs(sizes, task, spec, form, done)
    if not pairs:
        return None
    losses = [own["loss"] for own, _ in pairs]
    row = [f"`{spec}`", form.name, str(len(pairs)), f"{pairs[0][0]['bytes']:.2f}", f"{mean(losses):.4f}"]
    if form is REFERENCE:
        return [*row, "–", "–", "–"]
    if not all(map(math.isfinite, losses)):
        return [*row, "diverged", "–", "no"]
    found = _difference(pairs)
    if found.low is None or found.high is None:
        return [*row, f"{found.mean:+.3f}", "–", "–"]
    placebo = _pairs(sizes, task, spec, PLACEBO, done)
    shown = "–" if form is PLACEBO or not placebo else "yes" if _is_shown(task, found, _difference(placebo)) else "no"
    return [*row, f"{found.mean:+.3f}", f"{found.low:+.3f} to {found.high:+.3f}", shown]


def _pairs(
    sizes: Sizes, task: str, spec: str, form: Form, done: dict[str, dict[str, float]]
) -> list[tuple[dict[str, float], dict[str, float]]]:
    """What a form and float32 found with each seed that both were trained with."""
    return [
        (done[own], done[theirs])
        for seed in range(sizes.seeds)
        if (own := key_of(sizes, task, spec, form, seed)) in done
        and (theirs := key_of(sizes, task, spec, REFERENCE, seed)) in done
    ]


def _difference(pairs: list[tuple[dict[str, float], dict[str, float]]]) -> ConfidenceInterval:
    """In per cent of float32's mean loss."""
    base = mean(theirs["loss"] for _, theirs in pairs)
    return paired([100 * (own["loss"] - theirs["loss"]) / base for own, theirs in pairs])


def _is_shown(task: str, found: ConfidenceInterval, placebo: ConfidenceInterval) -> bool:
    """Whether an interval is what a default needs."""
    if found.low is None or found.high is None or placebo.low is None or placebo.high is None:
        return False
    if task == "bytes":
        return found.low > -MOST and found.high < MOST
    overlaps = found.low <= placebo.high and placebo.low <= found.high
    return overlaps and found.high - found.low <= WIDER * (placebo.high - placebo.low)


def main(words: Sequence[str] | None = None) -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--tasks", default="digits,bytes", help="digits, bytes or both")
    options.add_argument("--model", default="large", help="of bytes: tiny, small, large (10M parameters)")
    options.add_argument("--steps", type=int, default=300, help="of bytes")
    options.add_argument("--seeds", type=int, default=10)
    options.add_argument("--forms", default="", help="parts of names, such as placebo,int8: what else than float32")
    options.add_argument("--threads", type=int, default=2)
    options.add_argument("--minutes", type=float, default=math.inf, help="when no further training begins")
    options.add_argument("--kept", type=Path, default=HERE / "precision.jsonl", help="file of finished trainings")
    options.add_argument("--out", type=Path, default=HERE.parent, help="folder of precision.md")
    asked = options.parse_args(words)
    tasks = tuple(asked.tasks.split(","))
    if not set(tasks) <= set(SPECS) or min(asked.steps, asked.seeds, asked.threads) < 1:
        options.error("--tasks takes digits and bytes; --steps, --seeds and --threads must be at least 1")
    torch.set_num_threads(asked.threads)
    sizes = Sizes(tasks, asked.model, asked.steps, asked.seeds, tuple(asked.forms.split(",")))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that updates round away is what this is about
        done, refused = run(sizes, asked.kept, 60 * asked.minutes)
    (asked.out / "precision.md").write_text(page(sizes, done, refused), encoding="utf-8")


if __name__ == "__main__":
    main()
