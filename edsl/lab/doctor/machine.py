"""The machine: its system, processor and GPUs, its compilers, and the environment variables that edsl or torch heed."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any

from edsl.errors import brief, first_line
from edsl.kernels.toolchain import find_compiler
from edsl.lab.doctor.findings import Problem, Section
from edsl.lab.doctor.packages import installed

_VECTORS = ("avx512_bf16", "avx512f", "avx2", "asimd")  # the widest that is there is named
HEEDED = (
    *("CXX", "EDSL_DATA", "EDSL_TOKENIZER", "XDG_CACHE_HOME", "TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR"),
    *("OMP_NUM_THREADS", "MKL_NUM_THREADS", "CUDA_VISIBLE_DEVICES", "TORCH_COMPILE_DISABLE", "TORCHDYNAMO_DISABLE"),
    *("TORCH_LOGS", "TRITON_INTERPRET", "PYTORCH_ENABLE_MPS_FALLBACK"),
)


def machine() -> Section:
    """System, processor, memory, and the environment."""
    facts = {"system": platform.platform(), "processor": _processor()}
    with suppress(ValueError, OSError, AttributeError):  # not every system tells
        pages, size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
        facts["memory"] = f"{pages * size / 1e9:.3g} GB"
    facts["variables"] = " ".join(f"{name}={os.environ[name]}" for name in HEEDED if name in os.environ) or "none"
    return Section(facts)


def compilers() -> Section:
    """The C++ compiler and Triton. Needs neither torch nor a GPU."""
    facts, problems = {}, []
    try:
        compiler = find_compiler()
        facts["C++"] = f"{compiler}, {_version_of(compiler)}"
    except OSError as reason:
        named = os.environ.get("CXX")
        facts["C++"] = f"none: CXX={named} is not there" if named else "none"
        advice = "unset CXX, or let it name a compiler" if named else "install g++ or clang++, or name one in CXX"
        problems.append(Problem(f"{brief(reason)}: steps on a CPU are slower, by torch.compile or eager", advice))
    facts["Triton"] = installed("triton") or "none"
    return Section(facts, problems)


def gpus() -> Section:
    """The devices beside the CPU that torch can use. Imports torch."""
    import torch

    facts: dict[str, str] = {}
    problems: list[Problem] = []
    for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        facts[f"cuda:{index}"] = _gpu(torch.cuda.get_device_properties(index))
    if facts:
        facts["CUDA"] = f"{torch.version.cuda or 'none'} in torch"
        if not installed("triton"):
            advice = "pip install triton"
            problems.append(Problem("there is a GPU but no Triton: its steps go through torch.compile", advice))
    elif shutil.which("nvidia-smi"):
        said = f"torch {torch.__version__} uses no GPU, though nvidia-smi is here"
        problems.append(Problem(said, "install a build of torch for CUDA: https://pytorch.org/get-started/locally"))
    for name in ("mps", "xpu"):
        if getattr(torch, name, None) is not None and torch.get_device_module(name).is_available():
            facts[name] = "yes; steps go through torch.compile"
    return Section(facts or {"GPU": "none that torch can use"}, problems)


def _gpu(found: Any) -> str:
    return f"{found.name}, {found.total_memory / 1e9:.3g} GB, compute capability {found.major}.{found.minor}"


def _processor() -> str:
    """Its name, cores, and vectors."""
    name, vectors = platform.processor() or platform.machine(), ""
    with suppress(OSError):
        text = Path("/proc/cpuinfo").read_text()
        named = re.search(r"^(?:model name|Model)\s*:\s*(.*)$", text, re.MULTILINE)
        flags = re.search(r"^(?:flags|Features)\s*:\s*(.*)$", text, re.MULTILINE)
        name = named[1] if named else name
        vectors = next((one for one in _VECTORS if flags and one in flags[1].split()), "")
    affine = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return ", ".join(filter(None, [name, f"{affine} of {os.cpu_count()} cores", vectors]))


def _version_of(compiler: str) -> str:
    try:
        done = subprocess.run([compiler, "--version"], capture_output=True, text=True, errors="replace", timeout=20)
    except (OSError, subprocess.SubprocessError) as reason:
        return f"which can't be run ({first_line(reason, 100)})"
    return brief(done.stdout or done.stderr or "which says no version", 100)
