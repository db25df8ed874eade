"""A few steps of each kind of stage beside an independent reference: whether they are right, and by which path."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

import edsl
from edsl.errors import first_line
from edsl.lab.doctor.findings import Problem, StepCheck
from edsl.lab.doctor.references import Reference, Weights, alto, averaged_sgd, sharpness_aware, torchs

STEPS = 10
SHAPES = ((48, 32), (32,), (16, 48), (7,))
MATRICES = ((48, 32), (16, 48))


@dataclass(frozen=True)
class Trial:
    """A pipeline that stands for a kind of stage, and what steps as it does.

    Attributes:
        kind: of stages.
        by: the reference's name.
        tolerance: the largest |a − b| / max(1, |b|) that rounding explains.
        evaluates: its gradient is that of Σ (θ − t)²/2, by a closure.
    """

    kind: str
    spec: str
    by: str
    reference: Reference
    dtype: torch.dtype = torch.float32
    tolerance: float = 1e-5
    shapes: Sequence[tuple[int, ...]] = SHAPES
    evaluates: bool = False


def _trials() -> list[Trial]:
    """Made when they run: a torch that lacks an optimizer fails where that is seen."""
    adamw = torchs("AdamW", lr=0.01, weight_decay=0.1)
    muon = "muon(lr=0.02, polynomials='jordan', precision='bfloat16')"
    return [
        Trial("element by element", "adamw(lr=0.01, weight_decay=0.1)", "torch AdamW", adamw),
        Trial(
            *("in float64", "adamw(lr=0.01, weight_decay=0.1)", "torch AdamW", adamw),
            dtype=torch.float64,
            tolerance=1e-12,
        ),
        Trial("E, norms of layers", "alto(lr=0.01)", "a loop", alto, tolerance=1e-4),
        Trial(
            *("norms of all layers", "grad | clip(norm=1) | sgd(lr=0.1, momentum=0.9)", "torch SGD, clipped"),
            torchs("SGD", clip=1.0, lr=0.1, momentum=0.9),
        ),
        Trial("a rule as text", "radam(lr=0.01, threshold=5)", "torch RAdam", torchs("RAdam", lr=0.01), tolerance=1e-4),
        Trial(
            *("matrices", muon, "torch Muon", torchs("Muon", lr=0.02, weight_decay=0.0)),
            tolerance=2e-3,
            shapes=MATRICES,  # products in bfloat16, in another order on another processor
        ),
        Trial("wrappers", "sgd(lr=0.1) | ema_weights(decay=0.9)", "a loop", averaged_sgd),
        Trial("estimators", "sam(rho=0.05) | sgd(lr=0.1)", "a loop", sharpness_aware, evaluates=True),
    ]


def step_checks() -> Iterator[StepCheck]:
    """One after another, on the CPU and on a GPU if there is one."""
    for device in ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]:
        yield from (_checked(trial, device) for trial in _trials())


def problems_of(checks: Sequence[StepCheck]) -> Iterator[Problem]:
    """What is wrong in them."""
    for one in checks:
        where = f"{one.spec} on {one.device} in {one.dtype}"
        if one.error:
            yield Problem(f"{where} can't step: {one.error}", "report this as a bug", fails=True)
        elif not one.is_right:
            what = f"{where} is {one.difference:.2g} from {one.reference}, above {one.tolerance:g}"
            advice = "empty edsl's cache of code and run this again; if it stays, report it as a bug"
            yield Problem(what, advice, fails=True)


def _checked(trial: Trial, device: str) -> StepCheck:
    begun = time.perf_counter()
    difference, error, paths = None, "", []
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what it would warn of, such as a cache, is said elsewhere
            difference, optimizer = _compared(trial, device)
        paths = list(dict.fromkeys(path for found in optimizer.paths().values() for path in found))
    except Exception as reason:  # of whatever is broken here
        error = first_line(reason, 300)
    return StepCheck(
        trial.kind,
        trial.spec,
        device,
        str(trial.dtype).removeprefix("torch."),
        trial.by,
        ", ".join(dict.fromkeys(path.taken for path in paths)),
        "; ".join(dict.fromkeys(path.reason for path in paths if path.reason and "BLAS" not in path.taken)),
        difference,
        trial.tolerance,
        time.perf_counter() - begun,
        error,
    )


def _compared(trial: Trial, device: str) -> tuple[float, Any]:
    """The largest difference between the steps of a pipeline and of its reference, and the optimizer."""
    generator = torch.Generator().manual_seed(0)

    def drawn() -> list[Tensor]:
        return [torch.randn(shape, generator=generator, dtype=torch.float64).to(trial.dtype) for shape in trial.shapes]

    start, rows = drawn(), [drawn() for _ in range(STEPS)]
    parameters = [torch.nn.Parameter(tensor.to(device)) for tensor in start]
    optimizer: Any = edsl.compile(trial.spec, parameters)
    worst = 0.0
    for row, expected in zip(rows, trial.reference(start, rows)):
        _take_step(trial, optimizer, parameters, [tensor.to(device) for tensor in row])
        with optimizer.evaluation_weights():
            found = [parameter.detach().double().cpu() for parameter in parameters]
        worst = max(worst, *map(_apart, found, expected))
    return worst, optimizer


def _take_step(trial: Trial, optimizer: Any, parameters: Sequence[Tensor], row: Weights) -> None:
    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = torch.stack([(p - target).square().sum() / 2 for p, target in zip(parameters, row)]).sum()
        loss.backward()
        return loss

    if trial.evaluates:
        optimizer.step(closure)
        return
    for parameter, gradient in zip(parameters, row):
        parameter.grad = gradient
    optimizer.step()


def _apart(found: Tensor, expected: Tensor) -> float:
    """The largest difference in units of max(1, |expected|); infinite where one is no number."""
    apart = (found - expected.double()).abs() / expected.double().abs().clamp(min=1)
    return float(apart.nan_to_num(nan=float("inf")).max())
