"""One trial from its setting to its record."""

from __future__ import annotations

from collections.abc import Callable

import torch

from edsl.errors import EdslError, first_line
from edsl.lab.data.seeded import seeded
from edsl.lab.tasks.task import Task
from edsl.lab.trials.hopeless import Bar
from edsl.lab.trials.parallel import Group
from edsl.lab.trials.setting import Setting
from edsl.lab.trials.training import Training
from edsl.lab.trials.trial import Trial, failed
from edsl.language.spec import parse


def run_trial(
    task: Task,
    setting: Setting,
    spec: str,
    seed: int,
    tick: Callable[[int], None] | None = None,
    group: Group | None = None,
    bar: Bar | None = None,
) -> Trial:
    """Train once; the same seed gives every optimizer the same initial weights, batches and random numbers.

    Args:
        tick: called with the number of each finished step.
        group: processes that share the trial, each with its part of every batch.
        bar: of a tuning trial, below which it is stopped as hopeless.

    Raises:
        EdslError: for a bad spec. Whatever else an optimizer raises is reported as "failed".
    """
    torch.set_num_threads(setting.threads)
    training = Training(task, setting, parse(spec), seed, group)
    with seeded(seed):  # dropout and the like draw the same for every optimizer, wherever the trial runs
        try:
            training.compile()
        except EdslError:
            raise
        except Exception as error:  # it refuses these parameters: reported as any other failure
            return _refused(spec, seed, error)
        return training.run(spec, tick, bar)


def _refused(spec: str, seed: int, error: Exception) -> Trial:
    return failed(spec, seed, first_line(error))
