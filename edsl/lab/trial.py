"""One optimizer on one task with one seed."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from functools import partial
from statistics import median
from typing import Any

import torch
from torch import Tensor

from edsl.as_json import as_json
from edsl.errors import EdslError
from edsl.exclusion import names_in_module
from edsl.lab.closure import closure_for
from edsl.lab.task import Split, Task
from edsl.optimizer import PipelineOptimizer, compile
from edsl.pipeline import Pipeline
from edsl.spec import parse

STATUSES = ("ok", "diverged", "failed")
CURVE_POINTS = 100  # of the training loss, kept with the result


@dataclass(frozen=True)
class Setting:
    """What all trials of a race share.

    Attributes:
        steps: optimizer steps; `batch` examples each (an accumulation takes as many for each of its
            micro-batches), drawn without replacement within an epoch, the incomplete rest of which is
            dropped.
        device: a torch device such as "cpu" or "cuda".
        threads: of the CPU; their number changes the order of sums, and so the last bits.
        monitor: "regret" to watch the condition of Theorem 2 that shows only while training, or "".
    """

    task: str
    model: str
    batch: int
    steps: int
    device: str
    threads: int
    monitor: str = ""


@dataclass(frozen=True)
class Trial:
    """What one trial gave. Losses and accuracies are of the final weights, on whole splits.

    Of an optimizer that averages weights to evaluate with, they are of these.

    Attributes:
        status: "ok"; "diverged" (a loss that isn't finite, or a final training loss above the
            initial one); "failed" (the optimizer raised, see `reason`).
        step_ms: median milliseconds of a training step after the first, of which `optimizer_ms` are
            the optimizer's. first_step_s: seconds of the first step, compilation included.
        state_bytes: bytes of optimizer state per parameter, measured.
        curve: (step, loss of its batch) along the way.
        regret: what the regret monitor saw, or None without it.
    """

    spec: str
    seed: int
    status: str
    reason: str
    start_loss: float
    train_loss: float
    validation_loss: float
    test_loss: float
    validation_accuracy: float | None
    test_accuracy: float | None
    steps: int
    step_ms: float
    optimizer_ms: float
    first_step_s: float
    state_bytes: float
    curve: tuple[tuple[int, float], ...]
    regret: dict[str, float] | None

    def record(self) -> dict[str, Any]:
        """As JSON, where numbers that aren't finite are null."""
        return as_json(asdict(self))


