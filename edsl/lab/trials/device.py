"""The device that a comparison runs on, and the memory it has."""

from __future__ import annotations

import warnings
from pathlib import Path

from edsl.errors import EdslError, brief, shown

_GROUP = Path("/sys/fs/cgroup")


def usable_device(name: str) -> str:
    """A torch device's name that tensors can be on; auto is cuda if there is one, else cpu.

    Raises:
        EdslError: for a device that isn't there.
    """
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.empty(1, device=name).item()
    except Exception as reason:  # each kind of device has its own way to be missing
        said = brief(reason).split(". ")[0]
        short = said if len(said) <= 100 else f"{said[:97]}..."
        raise EdslError(f"device {shown(name)} can't be used here, take cpu or auto: {short}") from None
    return name


def free_memory(device: str) -> int | None:
    """Bytes that can be allocated on a device now; None where nothing tells."""
    import torch

    if torch.device(device).type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    free = next((1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")), None)
    within = _free_in_group()
    return within if free is None else free if within is None else min(free, within)


def _free_in_group() -> int | None:
    """What a container's limit leaves, counting files that it would drop from memory."""
    try:
        limit = (_GROUP / "memory.max").read_text().strip()
        used = int((_GROUP / "memory.current").read_text())
        files = dict(line.split() for line in (_GROUP / "memory.stat").read_text().splitlines())
        return None if limit == "max" else int(limit) - used + int(files["inactive_file"])
    except (OSError, KeyError, ValueError):
        return None
