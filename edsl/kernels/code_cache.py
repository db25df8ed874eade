"""Compiled code on disk: each entry is whole or not there, in a folder that nobody else can write to.

Code that is loaded runs with the user's rights. So a folder or file that belongs to somebody else, or that others may
write, is not used; and a file that was cut off or changed is known by its checksum, since a mapped library that ends
too early kills the process.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import tempfile
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TypeVar

from edsl.errors import EdslWarning, brief

T = TypeVar("T")
_CHECKSUM = "sha256"  # the file of an entry that holds its checksum
_UNFINISHED = "unfinished-"
_ABANDONED = 3600  # seconds after which what another process began is taken for left behind


class UnusableCache(OSError):
    """A folder in which compiled code can't be kept, or from which it can't be loaded."""


def cache_folder() -> Path:
    """Where compiled steps are kept: the folder `edsl` in TORCHINDUCTOR_CACHE_DIR where the user has set that, else
    `edsl/compiled` in XDG_CACHE_HOME or ~/.cache.

    torch sets the variable itself, to a folder under /tmp whose name anybody can foretell: that is not the user's word.

    Raises:
        UnusableCache: for a user without a home.
    """
    shared = os.environ.get("TORCHINDUCTOR_CACHE_DIR")
    if shared and not _is_torchs_own(Path(shared)):
        return Path(shared) / "edsl"
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edsl" / "compiled"
    except RuntimeError:  # a user without a home
        raise UnusableCache("there is no home folder: set XDG_CACHE_HOME") from None


def kept(key: str, name: str, make: Callable[[Path], None], load: Callable[[Path], T]) -> T:
    """What is loaded from the file of a cache entry, which is made where it is missing or damaged.

    Args:
        key: of the entry; it tells all apart that the file depends on.
        name: of the file.
        make: writes the file at a path.
        load: reads it; its OSError is taken for the folder's fault, as on a disk that can't be executed from.

    Raises:
        UnusableCache: where even a temporary folder can't be used.
        whatever `make` raises, and `load` but for OSError.
    """
    try:
        return _kept_in(cache_folder(), key, name, make, load)
    except UnusableCache as reason:
        _warn(f"compiled steps can't be cached: {reason}; each process compiles them again")
        return _kept_in(_private_folder(), key, name, make, load)


def _kept_in(folder: Path, key: str, name: str, make: Callable[[Path], None], load: Callable[[Path], T]) -> T:
    prepare(folder)
    entry = folder / key
    if _is_there(entry) and not _is_whole(entry, name):
        warnings.warn(f"{entry} was damaged: compiling it again", EdslWarning, stacklevel=2)
        _remove(entry, name)
        if _is_there(entry) and not _is_whole(entry, name):
            raise UnusableCache(f"{entry} is damaged and can't be removed")
    if not _is_there(entry):
        _build(folder, entry, name, make)
    try:
        return load(entry / name)
    except OSError as reason:
        raise UnusableCache(f"{entry / name} can't be loaded ({brief(reason, 200)})") from reason


def prepare(folder: Path) -> None:
    """Make the folder where it is missing; raises UnusableCache where it can't be trusted."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o755)
        _check_owner(folder)
        for above in dict.fromkeys([*folder.absolute().parents, *folder.resolve().parents]):
            _check_above(above, folder)
    except UnusableCache:
        raise
    except OSError as reason:
        raise UnusableCache(f"{folder} can't be made or read ({reason.strerror or reason})") from reason


def _check_above(above: Path, folder: Path) -> None:
    """Raises UnusableCache where somebody else could put another folder in the place of ours."""
    if not hasattr(os, "geteuid"):
        return
    found = above.stat()
    if found.st_uid not in _trusted():
        raise UnusableCache(f"{above}, where {folder} is, belongs to another user (uid {found.st_uid})")
    if found.st_mode & stat.S_IWOTH and not found.st_mode & stat.S_ISVTX:
        raise UnusableCache(f"everybody may write to {above}, where {folder} is")


