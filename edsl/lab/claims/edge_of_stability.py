"""The edge of stability: full-batch gradient descent ends where its own largest stable curvature is.

With a constant learning rate the sharpness of a network that is trained on all examples at once
rises until the linearised recurrence is only just stable, and stays there (Cohen et al. 2021: at
2/lr for plain gradient descent). Behind E the exact stable sharpness s*/lr of `edsl.theory` takes
the place of 2/lr.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from edsl.lab.measures.curvature import top_eigenvalue
from edsl.lab.measures.measure import Run
from edsl.lab.tasks.task import Data, Split, Task
from edsl.lab.trials.setting import Setting
from edsl.lab.trials.training import Training
from edsl.language.spec import parse

LR = 0.5  # 2/lr = 4
EXAMPLES, WIDTH = 400, 32
LAST = 0.25  # share of the steps over which the plateau is averaged
LOOKS = 40


@dataclass(frozen=True)
class Plateau:
    """Where the sharpness of one run levelled off, and where theory puts it.

    Attributes:
        curve: (step, sharpness) along the way.
        level: the mean over the last quarter of the steps.
        theory: the largest curvature at which the pipeline is stable.
    """

    spec: str
    theory: float
    level: float
    curve: tuple[tuple[int, float], ...]

    @property
    def error(self) -> float:
        """|level/theory − 1|."""
        return abs(self.level / self.theory - 1)


@lru_cache(maxsize=1)
def _data() -> Data:
    """400 digits, centred, and one-hot targets: squared error."""
    from edsl.lab.tasks.digits import data

    train = data().train
    x = train.inputs.flatten(1)[:EXAMPLES]
    split = Split(0.7 * (x - x.mean(0)), one_hot(train.targets[:EXAMPLES], 10).float())
    return Data(split, split, split)


def _network() -> nn.Module:
    """64 → 32 → 32 → 10 with tanh: 3,466 parameters."""
    return nn.Sequential(nn.Linear(64, WIDTH), nn.Tanh(), nn.Linear(WIDTH, WIDTH), nn.Tanh(), nn.Linear(WIDTH, 10))


def _half_squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs - targets).square().sum(1).mean() / 2


EDGE = Task(name="edge", data=_data, models={"mlp": _network}, loss=_half_squared_error, batch=EXAMPLES, steps=3600)


def spec_at(alpha: float, lr: float = LR, beta1: float = 0.99) -> str:
    """E-SGD without momentum."""
    return f"grad | e(alpha={alpha}, beta1={beta1}) | sgd(lr={lr})" if alpha else f"sgd(lr={lr})"


def plateau(spec: str, theory: float, steps: int = 3600, seed: int = 0) -> Plateau:
    """Train on all examples at once and measure the sharpness at 40 points."""
    torch.set_num_threads(1)
    training = Training(EDGE, Setting("edge", "mlp", EXAMPLES, steps, "cpu", 1), parse(spec), seed)
    training.compile()
    train = training.data.train
    run = Run(EDGE, training.model, training.optimizer, training.pipeline, train, seed)
    curve = []
    for step in range(1, steps + 1):
        training.step(step - 1, step)
        if step % max(1, steps // LOOKS) == 0:
            curve.append((step, top_eigenvalue(run, train.inputs, train.targets)))
    last = [sharpness for step, sharpness in curve if step > (1 - LAST) * steps]
    return Plateau(spec, theory, sum(last) / len(last), tuple(curve))


def stable_sharpness(alpha: float, lr: float = LR, beta1: float = 0.99) -> float:
    """s*/lr, from the exact recurrence."""
    from edsl.theory.stability.closed_form import stable_sharpness as exact

    return float(exact(alpha * (1 - beta1), beta1, 0.0, 1.0)) / lr


def plateaus(alphas: Sequence[float], steps: int) -> list[Plateau]:
    """For each α the sharpness at which a run stays, beside the stable one."""
    return [plateau(spec_at(alpha), stable_sharpness(alpha), steps) for alpha in alphas]
