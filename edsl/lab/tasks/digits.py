"""`digits`: scikit-learn's 1,797 handwritten digits of 8 × 8 pixels."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from edsl.lab.task import Data, Split, Task


@lru_cache(maxsize=1)
def data() -> Data:
    """70 % train, 15 % validation, 15 % test, each with every digit in proportion; pixels in [0, 1]."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    images, labels = load_digits(return_X_y=True)
    train, rest, train_labels, rest_labels = train_test_split(
        images / 16, labels, train_size=0.7, stratify=labels, random_state=0
    )
    validation, test, validation_labels, test_labels = train_test_split(
        rest, rest_labels, train_size=0.5, stratify=rest_labels, random_state=0
    )

    def split(x, y) -> Split:
        return Split(torch.tensor(x, dtype=torch.float32).view(-1, 1, 8, 8), torch.tensor(y))

    return Data(split(train, train_labels), split(validation, validation_labels), split(test, test_labels))


def mlp() -> nn.Module:
    """64 → 128 → 64 → 10 with ReLU: 17,226 parameters."""
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 10))


def linear() -> nn.Module:
    """Softmax regression, 64 → 10: 650 parameters, few enough for zeroth-order methods."""
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))


def cnn() -> nn.Module:
    """Two 3 × 3 convolutions with batch norm, pooling, and a linear head: 7,642 parameters."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1, bias=False),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(128, 20),
        nn.ReLU(),
        nn.Linear(20, 10),
    )


def accuracy(outputs: Tensor, targets: Tensor) -> float:
    return (outputs.argmax(1) == targets).float().mean().item()


DIGITS = Task(
    name="digits",
    data=data,
    models={"mlp": mlp, "cnn": cnn, "linear": linear},
    loss=cross_entropy,
    accuracy=accuracy,
    batch=128,
    steps=300,
)
