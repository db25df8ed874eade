"""Optimizers whose parameters are one set of weights while they train and another to evaluate with: schedule-free ones.

They have two methods, train() and eval(), between which they are switched.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from edsl.optim.foreign.packages import silenced


def has_modes(optimizer: Any) -> bool:
    """Whether it is switched between training and evaluation."""
    return all(callable(getattr(optimizer, name, None)) for name in ("train", "eval"))


def to_training(optimizer: Any) -> None:
    """Switch it to training, without which some take no step."""
    if has_modes(optimizer):
        _switch(optimizer, "train")


@contextmanager
def evaluating(optimizer: Any) -> Iterator[None]:
    """Inside, it is switched to evaluation."""
    _switch(optimizer, "eval")
    try:
        yield
    finally:
        _switch(optimizer, "train")


def _switch(optimizer: Any, mode: str) -> None:
    try:
        with silenced():
            getattr(optimizer, mode)()
    except AttributeError:  # a wrapper, around an optimizer without modes
        return
