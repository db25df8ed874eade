"""Files of checkpoints: the optimizer in one is converted, all else stays as it is."""

from __future__ import annotations

import os
import pickle
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from edsl.errors import EdslError, brief
from edsl.language.spec import read
from edsl.optim.conversion.convert import check_state_dict, convert, is_edsls
from edsl.optim.conversion.to_torch import to_torch


@dataclass(frozen=True)
class ConvertedFile:
    """What became of a file.

    Attributes:
        place: of the optimizer's state_dict in it, such as "optimizer_states.0", "" where it is the file itself.
        to: "edsl" or "torch".
        spec: edsl's pipeline in one line, with the numbers of the first group.
        optimizer: the other side's call, which goes on with it.
        groups, parameters: how many, and of these how many have state.
        split: groups of edsl's that became two, since torch can exclude no parameter from weight decay.
    """

    source: str
    target: str
    place: str
    to: str
    spec: str
    optimizer: str
    groups: int
    parameters: int
    with_state: int
    split: int


def convert_file(
    source: Path, target: Path, place: str = "", optimizer: str | None = None, steps: int = 0
) -> ConvertedFile:
    """Convert the optimizer's state_dict in a file of torch.save, into a new file that is whole or not there.

    Args:
        place: keys to it, with dots between them; needed where the file holds several.

    Raises:
        EdslError: for a file that can't be read without running code, or written, and as `edsl.convert` does.
    """
    if os.path.lexists(target):  # Path.exists raises for names that are too long
        raise EdslError(f"{target} exists already; choose another name")
    held = _read(source)
    keys = _place(held, place, source)
    before = _at(held, keys)
    check_state_dict(before)
    to = "torch" if is_edsls(before) else "edsl"
    torchs, after = to_torch(before) if to == "torch" else ("", convert(before, optimizer=optimizer, steps=steps))
    _write(_with(held, keys, after), target)
    groups = after["param_groups"]
    text = (before if to == "torch" else after)["param_groups"][0]["pipeline"]
    pipeline = read(text)
    call = f"torch.optim.{torchs}" if to == "torch" else f"edsl.compile({pipeline.line!r}, …, exclude=())"
    return ConvertedFile(
        *(str(source), str(target), ".".join(map(str, keys)), to, pipeline.line, call, len(groups)),
        sum(len(group["params"]) for group in groups),
        len(after["state"]),
        len(groups) - len(before["param_groups"]),
    )


def _read(source: Path) -> Any:
    if os.path.isdir(source):
        raise EdslError(f"{source} is a folder: give a file of torch.save")
    try:
        return torch.load(source, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise EdslError(f"there is no file {source}") from None
    except pickle.UnpicklingError:
        raise EdslError(
            f"{source} is no checkpoint that loads with weights_only=True: load it where you trust it, and give "
            "edsl.convert its state_dict"
        ) from None
    except OSError as reason:
        raise EdslError(f"{source} can't be read: {reason.strerror or brief(reason, 200)}") from None
    except Exception:  # of a damaged file torch raises many kinds, with words about its own reader
        raise EdslError(f"{source} is no file of torch.save, or not the whole of one") from None


def _place(held: Any, place: str, source: Path) -> tuple[Any, ...]:
    """The keys to the optimizer's state_dict."""
    found = list(_places(held))
    names = [".".join(map(str, keys)) for keys in found]
    if place:
        if place not in names:
            raise EdslError(
                f"{source} holds no optimizer's state_dict at {place}; it has: {', '.join(names) or 'none'}"
            )
        return found[names.index(place)]
    if not found:
        raise EdslError(f"{source} holds no optimizer's state_dict: a dict with the keys 'state' and 'param_groups'")
    if len(found) > 1:
        raise EdslError(f"{source} holds several optimizers: choose one by --at, of {', '.join(names)}")
    return found[0]


def _places(held: Any, keys: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if isinstance(held, dict) and {"state", "param_groups"} <= held.keys():
        yield keys
    elif isinstance(held, (dict, list, tuple)):
        for key, part in held.items() if isinstance(held, dict) else enumerate(held):
            yield from _places(part, (*keys, key))


def _at(held: Any, keys: tuple[Any, ...]) -> Any:
    for key in keys:
        held = held[key]
    return held


def _with(held: Any, keys: tuple[Any, ...], part: Any) -> Any:
    """The same with another part at a place; nothing that was there changes."""
    if not keys:
        return part
    first, *rest = keys
    changed = _with(held[first], tuple(rest), part)
    if isinstance(held, dict):
        copied = held.copy()
        copied[first] = changed
        return copied
    return type(held)(changed if place == first else one for place, one in enumerate(held))


def _write(held: Any, target: Path) -> None:
    """Write a file that is whole or not there."""
    try:
        descriptor, aside = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}-")
    except (OSError, ValueError) as reason:  # the last of a zero byte in its name
        raise EdslError(f"can't write {target}: {getattr(reason, 'strerror', None) or reason}") from None
    try:
        with os.fdopen(descriptor, "wb") as file:
            torch.save(held, file)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(aside, 0o666 & ~_umask())
        os.replace(aside, target)
    except (OSError, RuntimeError) as reason:  # torch's of a full disk
        raise EdslError(f"can't write {target}: {brief(reason, 200)}") from None
    finally:
        with suppress(OSError):
            os.unlink(aside)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
