"""`sine`: the paper's Appendix A, a small network on y = sin x + noise."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import nn
from torch.nn.functional import mse_loss

from edsl.lab.tasks.catalogue import TASKS
from edsl.lab.tasks.task import Data, Split, Task

SAMPLES = 40_960  # 32768/0.8: the training share is 32768, a full batch
NOISE = 0.1  # standard deviation; the paper does not give it


@lru_cache(maxsize=1)
def data() -> Data:
    """x uniform in [−10, 10]; 80 % train, 10 % validation, 10 % test, whose loss includes the noise (0.01)."""
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(SAMPLES, 1, generator=generator) * 20 - 10
    y = x.sin() + NOISE * torch.randn(SAMPLES, 1, generator=generator)
    train, held = int(SAMPLES * 0.8), int(SAMPLES * 0.9)
    return Data(Split(x[:train], y[:train]), Split(x[train:held], y[train:held]), Split(x[held:], y[held:]))


def mlp() -> nn.Module:
    """Three layers, 1 → 64 → 64 → 1 with ReLU: 4,353 parameters."""
    return nn.Sequential(nn.Linear(1, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1))


SINE = Task(
    name="sine",
    data=data,
    models={"mlp": mlp},
    loss=mse_loss,
    accuracy=None,
    batch=256,
    steps=1000,
    about=TASKS["sine"][1],
)