def _trusted() -> set[int]:
    """This user and root, who in some containers has another number: whoever owns / is root."""
    return {os.geteuid(), 0, Path("/").stat().st_uid}


def _check_owner(place: Path) -> None:
    """Raises UnusableCache for what is somebody else's, or may be written by others."""
    if not hasattr(os, "geteuid"):
        return
    for found in (place.lstat(), place.stat()):  # a link, and what it leads to
        if found.st_uid not in _trusted():
            raise UnusableCache(f"{place} belongs to another user (uid {found.st_uid})")
    if place.stat().st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise UnusableCache(f"others may write to {place}: chmod go-w {place}")


def _is_there(entry: Path) -> bool:
    return os.path.lexists(entry)


def _is_whole(entry: Path, name: str) -> bool:
    """Whether an entry is ours and has its checksum.

    Raises:
        UnusableCache: where it is somebody else's.
    """
    try:
        for place in (entry, entry / name):
            _check_owner(place)
        return (entry / _CHECKSUM).read_text(encoding="ascii") == _checksum(entry / name)
    except UnusableCache:
        raise
    except (OSError, UnicodeDecodeError):  # a file that is missing, or an entry that is no folder
        return False


def _build(folder: Path, entry: Path, name: str, make: Callable[[Path], None]) -> None:
    """Make an entry aside, and put it in its place whole, if no other process was faster."""
    _sweep(folder)
    try:
        aside = Path(tempfile.mkdtemp(prefix=_UNFINISHED, dir=folder))
    except OSError as reason:
        raise UnusableCache(f"{folder} can't be written to ({reason.strerror or reason})") from reason
    try:
        make(aside / name)
        (aside / _CHECKSUM).write_text(_checksum(aside / name), encoding="ascii")
        for place in (aside, aside / name, aside / _CHECKSUM):
            place.chmod(0o755)  # others may read it, as where an image holds it for all users
        for place in (aside / name, aside / _CHECKSUM, aside):
            _flush(place)
        with suppress(OSError):  # another process has put it there
            os.rename(aside, entry)
        if not _is_whole(entry, name):
            raise UnusableCache(f"{entry} can't be written")
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _sweep(folder: Path) -> None:
    """Remove what processes that were killed have left."""
    for place in folder.glob(f"{_UNFINISHED}*"):
        with suppress(OSError):
            if time.time() - place.stat().st_mtime > _ABANDONED:
                shutil.rmtree(place, ignore_errors=True)


def _remove(entry: Path, name: str) -> None:
    """Take a damaged entry out of its place, unless another process has just mended it."""
    try:
        aside = Path(tempfile.mkdtemp(prefix=_UNFINISHED, dir=entry.parent)) / entry.name
        os.rename(entry, aside)
    except OSError:
        return
    if _is_whole(aside, name):
        with suppress(OSError):
            os.rename(aside, entry)
    shutil.rmtree(aside.parent, ignore_errors=True)


def _flush(place: Path) -> None:
    """Bring a file to the disk before anything points to it."""
    with suppress(OSError):  # some systems can't, for folders
        descriptor = os.open(place, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _checksum(place: Path) -> str:
    return hashlib.sha256(place.read_bytes()).hexdigest()


@cache
def _private_folder() -> Path:
    """A folder of this process alone, gone when it ends."""
    held = tempfile.TemporaryDirectory(prefix="edsl-")
    _HELD.append(held)
    return Path(held.name)


_HELD: list[tempfile.TemporaryDirectory[str]] = []


def _is_torchs_own(folder: Path) -> bool:
    """Whether torch chose it: /tmp/torchinductor_USER."""
    return folder.parent == Path(tempfile.gettempdir()) and folder.name.startswith("torchinductor_")


@cache
def _warn(message: str) -> None:
    """Warn, once for each message."""
    warnings.warn(message, EdslWarning, stacklevel=2)
