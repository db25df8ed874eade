"""The folders that edsl, torch and Triton keep compiled code and data in: where, whose, how large, of use or not."""

from __future__ import annotations

import getpass
import os
import re
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from edsl.errors import brief
from edsl.kernels.code_cache import UnusableCache, cache_folder, prepare
from edsl.lab.doctor.findings import Problem, Section

_PATIENCE = 2.0  # seconds for which a folder's files are counted


def caches() -> Section:
    """Each cache, and why it can't be used where that is so."""
    from edsl.lab.data.cache import folder as data_folder  # which needs numpy

    own, reason = _code_cache()
    facts, problems = {"edsl's code": own}, []
    if reason:
        what = f"compiled steps can't be cached: {reason}; each process compiles them again"
        problems.append(Problem(what, "set XDG_CACHE_HOME to a folder that is yours alone"))
    facts["edsl's data"] = _described(data_folder(), deep=False)
    facts["torch"] = _described(_torchs())
    facts["Triton"] = _described(_tritons())
    return Section(facts, problems)


def _code_cache() -> tuple[str, str]:
    """The folder of compiled steps, described, and why it can't be used, "" where it can."""
    folder = None
    try:
        folder = cache_folder()
        prepare(folder)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except UnusableCache as reason:
        return _described(folder), str(reason)
    except OSError as reason:
        return _described(folder), f"{folder} can't be written to ({reason.strerror or reason})"
    return _described(folder), ""


def _torchs() -> Path:
    """torch's folder for what torch.compile makes, which it names after the user."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a user without a name
        user = str(os.getuid())
    named = re.sub(r'[\\/:*?"<>|]', "_", user)
    return Path(os.environ.get("TORCHINDUCTOR_CACHE_DIR") or Path(tempfile.gettempdir()) / f"torchinductor_{named}")


def _tritons() -> Path | None:
    asked = os.environ.get("TRITON_CACHE_DIR")
    if asked:
        return Path(asked)
    try:
        return Path(os.environ.get("TRITON_HOME") or Path.home()) / ".triton" / "cache"
    except RuntimeError:  # a user without a home
        return None


def _described(folder: Path | None, deep: bool = True) -> str:
    """A folder's path, size and owner."""
    if folder is None:
        return "there is no home folder"
    try:
        owner = folder.stat().st_uid
    except FileNotFoundError:
        return f"{folder}, not there yet"
    except OSError as reason:
        return f"{folder}, {brief(reason.strerror or reason)}"
    count, size, whole = _measured(folder, deep)
    least = "" if whole else "at least "
    held = f"{least}{size / 1e6:.3g} MB in {count} file{'s' if count != 1 else ''}" if count else "empty"
    return f"{folder}, {held}, {_owner(owner)}"


def _measured(folder: Path, deep: bool) -> tuple[int, int, bool]:
    """How many files a folder holds, of how many bytes, and whether all were counted."""
    count = size = 0
    end = time.monotonic() + _PATIENCE
    for one in _files(folder, deep):
        if time.monotonic() > end:
            return count, size, False
        count += 1
        with suppress(OSError):
            size += one.stat(follow_symlinks=False).st_size
    return count, size, True


def _files(folder: Path, deep: bool) -> Iterator[os.DirEntry[str]]:
    waiting = [str(folder)]
    while waiting:
        with suppress(OSError), os.scandir(waiting.pop()) as entries:
            for entry in entries:
                if not entry.is_dir(follow_symlinks=False):
                    yield entry
                elif deep:
                    waiting.append(entry.path)


def _owner(uid: int) -> str:
    if not hasattr(os, "geteuid") or uid == os.geteuid():
        return "yours"
    return "root's" if uid == 0 else f"another user's (uid {uid})"
