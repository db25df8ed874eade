"""The loss and the metric of a model on a split."""

from __future__ import annotations

import math
from typing import Any

import torch

from edsl.lab.tasks.task import Split, Task


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
    right = sum(whole_count(accuracy * weight) for accuracy, weight in zip(accuracies, weights))
    return loss, right / total


def whole_count(count: float) -> float:
    """A count of examples without rounding; what is no count, such as a mean over tokens, as it is."""
    return float(round(count)) if math.isfinite(count) and abs(count - round(count)) < 1e-3 else count
