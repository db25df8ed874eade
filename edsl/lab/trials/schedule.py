"""Learning-rate schedules, as factors over the share of the budget that is spent."""

from __future__ import annotations

import math
from collections.abc import Callable

from edsl.errors import EdslError, nearest, shown

WARMUP = 0.1  # share of the budget


def _warmup(spent: float) -> float:
    return min(1.0, spent / WARMUP)


def _cosine(spent: float) -> float:
    return (1 + math.cos(math.pi * min(1.0, spent))) / 2


def _warmup_cosine(spent: float) -> float:
    return _warmup(spent) if spent < WARMUP else _cosine((spent - WARMUP) / (1 - WARMUP))


def _step(spent: float) -> float:
    return 0.1 ** ((spent >= 0.5) + (spent >= 0.75))


SCHEDULES: dict[str, tuple[Callable[[float], float], str]] = {
    "constant": (lambda spent: 1.0, "1"),
    "cosine": (_cosine, "from 1 to 0 along half a cosine"),
    "warmup": (_warmup, "linear from 0 to 1 over a tenth of the budget, then 1"),
    "warmup-cosine": (_warmup_cosine, "warmup, then cosine"),
    "step": (_step, "1, a tenth from half of the budget on, a hundredth from three quarters on"),
}


def schedule(name: str) -> Callable[[float], float]:
    """The factor on every learning rate, from the share of the budget in (0, 1] that this step ends.

    Raises:
        EdslError: for an unknown schedule.
    """
    if name not in SCHEDULES:
        raise EdslError(f"unknown schedule {shown(name)}; {nearest(name, SCHEDULES, 'schedules')}")
    return SCHEDULES[name][0]
