"""One optimizer on one task with one seed."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from functools import partial
from statistics import mean, median
from typing import Any

import torch
from torch import Tensor

from edsl.as_json import as_json
from edsl.errors import EdslError
from edsl.groups.exclusion import names_in_module
from edsl.lab.closure import closure_for
from edsl.lab.tasks.task import Split, Task
from edsl.lab.trials.levels import Looking
from edsl.lab.trials.parallel import Group, over_processes
from edsl.lab.trials.schedule import schedule
from edsl.language.pipeline import Pipeline
from edsl.language.spec import parse
from edsl.optim.optimizer import PipelineOptimizer, compile
from edsl.optim.state import state_bytes

STATUSES = ("ok", "diverged", "failed")
UNITS = ("steps", "evaluations", "seconds")  # of a budget
CURVE_POINTS = 100  # of the training loss, kept with the result
CHECKPOINTS = 20  # evenly over the budget, where the validation split is looked at


@dataclass(frozen=True)
class Setting:
    """What all trials of a race share.

    Attributes:
        batch: examples of a step (an accumulation takes as many for each of its micro-batches), drawn
            without replacement within an epoch, the incomplete rest of which is dropped.
        budget: what a trial may spend, in `unit`: "steps"; "evaluations" of the loss, with or without
            its derivative, as the estimator needs; or "seconds" of training, without the looks at
            the other splits.
        schedule: the factor on every learning rate over the budget, see `edsl.lab.trials.schedule`.
        device: a torch device such as "cpu" or "cuda".
        threads: of the CPU; their number changes the order of sums, and so the last bits.
        monitor: "regret" to watch the condition of Theorem 2 that shows only while training, or "".
        measures: names of `edsl.lab.measures.catalogue`, measured at the checkpoints.
        levels: training losses at which sharpness and drift are looked at, see `edsl.lab.trials.levels`.
    """

    task: str
    model: str
    batch: int
    budget: float
    device: str
    threads: int
    monitor: str = ""
    unit: str = "steps"
    schedule: str = "constant"
    measures: tuple[str, ...] = ()
    levels: tuple[float, ...] = ()


@dataclass(frozen=True)
class Trial:
    """What one trial gave. Losses and accuracies are of the final weights, on whole splits.

    Of an optimizer that averages weights to evaluate with, they are of these.

    Attributes:
        status: "ok"; "diverged" (a loss that isn't finite, or a final training loss above the
            initial one); "failed" (the optimizer raised, see `reason`).
        steps, evaluations, seconds: what was spent.
        step_ms: median milliseconds of a training step after the first, of which `optimizer_ms` are
            the optimizer's. first_step_s: seconds of the first step, compilation included.
        state_bytes: bytes of optimizer state per parameter, measured.
        curve: (step, loss of its batch) along the way.
        checkpoints: what was spent and what the validation split said then.
        measured: what the measures said, by step.
        regret: what the regret monitor saw, or None without it.
        looks: at each of the setting's levels that was reached and at the end, as `edsl.lab.trials.levels.Look`.
        test_examples: how many examples the test accuracy counts; 0 where it is no count of them.
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
    evaluations: int
    seconds: float
    step_ms: float
    optimizer_ms: float
    first_step_s: float
    state_bytes: float
    curve: tuple[tuple[int, float], ...]
    checkpoints: tuple[dict[str, Any], ...]
    measured: tuple[dict[str, Any], ...]
    regret: dict[str, float] | None
    looks: tuple[dict[str, Any], ...] = ()
    test_examples: int = 0

    def record(self) -> dict[str, Any]:
        """As JSON, where numbers that aren't finite are null."""
        return as_json(asdict(self))


