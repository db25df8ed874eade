"""A model, its data and its optimizer, step by step."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from statistics import mean
from typing import Any

import torch
from torch import Tensor

from edsl.errors import EdslError, first_line
from edsl.groups.exclusion import names_in_module
from edsl.groups.routing import kinds_in_module
from edsl.lab.closure import closure_for
from edsl.lab.data.rows import Rows
from edsl.lab.data.seeded import seeded
from edsl.lab.tasks.task import Split, Task
from edsl.lab.trials.clock import Clock
from edsl.lab.trials.evaluation import evaluate, whole_count
from edsl.lab.trials.hopeless import Bar
from edsl.lab.trials.levels import Looking
from edsl.lab.trials.parallel import Group
from edsl.lab.trials.schedule import schedule
from edsl.lab.trials.setting import UNITS, Setting
from edsl.lab.trials.trial import CHECKPOINTS, CURVE_POINTS, Trial
from edsl.language.pipeline import Pipeline
from edsl.optim.compile import compile
from edsl.optim.evaluation import evaluation_weights
from edsl.optim.foreign.build import parameters_for
from edsl.optim.state import state_bytes


class Training:
    """One training: the model and data of a seed, and the optimizer that steps them."""

    def __init__(self, task: Task, setting: Setting, pipeline: Pipeline, seed: int, group: Group | None = None) -> None:
        self.task, self.setting, self.pipeline, self.seed, self.group = task, setting, pipeline, seed, group
        self.device = torch.device(setting.device)
        data = task.data()
        self.data = type(data)(*(Split(*(_moved(part, self.device) for part in split)) for split in data))
        with seeded(seed):
            self.model = task.model(setting.model)[1]().to(self.device)
        self.model, self.network = (self.model, self.model) if group is None else group.wrapped(self.model)
        if self.device.type != "cpu" and task.scale.compile_model:
            self.network = torch.compile(self.network)
        self.rows = batches(len(self.data.train.inputs), setting.batch, seed)
        self.augmenting = torch.Generator().manual_seed(seed + 1)
        self.clock = Clock(self.device)

    def compile(self) -> None:
        """Make the optimizer; raises what its constructor raises."""
        groups, setting = fair_groups(self.pipeline, self.model), self.setting
        total = int(setting.budget) if setting.unit == "steps" else None
        self.optimizer = compile(self.pipeline, groups, total_steps=total)
        self.rates = [group.get("lr") for group in self.optimizer.param_groups]

    def run(self, spec: str, tick: Callable[[int], None] | None, bar: Bar | None = None) -> Trial:
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
                status, reason = "failed", first_line(error)
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
                if bar is not None and bar.is_missed(checkpoints):
                    status, reason = "stopped", f"hopeless at step {step}, by the median of the trials before"
                    break
            if tick is not None:
                tick(step)
        if looking is not None and status == "ok":
            looking.end(len(losses))
        end = self._evaluated()
        if status == "ok" and not end["train_loss"] <= start:
            status, reason = "diverged", f"the training loss went from {start:.4g} to {end['train_loss']:.4g}"
        return Trial(
            spec=spec,
            seed=self.seed,
            status=status,
            reason=reason,
            start_loss=start,
            **end,
            steps=len(losses),
            **self._spent(),
            state_bytes=state_bytes(self.optimizer) / sum(parameter.numel() for parameter in self.model.parameters()),
            curve=tuple(losses[:: max(1, len(losses) // CURVE_POINTS)]),
            checkpoints=tuple(checkpoints),
            measured=tuple(measured),
            regret=None if monitor is None else asdict(monitor.report()),
            looks=() if looking is None else looking.records(),
        )

    def _evaluated(self) -> dict[str, Any]:
        """What a trial says of every split, by its names there."""
        with self._weights():
            train, _ = evaluate(self.task, self.model, self.data.train)
            validation, validation_accuracy = evaluate(self.task, self.model, self.data.validation)
            test, test_accuracy = evaluate(self.task, self.model, self.data.test)
        return {
            "train_loss": train,
            "validation_loss": validation,
            "test_loss": test,
            "validation_accuracy": validation_accuracy,
            "test_accuracy": test_accuracy,
            "test_examples": _counted(test_accuracy, self.task.rows(self.data.test)),
        }

    def _spent(self) -> dict[str, Any]:
        """What a trial says of time, by its names there."""
        clock = self.clock
        return {
            "evaluations": clock.evaluations,
            "seconds": sum(clock.whole),
            "step_ms": clock.median_ms(clock.whole),
            "optimizer_ms": clock.median_ms(clock.optimizer),
            "first_step_s": clock.whole[0] if clock.whole else math.nan,
        }

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
        return evaluation_weights(self.optimizer)

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


def fair_groups(pipeline: Pipeline, model: Any) -> Any:
    """The parameters, such that no optimizer decays what another leaves out.

    edsl's own leave biases and norms out of weight decay; another package's gets them in a group
    of their own, without decay, where it has any.
    """
    update: Any = pipeline.update
    if not update.moves_weights:
        return model
    spared = set(names_in_module(model, None))
    named = dict(model.named_parameters())
    groups = [{"params": list(named.items())}]
    if "weight_decay" in update.defaults() and spared and len(spared) < len(named):
        parts: dict[bool, list[Any]] = {False: [], True: []}
        for name, parameter in named.items():
            parts[name in spared].append((name, parameter))
        groups = [{"params": parts[False]}, {"params": parts[True], "weight_decay": 0.0}]
    return parameters_for(update, groups, kinds_in_module(model))


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


def _counted(accuracy: float | None, examples: int) -> int:
    """The examples that an accuracy is a share of, or 0."""
    return examples if accuracy is not None and whole_count(accuracy * examples).is_integer() else 0


def _moved(part: Any, device: torch.device) -> Any:
    """Tensors on the device; other rows, such as those of a file, stay and are moved batch by batch."""
    return part.to(device) if isinstance(part, (Tensor, Rows)) else part
