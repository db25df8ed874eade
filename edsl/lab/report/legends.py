"""Names of optimizers in pictures: broken into lines and never cut, for what differs is often last."""

from __future__ import annotations

import textwrap
from typing import Any

WIDTH = 34  # characters of a line in a legend
COLUMNS = 4  # of a legend at the most
LINE, LETTER, HANDLE = 0.15, 0.064, 0.6  # inches of a line, of a letter, and of what stands before a name


def wrapped(name: str, width: int = WIDTH) -> str:
    """A name in lines of some characters, broken at spaces where it has them.

    Example:
        >>> from edsl.lab.report.legends import wrapped
        >>> print(wrapped("adam(lr=0.001, beta2=0.9), without E", 27))
        adam(lr=0.001, beta2=0.9),
        without E
    """
    return "\n".join(textwrap.wrap(name, width, break_on_hyphens=False)) or name


def legend_below(figure: Any, axes: Any) -> None:
    """The legend of some axes below the whole picture, which grows by its height."""
    handles, labels = axes.get_legend_handles_labels()
    if not handles:
        return
    longest = max(len(line) for label in labels for line in label.split("\n"))
    columns = max(1, min(COLUMNS, len(labels), int(figure.get_figwidth() / (LETTER * longest + HANDLE))))
    heights = [label.count("\n") + 1 for label in labels]
    rows = -(-len(labels) // columns)
    # matplotlib fills a legend column by column
    lines = sum(max(heights[row::rows]) for row in range(rows))
    figure.set_figheight(figure.get_figheight() + LINE * max(0, lines - 1))
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, frameon=False, fontsize=8)