class Clock:
    """Seconds of whole steps, and of the part outside the closure: the optimizer's."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.whole: list[float] = []
        self.optimizer: list[float] = []
        self.evaluations = 0

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
            losses.append(over_processes(loss.detach()).item())
            inside += self.now() - began
            return loss

        began = self.now()
        for closure in closures:
            optimizer.step(partial(timed, closure))
        whole = self.now() - began
        self.whole.append(whole)
        self.optimizer.append(whole - inside)
        self.evaluations += len(losses)
        return losses[0]

    def spent(self, unit: str) -> float:
        return {"steps": len(self.whole), "evaluations": self.evaluations, "seconds": sum(self.whole)}[unit]

    def median_ms(self, seconds: list[float]) -> float:
        later = seconds[1:] or seconds
        return 1e3 * median(later) if later else math.nan


def run_trial(
    task: Task,
    setting: Setting,
    spec: str,
    seed: int,
    tick: Callable[[int], None] | None = None,
    group: Group | None = None,
) -> Trial:
    """Train once; the same seed gives every optimizer the same initial weights and batches.

    Args:
        tick: called with the number of each finished step.
        group: processes that share the trial, each with its part of every batch.

    Raises:
        EdslError: for a bad spec. Whatever else an optimizer raises is reported as "failed".
    """
    torch.set_num_threads(setting.threads)
    training = Training(task, setting, parse(spec), seed, group)
    try:
        training.compile()
    except EdslError:
        raise
    except Exception as error:  # it refuses these parameters: reported as any other failure
        return _refused(spec, seed, error)
    return training.run(spec, tick)


class Training:
    """One training: the model and data of a seed, and the optimizer that steps them."""

    def __init__(self, task: Task, setting: Setting, pipeline: Pipeline, seed: int, group: Group | None = None) -> None:
        self.task, self.setting, self.pipeline, self.seed, self.group = task, setting, pipeline, seed, group
        self.device = torch.device(setting.device)
        data = task.data()
        self.data = type(data)(*(Split(*(_moved(part, self.device) for part in split)) for split in data))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.model = task.model(setting.model)[1]().to(self.device)
        self.model, self.network = (self.model, self.model) if group is None else group.wrapped(self.model)
        if self.device.type != "cpu" and task.scale.compile_model:
            self.network = torch.compile(self.network)
        self.rows = batches(len(self.data.train.inputs), setting.batch, seed)
        self.augmenting = torch.Generator().manual_seed(seed + 1)
        self.clock = Clock(self.device)

    def compile(self) -> None:
        """Make the optimizer; raises what its constructor raises."""
        self.optimizer = compile(self.pipeline, fair_groups(self.pipeline, self.model))
        self.rates = [group.get("lr") for group in self.optimizer.param_groups]

    def run(self, spec: str, tick: Callable[[int], None] | None) -> Trial:
        setting, clock = self.setting, self.clock
        monitor = _monitor(setting.monitor, self.optimizer)
        measuring = self._measuring()
        looking = Looking(self, setting.levels) if setting.levels else None
        start, _ = evaluate(self.task, self.model, self.data.train)
        status, reason = "ok", ""
        losses: list[tuple[int, float]] = []
        checkpoints = [self._checkpoint([])]
        measured: list[dict[str, Any]] = []
        while (spent := clock.spent(setting.unit)) < setting.budget:
            step = len(losses) + 1
            try:
                if measuring is not None:
                    measuring.before(step)
                loss = self.step(spent, step)
                values = None if measuring is None else measuring.after(step)
            except EdslError:
                raise
            except Exception as error:  # another package's optimizer may raise anything; the race goes on
                status, reason = "failed", _first_line(error)
                break
            losses.append((step, loss))
            if values is not None:
                measured.append({"step": step, **values})
            if not math.isfinite(loss):
                status, reason = "diverged", f"the loss was {loss} at step {step}"
                break
            if looking is not None:
                looking.after(step, loss)
            if clock.spent(setting.unit) * CHECKPOINTS >= len(checkpoints) * setting.budget:
                checkpoints.append(self._checkpoint([loss for _, loss in losses[checkpoints[-1]["steps"] :]]))
            if tick is not None:
                tick(step)
        if looking is not None and status == "ok":
            looking.end(len(losses))
        with self._weights():
            train, _ = evaluate(self.task, self.model, self.data.train)
            validation, validation_accuracy = evaluate(self.task, self.model, self.data.validation)
            test, test_accuracy = evaluate(self.task, self.model, self.data.test)
        if status == "ok" and not train <= start:
            status, reason = "diverged", f"the training loss went from {start:.4g} to {train:.4g}"
        return Trial(
            spec=spec,
            seed=self.seed,
            status=status,
            reason=reason,
            start_loss=start,
            train_loss=train,
            validation_loss=validation,
            test_loss=test,
            validation_accuracy=validation_accuracy,
            test_accuracy=test_accuracy,
            steps=len(losses),
            evaluations=clock.evaluations,
            seconds=sum(clock.whole),
            step_ms=clock.median_ms(clock.whole),
            optimizer_ms=clock.median_ms(clock.optimizer),
            first_step_s=clock.whole[0] if clock.whole else math.nan,
            state_bytes=state_bytes(self.optimizer) / sum(parameter.numel() for parameter in self.model.parameters()),
            curve=tuple(losses[:: max(1, len(losses) // CURVE_POINTS)]),
            checkpoints=tuple(checkpoints),
            measured=tuple(measured),
            regret=None if monitor is None else asdict(monitor.report()),
            looks=() if looking is None else looking.records(),
            test_examples=_counted(test_accuracy, self.task.rows(self.data.test)),
        )

    def step(self, spent: float, number: int) -> float:
        """Take the step of this number, when so much of the budget is spent; the loss of its batch before it."""
        self._schedule(spent, number)
        return self.clock.step(self.optimizer, self._closures())

    def _schedule(self, spent: float, step: int) -> None:
        """Set the learning rates of a step, by the share of the budget that is spent when it ends."""
        if self.setting.schedule == "constant":
            return
        one = 0 if self.setting.unit == "seconds" else spent / (step - 1) if step > 1 else 1
        factor = schedule(self.setting.schedule)((spent + one) / self.setting.budget)
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            if rate is not None:
                group["lr"] = rate * factor

    def _closures(self) -> list[Callable[[], Tensor]]:
        """One closure for each call of the optimizer, on a batch of its own."""
        return [
            closure_for(self.pipeline, self.optimizer, *self._losses(next(self.rows)))
            for _ in range(self.pipeline.estimator.calls)
        ]

    def _losses(self, rows: Tensor) -> list[Callable[[], Tensor]]:
        """The mean loss of a batch, in parts that fit the device."""
        train, task = self.data.train, self.task
        rows = rows if self.group is None else self.group.share(rows)
        inputs, targets = train.inputs[rows], train.targets[rows]
        if task.augment is not None:
            inputs = task.augment(inputs, self.augmenting)
        inputs, targets = inputs.to(self.device), targets.to(self.device)
        micro = task.scale.micro_batch if self.device.type != "cpu" else None
        if micro is None or len(inputs) <= micro:
            return [partial(self._loss, inputs, targets, 1.0)]
        return [
            partial(self._loss, part, aim, len(part) / len(inputs))
            for part, aim in zip(inputs.split(micro), targets.split(micro), strict=True)
        ]

    def _loss(self, inputs: Tensor, targets: Tensor, share: float) -> Tensor:
        autocast = self.task.scale.autocast
        if self.device.type == "cpu" or not autocast:
            loss = self.task.loss(self.network(inputs), targets)
        else:
            with torch.autocast(self.device.type, dtype=getattr(torch, autocast)):
                loss = self.task.loss(self.network(inputs), targets)
        return loss if share == 1 else loss * share

    def _checkpoint(self, losses: list[float]) -> dict[str, Any]:
        """What is spent, the mean batch loss since the last checkpoint, and the validation split's word."""
        with self._weights():
            loss, accuracy = evaluate(self.task, self.model, self.data.validation)
        spent = {unit: self.clock.spent(unit) for unit in UNITS}
        return {**spent, "loss": mean(losses) if losses else None, "validation_loss": loss, "accuracy": accuracy}

    def _weights(self) -> Any:
        """Where the weights are those to evaluate with."""
        return self.optimizer.evaluation_weights() if isinstance(self.optimizer, PipelineOptimizer) else nullcontext()

    def _measuring(self) -> Any:
        if not self.setting.measures:
            return None
        from edsl.lab.measures.catalogue import measuring

        setting = self.setting
        every = max(1, int(setting.budget) // CHECKPOINTS) if setting.unit == "steps" else 50
        return measuring(
            setting.measures,
            self.task,
            self.model,
            self.optimizer,
            self.pipeline,
            self.data.train,
            self.seed,
            every,
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
    from edsl.updates.foreign import Foreign

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
    return failed(spec, seed, _first_line(error))


def failed(spec: str, seed: int, reason: str) -> Trial:
    """A trial of which nothing is known but why."""
    nan = math.nan
    return Trial(
        spec, seed, "failed", reason, nan, nan, nan, nan, None, None, 0, 0, 0.0, nan, nan, nan, nan, (), (), (), None
    )


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"


def _monitor(name: str, optimizer: Any) -> Any:
    if name != "regret":
        return None
    from edsl.theory.regret.monitor import RegretMonitor

    try:
        return RegretMonitor(optimizer)
    except EdslError:  # not an update that the theorem is about
        return None


def batches(examples: int, batch: int, seed: int) -> Iterator[Tensor]:
    """Row numbers of one batch after the other, shuffled anew each epoch."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        order = torch.randperm(examples, generator=generator)
        yield from order.split(batch)[: examples // batch]


@torch.no_grad()
def evaluate(task: Task, model: Any, split: Split) -> tuple[float, float | None]:
    """Loss and accuracy over the rows of a split that its task evaluates, in evaluation mode.

    An accuracy that counts examples is their exact share, without the rounding of float32.
    """
    device = next(model.parameters()).device
    model.eval()
    losses, accuracies, weights = [], [], []
    for inputs, targets in task.parts(split):
        targets = targets.to(device)
        outputs = model(inputs.to(device))
        losses.append(task.loss(outputs, targets).item())
        accuracies.append(None if task.accuracy is None else task.accuracy(outputs, targets))
        weights.append(len(targets))
    model.train()
    total = sum(weights)
    loss = sum(loss * weight for loss, weight in zip(losses, weights)) / total
    if task.accuracy is None:
        return loss, None
    right = sum(_whole(accuracy * weight) for accuracy, weight in zip(accuracies, weights))
    return loss, right / total


def _whole(count: float) -> float:
    """A count of examples without rounding; what is no count, such as a mean over tokens, as it is."""
    return float(round(count)) if math.isfinite(count) and abs(count - round(count)) < 1e-3 else count


def _counted(accuracy: float | None, examples: int) -> int:
    """The examples that an accuracy is a share of, or 0."""
    return examples if accuracy is not None and _whole(accuracy * examples).is_integer() else 0


def _moved(part: Any, device: torch.device) -> Any:
    """A tensor on the device; other rows, such as those of a file, stay and are moved batch by batch."""
    return part.to(device) if isinstance(part, Tensor) else part
