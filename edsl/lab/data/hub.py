"""Data sets through Hugging Face's `datasets`: from its hub, or from a folder of yours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edsl.errors import EdslError, either, first_line


def splits(
    task: str, source: str, folder: Path | None, needed: tuple[str, ...], configuration: str | None = None
) -> Any:
    """A mapping from the names of splits to their rows.

    Args:
        task: its name, for errors.
        source: the hub's name of the data set.
        folder: a local copy instead, in any format that `datasets.load_dataset` reads, such as
            train-*.parquet and test-*.parquet, or folders of images train/LABEL and test/LABEL.
        needed: splits that must be there.
        configuration: which of the source's, where it has several.

    Raises:
        EdslError: without the package, without a connection, for a folder that can't be read, or
            where a split is missing.
    """
    try:
        import datasets
    except ImportError:
        raise EdslError(f"task {task} needs the package datasets: pip install 'edsl-optim[data]'") from None
    quiet()
    try:
        asked = (source, configuration) if folder is None else (str(folder), None)
        found = datasets.load_dataset(*asked)
    except Exception as reason:  # of many packages: no connection, no such format, a damaged file
        said = first_line(reason, 120)
        if folder is not None:
            raise EdslError(f"task {task}: datasets can't read {folder} ({said})") from None
        raise EdslError(
            f"task {task}: can't download {source} ({said}); name a local copy: {task}:FOLDER, or EDSL_DATA=FOLDER"
        ) from None
    missing = [name for name in needed if name not in found]
    if missing:
        place = source if folder is None else folder
        raise EdslError(f"task {task}: {place} has no split {missing[0]!r}, only {', '.join(map(str, found))}")
    return found


def quiet() -> None:
    """No progress bars, and no line for each try at a connection: what is wrong is said once, in an error."""
    from datasets import disable_progress_bars
    from huggingface_hub.utils import logging

    disable_progress_bars()
    logging.set_verbosity_error()


def column(task: str, rows: Any, names: tuple[str, ...]) -> str:
    """The first of these names that is a column; raises EdslError if none is."""
    for name in names:
        if name in rows.column_names:
            return name
    raise EdslError(f"task {task}: no column {either(names)}, only {', '.join(rows.column_names)}")
