"""How long steps take."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from functools import partial
from statistics import median
from typing import Any

import torch
from torch import Tensor

from edsl.lab.trials.parallel import over_processes


class Clock:
    """Seconds of whole steps, and of the part outside the closure: the optimizer's."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.whole: list[float] = []
        self.optimizer: list[float] = []
        self.evaluations = 0

    def now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()

    def step(self, optimizer: Any, closures: list[Callable[[], Tensor]]) -> float:
        """One step, of as many calls as closures, timed; the loss before it."""
        inside = 0.0
        losses: list[float] = []

        def timed(closure: Callable[[], Tensor]) -> Tensor:
            nonlocal inside
            began = self.now()
            loss = closure()
            losses.append(over_processes(loss.detach()).item())
            inside += self.now() - began
            return loss

        began = self.now()
        for closure in closures:
            optimizer.step(partial(timed, closure))
        whole = self.now() - began
        self.whole.append(whole)
        self.optimizer.append(whole - inside)
        self.evaluations += len(losses)
        return losses[0]

    def spent(self, unit: str) -> float:
        return {"steps": len(self.whole), "evaluations": self.evaluations, "seconds": sum(self.whole)}[unit]

    def median_ms(self, seconds: list[float]) -> float:
        later = seconds[1:] or seconds
        return 1e3 * median(later) if later else math.nan
