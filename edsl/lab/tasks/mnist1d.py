"""`mnist1d`: Greydanus and Kobak 2024, digits as noisy, shifted, sheared curves of 40 points."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from edsl.lab.data.cache import Arrays, kept
from edsl.lab.data.seeded import seeded
from edsl.lab.tasks.catalogue import TASKS
from edsl.lab.tasks.classification import accuracy
from edsl.lab.tasks.task import Data, Split, Task

EXAMPLES = 20_000  # four times the published set, so that large batches are less than an epoch
TRAIN, HELD = 16_000, 18_000


@lru_cache(maxsize=1)
def data() -> Data:
    """16,000 training, 2,000 validation and 2,000 test curves, generated here by the package's own recipe.

    Made in about ten seconds the first time, then kept under ~/.cache/edsl.
    """
    made = kept(f"mnist1d-{EXAMPLES}", _made)
    x, y = torch.tensor(made["x"], dtype=torch.float32), torch.tensor(made["y"], dtype=torch.int64)
    return Data(Split(x[:TRAIN], y[:TRAIN]), Split(x[TRAIN:HELD], y[TRAIN:HELD]), Split(x[HELD:], y[HELD:]))


def _made() -> Arrays:
    """The package's make_dataset, which seeds numpy's and Python's generators: these are put back."""
    from mnist1d.data import get_dataset_args, make_dataset

    arguments: Any = get_dataset_args()
    arguments.num_samples = EXAMPLES
    with seeded(arguments.seed):
        made = make_dataset(arguments)
    return {"x": np.concatenate([made["x"], made["x_test"]]), "y": np.concatenate([made["y"], made["y_test"]])}


def mlp() -> nn.Module:
    """40 → 100 → 100 → 10 with ReLU: 15,210 parameters."""
    return nn.Sequential(nn.Linear(40, 100), nn.ReLU(), nn.Linear(100, 100), nn.ReLU(), nn.Linear(100, 10))


def cnn() -> nn.Module:
    """Three strided convolutions of 25 channels and a linear head: 5,210 parameters, as the package's."""
    return nn.Sequential(
        nn.Unflatten(1, (1, 40)),
        nn.Conv1d(1, 25, 5, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv1d(25, 25, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv1d(25, 25, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(125, 10),
    )


class Gru(nn.Module):
    """A GRU over the 40 points, 48 wide, whose last state goes to a linear head: 7,834 parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(1, 48, batch_first=True)
        self.head = nn.Linear(48, 10)

    def forward(self, curves: Tensor) -> Tensor:
        """(examples, 40) → (examples, 10)."""
        states, _ = self.gru(curves[..., None])
        return self.head(states[:, -1])


MNIST1D = Task(
    name="mnist1d",
    data=data,
    models={"mlp": mlp, "cnn": cnn, "gru": Gru},
    loss=cross_entropy,
    accuracy=accuracy,
    batch=128,
    steps=1000,
    about=TASKS["mnist1d"][1],
)
