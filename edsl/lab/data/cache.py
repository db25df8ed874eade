"""Generated data kept on the disk, so that it is made once for all processes."""

from __future__ import annotations

import atexit
import os
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import IO

import numpy as np

Arrays = dict[str, np.ndarray]
_UNREADABLE = (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error)  # what numpy raises of a damaged file


def folder() -> Path:
    """$XDG_CACHE_HOME/edsl, or ~/.cache/edsl; for a user without a home a folder of this process alone."""
    base = os.environ.get("XDG_CACHE_HOME")
    try:
        return (Path(base) if base else Path.home() / ".cache") / "edsl"
    except RuntimeError:  # a user without a home
        return _private_folder()


@cache
def _private_folder() -> Path:
    """Gone when the process ends."""
    held = tempfile.TemporaryDirectory(prefix="edsl-")
    atexit.register(held.cleanup)
    return Path(held.name)


def kept(name: str, make: Callable[[], Arrays]) -> Arrays:
    """The arrays of this name, from the disk if they are there, else made and put there.

    A file appears whole or not at all, whoever else makes it at the same time; a disk that can't be
    written only costs the time to make them again.
    """
    place = folder() / f"{name}.npz"
    with suppress(*_UNREADABLE), np.load(place) as held:
        return dict(held)
    made = make()
    _put(place, lambda file: np.savez(file, **made))  # pyright: ignore[reportArgumentType] (names of arrays)
    return made


def mapped(name: str, make: Callable[[], np.ndarray]) -> np.ndarray:
    """As `kept`, one array, which stays on the disk and is read where it is looked at."""
    place = folder() / f"{name}.npy"
    if not is_kept(name):
        made = make()
        if made.size == 0 or not _put(place, lambda file: np.save(file, made)):
            return made  # an empty file can't be mapped
    return np.load(place, mmap_mode="r")


def is_kept(name: str) -> bool:
    """Whether `mapped` finds this array."""
    try:
        np.load(folder() / f"{name}.npy", mmap_mode="r")
    except _UNREADABLE:
        return False
    return True


def _put(place: Path, write: Callable[[IO[bytes]], None]) -> bool:
    """Write a file whole; whether the disk took it."""
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        descriptor, part = tempfile.mkstemp(dir=place.parent, suffix=place.suffix)
        try:
            with os.fdopen(descriptor, "wb") as file:
                write(file)
            os.replace(part, place)
        except OSError:
            os.unlink(part)
            raise
    except OSError:
        return False
    return True
