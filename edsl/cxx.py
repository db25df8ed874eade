"""C++ text → a loaded library, compiled once for a machine."""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

FLAGS = ("-std=c++17", "-O3", "-march=native", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math")
THREADS = ("-fopenmp", "-fopenmp-simd", "")  # the first that the compiler knows


@cache
def compiled(text: str) -> ctypes.CDLL:
    """The library that a text compiles to, from the cache where it is there.

    The cache is the folder `edsl` in TORCHINDUCTOR_CACHE_DIR where that is set, else ~/.cache/edsl.

    Raises:
        OSError: where no compiler is found, or it fails.
    """
    compiler = find_compiler()
    key = hashlib.sha256("\0".join([text, compiler, *FLAGS, _processor()]).encode()).hexdigest()[:32]
    place = cache_folder() / f"{key}.so"
    if not place.exists():
        _compile(compiler, text, place)
    return ctypes.CDLL(str(place))


def cache_folder() -> Path:
    """Where compiled steps are kept."""
    shared = os.environ.get("TORCHINDUCTOR_CACHE_DIR")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(shared) / "edsl" if shared else cache / "edsl"


def find_compiler() -> str:
    """The C++ compiler's path: CXX, or one of the usual names.

    Raises:
        OSError: where there is none.
    """
    named = os.environ.get("CXX")
    for name in [named] if named else ["g++", "clang++", "c++"]:
        found = shutil.which(name)
        if found:
            return found
    raise OSError("no C++ compiler was found (install g++, or name one in CXX)")


def _compile(compiler: str, text: str, place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with tempfile.TemporaryDirectory(dir=place.parent) as folder:
        (Path(folder) / "step.cpp").write_text(text)
        failure = ""
        for threads in THREADS:
            words = [compiler, *FLAGS, *filter(None, [threads]), "-shared", "-fPIC", "step.cpp", "-o", "step.so"]
            done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)
            if done.returncode == 0:
                os.replace(Path(folder) / "step.so", place)
                return
            failure = failure or done.stderr
    raise OSError(f"the C++ compiler failed: {next(iter(failure.splitlines()), 'no message')[:200]}")


@cache
def _processor() -> str:
    """What -march=native depends on."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    return platform.machine() + next((line for line in lines if line.startswith(("flags", "Features"))), "")
