"""A task of your own: `edsl compare alto lamb --task my_task.py` races optimizers on it.

The file is run when a race names it: keep what takes long inside the functions. A race records its text and a hash of
its data, and refuses to go on once either has changed.
"""

import torch
from torch import nn
from torch.nn.functional import cross_entropy

import edsl


def data():
    """(inputs, targets), which edsl splits 70/15/15 %; or three such pairs, for training, validation and test.

    Read your own files here. Tensors, arrays or edsl.Rows, with one row an example.
    """
    points = torch.rand(2000, 2) * 2 - 1  # edsl seeds random numbers: they are the same at each call
    labels = (points.square().sum(1) < 0.5).long()  # 1 inside a circle
    return points, labels


def mlp():
    """2 → 32 → 32 → 2 with tanh; edsl seeds the initial weights."""
    return nn.Sequential(nn.Linear(2, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 2))


def accuracy(outputs, targets):
    """The share of right answers, in [0, 1]; leave it out where there is none."""
    return (outputs.argmax(1) == targets).float().mean()


task = edsl.Task(
    data=data,
    models={"mlp": mlp},  # the first is the default; --model chooses another
    loss=cross_entropy,  # (outputs, targets) → mean loss
    accuracy=accuracy,
    batch=64,
    steps=200,
    about="points inside and outside a circle",
)
