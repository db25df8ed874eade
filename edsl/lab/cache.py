"""Generated data kept on the disk, so that it is made once for all processes."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np

Arrays = dict[str, np.ndarray]


def folder() -> Path:
    """$XDG_CACHE_HOME/edsl, or ~/.cache/edsl."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "edsl"


def kept(name: str, make: Callable[[], Arrays]) -> Arrays:
    """The arrays of this name, from the disk if they are there, else made and put there.

    A file appears whole or not at all, whoever else makes it at the same time; a disk that can't be
    written only costs the time to make them again.
    """
    place = folder() / f"{name}.npz"
    with suppress(OSError, ValueError, EOFError), np.load(place) as held:
        return dict(held)
    made = make()
    with suppress(OSError):
        place.parent.mkdir(parents=True, exist_ok=True)
        descriptor, part = tempfile.mkstemp(dir=place.parent, suffix=".npz")
        try:
            with os.fdopen(descriptor, "wb") as file:
                np.savez(file, **made)  # pyright: ignore[reportArgumentType] (names of arrays)
            os.replace(part, place)
        except OSError:
            os.unlink(part)
            raise
    return made
