"""A line about what is being compiled, for who waits at a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def compiling(number: int) -> Iterator[None]:
    """Says which graph is being compiled, on stderr where that is a terminal, and wipes it out after."""
    terminal = sys.stderr if sys.stderr is not None and sys.stderr.isatty() else None
    if terminal is not None:
        terminal.write(f"\redsl: compiling graph {number} …")
        terminal.flush()
    try:
        yield
    finally:
        if terminal is not None:
            terminal.write("\r\x1b[K")
            terminal.flush()
