"""torch.autocast around a step: off for the step's own arithmetic, as it was for the user's closure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import wraps
from typing import Any

import torch

_DEVICES = ("cpu", "cuda", "xpu", "mps", "mtia", "hpu", "xla", "ipu", "privateuseone")
Switch = Callable[[], AbstractContextManager[None]]


def is_autocast_on() -> bool:
    """Whether autocast is on for any device."""
    return torch._C._is_any_autocast_enabled()  # torch's public question is about one device


@contextmanager
def autocast_off() -> Iterator[Switch]:
    """Inside, autocast is off on every device. Gives a context in which it is as it was before.

    What autocast keeps of parameters in lower precision is dropped at every switch, since parameters may
    have moved since: else a loss would be evaluated at old weights.
    """
    devices = [device for device in _DEVICES if _is_on(device)]
    with _switched(devices, on=False):
        yield lambda: _switched(devices, on=True)


def called_in(context: Switch, function: Callable[[], Any]) -> Callable[[], Any]:
    """The function, to be called inside a context."""

    @wraps(function)
    def call() -> Any:
        with context():
            return function()

    return call


@contextmanager
def _switched(devices: list[str], on: bool) -> Iterator[None]:
    try:
        for device in devices:
            torch.set_autocast_enabled(device, on)
        torch.clear_autocast_cache()
        yield
    finally:
        for device in devices:
            torch.set_autocast_enabled(device, not on)
        torch.clear_autocast_cache()


def _is_on(device: str) -> bool:
    try:
        return torch.is_autocast_enabled(device)
    except RuntimeError:  # a kind of device that this build of torch does not know
        return False
