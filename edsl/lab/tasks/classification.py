"""What tasks of classification share."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from edsl.lab.tasks.task import Data, Split


def accuracy(outputs: Tensor, targets: Tensor) -> float:
    """The share of rows whose largest output is the target's."""
    return (outputs.argmax(1) == targets).float().mean().item()


def stratified(inputs: Any, labels: Any) -> Data:
    """70 % train, 15 % validation, 15 % test, each with every label in proportion; inputs as float32.

    Args:
        inputs: array, one row an example.
        labels: array of whole numbers.
    """
    from sklearn.model_selection import train_test_split

    train, rest, train_labels, rest_labels = train_test_split(
        inputs, labels, train_size=0.7, stratify=labels, random_state=0
    )
    validation, test, validation_labels, test_labels = train_test_split(
        rest, rest_labels, train_size=0.5, stratify=rest_labels, random_state=0
    )

    def split(x: Any, y: Any) -> Split:
        return Split(torch.tensor(x, dtype=torch.float32), torch.tensor(y))

    return Data(split(train, train_labels), split(validation, validation_labels), split(test, test_labels))
