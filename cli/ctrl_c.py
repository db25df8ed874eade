"""Ctrl-C ends a command wherever it comes: Python drops it in a finalizer and in a weak reference's callback."""

from __future__ import annotations

import signal
import sys
import threading

_AGAIN = 0.05  # seconds until the signal comes again; the callback that dropped it has ended by then


def heed_ctrl_c() -> None:
    """Send SIGINT again, a moment later, when a KeyboardInterrupt could not be raised where it came."""
    report = sys.unraisablehook

    def unraisable(dropped: sys.UnraisableHookArgs, /) -> None:
        if issubclass(dropped.exc_type, KeyboardInterrupt):
            again = threading.Timer(_AGAIN, signal.raise_signal, (signal.SIGINT,))
            again.daemon = True
            again.start()
        else:
            report(dropped)

    sys.unraisablehook = unraisable
