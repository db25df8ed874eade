"""C++ text → a loaded library, compiled once for a machine."""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from edsl.errors import CompilerFailed
from edsl.kernels.code_cache import kept

FLAGS = ("-std=c++17", "-march=native", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math")
FASTEST = ("-O3",)
QUICKLY = ("-O2", "-ftree-vectorize", "-fvect-cost-model=dynamic")  # in two thirds of the time
LIBRARY = "step.so"
THREADS = ("-fopenmp", "-fopenmp-simd", "")  # the first that the compiler knows


@cache
def compile_library(text: str, optimize: tuple[str, ...] = FASTEST) -> ctypes.CDLL:
    """The library that a text compiles to, from the cache where it is there.

    Args:
        optimize: flags.

    Raises:
        CompilerFailed: where the compiler does.
        OSError: where there is none, or nothing can be kept or loaded.
    """
    compiler = find_compiler()
    command = [compiler, *FLAGS, *optimize]
    key = hashlib.sha256("\0".join([text, *command, _processor()]).encode()).hexdigest()[:32]
    return kept(key, LIBRARY, lambda place: _compile(command, text, place), lambda place: ctypes.CDLL(str(place)))


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


def _compile(command: Sequence[str], text: str, place: Path) -> None:
    with tempfile.TemporaryDirectory(dir=place.parent) as folder:
        source = Path(folder) / "step.cpp"
        source.write_text(text, encoding="utf-8")
        failure = ""
        for threads in THREADS:
            words = [*command, *filter(None, [threads]), "-shared", "-fPIC", str(source), "-o", str(place)]
            done = subprocess.run(words, cwd=folder, capture_output=True, text=True, errors="replace", check=False)
            if done.returncode == 0:
                return
            failure = failure or done.stderr
    raise CompilerFailed("the C++ compiler", failure or "no message")


@cache
def _processor() -> str:
    """What -march=native depends on."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    return platform.machine() + next((line for line in lines if line.startswith(("flags", "Features"))), "")
