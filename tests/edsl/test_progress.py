"""The line about compiling: at a terminal alone, and gone afterwards."""

import io
import sys

import pytest

from edsl.kernels.progress import compiling


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize("kind", [Terminal, io.StringIO])
def test_the_line_shows_at_a_terminal_alone_and_is_wiped_out(monkeypatch, kind):
    stream = kind()
    monkeypatch.setattr(sys, "stderr", stream)
    with compiling(3):
        during = stream.getvalue()
    assert ("compiling graph 3" in during) == stream.isatty()
    assert stream.getvalue().endswith("\x1b[K") == stream.isatty()
