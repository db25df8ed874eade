"""Whose code called edsl: where a warning points, and which optimizer wraps another."""

from __future__ import annotations

import sys
import warnings
from types import FrameType

from edsl.errors import EdslWarning

BELOW_A_STEP = ("edsl.", "torch.", "contextlib")  # the modules between the loop that calls step() and what a step calls


def caller(within: tuple[str, ...]) -> FrameType | None:
    """The nearest frame whose module is none of these (`"edsl."` stands for all that edsl holds)."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and _module(frame).startswith(within):
        frame = frame.f_back
    return frame


def warn_user(messages: list[str], within: tuple[str, ...]) -> None:
    """Give each message once, as an EdslWarning at the user's line; nothing if the caller is edsl itself.

    Args:
        within: the modules that stand between the user and this call.
    """
    frame = caller((__name__, *within)) if messages else None
    if frame is None or _module(frame).startswith("edsl."):
        return
    for message in dict.fromkeys(messages):
        warnings.warn_explicit(
            message,
            EdslWarning,
            frame.f_code.co_filename,
            frame.f_lineno,
            _module(frame),
            frame.f_globals.setdefault("__warningregistry__", {}),
        )


def _module(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", ""))
