"""A line about what is being compiled, for who waits at a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def compiling(number: int) -> Iterator[None]:
    """Says which graph is being compiled, on stderr where that is a terminal, and wipes it out after."""
    seen = sys.stderr is not None and sys.stderr.isatty()
    if seen:
        sys.stderr.write(f"\redsl: compiling graph {number} …")
        sys.stderr.flush()
    try:
        yield
    finally:
        if seen:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
