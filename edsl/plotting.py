"""What every picture needs: matplotlib, colours, and a file to be drawn into."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from edsl.errors import EdslError

BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#555555"  # of Okabe and Ito, told apart by the colour-blind
YELLOW = "#E69F00"
ENDINGS = (".png", ".svg", ".pdf")
_DECADE = 10


def pyplot() -> Any:
    """matplotlib.pyplot, which needs no screen; raises EdslError where matplotlib is not installed."""
    try:
        import matplotlib
    except ImportError:
        raise EdslError("plots need matplotlib: pip install 'edsl-optim[plot]'") from None
    matplotlib.use("Agg")
    from matplotlib import pyplot

    return pyplot


def check_picture(out: Path) -> None:
    """Raises EdslError for a file that `save` could not write, before any work is done."""
    if out.suffix.lower() not in ENDINGS:
        raise EdslError(f"can't draw into {out}: its name must end in .png, .svg or .pdf")
    check_writable(out)


def check_writable(out: Path) -> None:
    """Raises EdslError for a file that could not be written, before any work is done; one that is there stays."""
    if not out.parent.is_dir():
        raise EdslError(f"can't write {out}: there is no folder {out.parent}")
    if out.is_dir():
        raise EdslError(f"can't write {out}: it is a folder")
    was_there = os.path.lexists(out)
    try:
        with out.open("ab"):
            pass
        if not was_there:
            out.unlink()
    except OSError as reason:
        raise EdslError(f"can't write {out}: {reason.strerror or reason}") from None


def write_plain_numbers(figure: Any) -> None:
    """Numbers as 0.95 on each logarithmic axis of less than a decade, where matplotlib writes 9.5 × 10⁻¹."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            if axis.get_scale() == "log" and low > 0 and high < _DECADE * low:
                axis.set_major_locator(MaxNLocator(nbins=6))
                axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
                axis.set_minor_locator(NullLocator())


def save(figure: Any, out: Path) -> None:
    """Write a figure and let go of it; raises EdslError where that can't be done."""
    try:
        check_picture(out)
        write_plain_numbers(figure)
        figure.savefig(out, dpi=130)
    except OSError as reason:
        raise EdslError(f"can't write {out}: {reason.strerror or reason}") from None
    finally:
        pyplot().close(figure)