class Clock:
    """Seconds of whole steps, and of the part outside the closure: the optimizer's."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.whole: list[float] = []
        self.optimizer: list[float] = []

    def now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()

    def step(self, optimizer: Any, closures: list[Callable[[], Tensor]]) -> float:
        """One step, of as many calls as closures, timed; the loss before it."""
        inside = 0.0
        losses: list[float] = []

        def timed(closure: Callable[[], Tensor]) -> Tensor:
            nonlocal inside
            began = self.now()
            loss = closure()
            losses.append(loss.item())
            inside += self.now() - began
            return loss

        began = self.now()
        for closure in closures:
            optimizer.step(partial(timed, closure))
        whole = self.now() - began
        self.whole.append(whole)
        self.optimizer.append(whole - inside)
        return losses[0]

    def median_ms(self, seconds: list[float]) -> float:
        later = seconds[1:] or seconds
        return 1e3 * median(later) if later else math.nan


def run_trial(task: Task, setting: Setting, spec: str, seed: int, tick: Callable[[int], None] | None = None) -> Trial:
    """Train once; the same seed gives every optimizer the same initial weights and batches.

    Args:
        tick: called with the number of each finished step.

    Raises:
        EdslError: for a bad spec. Whatever else an optimizer raises is reported as "failed".
    """
    device = torch.device(setting.device)
    torch.set_num_threads(setting.threads)
    data = type(task.data())(*(Split(*(part.to(device) for part in split)) for split in task.data()))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = task.model(setting.model)[1]().to(device)
    pipeline = parse(spec)
    try:
        optimizer = compile(pipeline, fair_groups(pipeline, model))
    except EdslError:
        raise
    except Exception as error:  # it refuses these parameters: reported as any other failure
        return _refused(spec, seed, error)
    clock = Clock(device)
    monitor = _monitor(setting.monitor, optimizer)
    start, _ = evaluate(task, model, data.train)
    status, reason = "ok", ""
    losses: list[tuple[int, float]] = []
    rows = batches(len(data.train.inputs), setting.batch, seed)
    for step in range(1, setting.steps + 1):
        chosen = [next(rows).to(device) for _ in range(pipeline.estimator.calls)]
        try:
            loss = clock.step(
                optimizer, [_closure(task, model, optimizer, pipeline, data.train, part) for part in chosen]
            )
        except EdslError:
            raise
        except Exception as error:  # another package's optimizer may raise anything; the race goes on
            status, reason = "failed", _first_line(error)
            break
        losses.append((step, loss))
        if not math.isfinite(loss):
            status, reason = "diverged", f"the loss was {loss} at step {step}"
            break
        if tick is not None:
            tick(step)
    with optimizer.evaluation_weights() if isinstance(optimizer, PipelineOptimizer) else nullcontext():
        train, _ = evaluate(task, model, data.train)
        validation, validation_accuracy = evaluate(task, model, data.validation)
        test, test_accuracy = evaluate(task, model, data.test)
    if status == "ok" and not train <= start:
        status, reason = "diverged", f"the training loss went from {start:.4g} to {train:.4g}"
    return Trial(
        spec=spec,
        seed=seed,
        status=status,
        reason=reason,
        start_loss=start,
        train_loss=train,
        validation_loss=validation,
        test_loss=test,
        validation_accuracy=validation_accuracy,
        test_accuracy=test_accuracy,
        steps=len(losses),
        step_ms=clock.median_ms(clock.whole),
        optimizer_ms=clock.median_ms(clock.optimizer),
        first_step_s=clock.whole[0] if clock.whole else math.nan,
        state_bytes=state_bytes(optimizer) / sum(parameter.numel() for parameter in model.parameters()),
        curve=tuple(losses[:: max(1, len(losses) // CURVE_POINTS)]),
        regret=None if monitor is None else asdict(monitor.report()),
    )


def check_fit(pipeline: Pipeline, model: Any) -> None:
    """Raises EdslError when a pipeline can't take a model's parameters, such as muon a bias."""
    if not pipeline.update.moves_weights:
        compile(pipeline, model, mode="eager")


def fair_groups(pipeline: Pipeline, model: Any) -> Any:
    """The parameters, such that no optimizer decays what another leaves out.

    edsl's own leave biases and norms out of weight decay; another package's gets them in a group
    of their own, without decay, where it has any.
    """
    from edsl.adapters.foreign import Foreign

    update = pipeline.update
    if not isinstance(update, Foreign):
        return model
    spared = set(names_in_module(model, None))
    named = dict(model.named_parameters())
    if "weight_decay" not in update.defaults() or not spared or len(spared) == len(named):
        return list(named.values())
    return [
        {"params": [parameter for name, parameter in named.items() if name not in spared]},
        {"params": [parameter for name, parameter in named.items() if name in spared], "weight_decay": 0.0},
    ]


def _refused(spec: str, seed: int, error: Exception) -> Trial:
    nan = math.nan
    return Trial(
        spec, seed, "failed", _first_line(error), nan, nan, nan, nan, None, None, 0, nan, nan, nan, nan, (), None
    )


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"


def _monitor(name: str, optimizer: Any) -> Any:
    if name != "regret":
        return None
    from edsl.theory.monitor import RegretMonitor

    try:
        return RegretMonitor(optimizer)
    except EdslError:  # not an update that the theorem is about
        return None


def _closure(
    task: Task, model: Any, optimizer: Any, pipeline: Pipeline, train: Split, rows: Tensor
) -> Callable[[], Tensor]:
    return closure_for(pipeline, optimizer, lambda: task.loss(model(train.inputs[rows]), train.targets[rows]))


def batches(examples: int, batch: int, seed: int) -> Iterator[Tensor]:
    """Row numbers of one batch after the other, shuffled anew each epoch."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        order = torch.randperm(examples, generator=generator)
        yield from order.split(batch)[: examples // batch]


@torch.no_grad()
def evaluate(task: Task, model: Any, split: Split) -> tuple[float, float | None]:
    """Loss and accuracy over a whole split, in evaluation mode."""
    model.eval()
    outputs = model(split.inputs)
    model.train()
    loss = task.loss(outputs, split.targets).item()
    return loss, None if task.accuracy is None else task.accuracy(outputs, split.targets)


def state_bytes(optimizer: Any) -> int:
    """Bytes of all tensors in an optimizer's state, step counts left out."""

    def size(value: Any) -> int:
        if isinstance(value, Tensor):
            return value.numel() * value.element_size()
        return sum(size(part) for key, part in value.items() if key != "step") if isinstance(value, dict) else 0

    return size(dict(optimizer.state))
