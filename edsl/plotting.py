"""What every picture needs: matplotlib, colours, and a file to be drawn into."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edsl.errors import EdslError

BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#555555"  # of Okabe and Ito, told apart by the colour-blind
YELLOW = "#E69F00"
ENDINGS = (".png", ".svg", ".pdf")


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
    if not out.parent.is_dir():
        raise EdslError(f"can't write {out}: there is no folder {out.parent}")
    if out.is_dir():
        raise EdslError(f"can't write {out}: it is a folder")


def save(figure: Any, out: Path) -> None:
    """Write a figure and let go of it; raises EdslError where that can't be done."""
    try:
        check_picture(out)
        figure.savefig(out, dpi=130)
    except OSError as reason:
        raise EdslError(f"can't write {out}: {reason.strerror or reason}") from None
    finally:
        pyplot().close(figure)
