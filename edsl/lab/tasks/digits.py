"""`digits`: scikit-learn's 1,797 handwritten digits of 8 × 8 pixels."""

from __future__ import annotations

from functools import lru_cache

from torch import nn
from torch.nn.functional import cross_entropy

from edsl.lab.tasks.catalogue import TASKS
from edsl.lab.tasks.classification import accuracy, stratified
from edsl.lab.tasks.task import Data, Task


@lru_cache(maxsize=1)
def data() -> Data:
    """70 % train, 15 % validation, 15 % test, each with every digit in proportion; pixels in [0, 1]."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    return stratified((images / 16).reshape(-1, 1, 8, 8), labels)


def mlp() -> nn.Module:
    """64 → 128 → 64 → 10 with ReLU: 17,226 parameters."""
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 10))


def linear() -> nn.Module:
    """Softmax regression, 64 → 10: 650 parameters, few enough for zeroth-order methods."""
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))


def cnn() -> nn.Module:
    """Two 3 × 3 convolutions with batch norm, pooling, and a linear head: 7,638 parameters."""
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


DIGITS = Task(
    name="digits",
    data=data,
    models={"mlp": mlp, "cnn": cnn, "linear": linear},
    loss=cross_entropy,
    accuracy=accuracy,
    batch=128,
    steps=300,
    about=TASKS["digits"][1],
)
