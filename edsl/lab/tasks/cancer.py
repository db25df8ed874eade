"""`cancer`: scikit-learn's breast cancer data, 569 patients, 30 measurements each, two classes."""

from __future__ import annotations

from functools import lru_cache

from torch import nn
from torch.nn.functional import cross_entropy

from edsl.lab.tasks.catalogue import TASKS
from edsl.lab.tasks.classification import accuracy, stratified
from edsl.lab.tasks.task import Data, Split, Task


@lru_cache(maxsize=1)
def data() -> Data:
    """70 % train, 15 % validation, 15 % test; each measurement with mean 0 and deviation 1 over the training part."""
    from sklearn.datasets import load_breast_cancer

    raw = stratified(*load_breast_cancer(return_X_y=True))
    mean, deviation = raw.train.inputs.mean(0), raw.train.inputs.std(0, correction=0)
    return Data(*(Split((inputs - mean) / deviation, targets) for inputs, targets in raw))


def mlp() -> nn.Module:
    """30 → 32 → 16 → 2 with ReLU: 1,554 parameters."""
    return nn.Sequential(nn.Linear(30, 32), nn.ReLU(), nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, 2))


def linear() -> nn.Module:
    """Logistic regression, 30 → 2: 62 parameters."""
    return nn.Linear(30, 2)


CANCER = Task(
    name="cancer",
    data=data,
    models={"mlp": mlp, "linear": linear},
    loss=cross_entropy,
    accuracy=accuracy,
    batch=64,
    steps=200,
    about=TASKS["cancer"][1],
)
