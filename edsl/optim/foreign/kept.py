"""What another package's optimizer keeps between steps, as a checkpoint holds it.

Keys of its state that are texts are names as they are; any other, such as 0, is the name [0].
"""

from __future__ import annotations

from ast import literal_eval
from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor

ATTRIBUTES = "attributes"  # of the optimizer itself, in the first of a checkpoint's groups


def named(key: Any) -> str:
    """The name of a key."""
    return key if isinstance(key, str) else f"[{key!r}]"


def key_of(name: str) -> Any:
    """The key of a name.

    Example:
        >>> from edsl.optim.foreign.kept import key_of, named
        >>> [key_of(named(key)) for key in ("exp_avg", 0)]
        ['exp_avg', 0]
    """
    try:
        return literal_eval(name[1:-1]) if name.startswith("[") else name
    except (SyntaxError, ValueError):  # a text after all
        return name


def is_data(value: Any) -> bool:
    """Whether it is made of numbers, texts and tensors alone, unlike a class, a function or a member of an Enum."""
    if isinstance(value, Mapping):
        return all(map(is_data, value.values()))
    if isinstance(value, (list, tuple, set)):
        return all(map(is_data, value))
    return type(value) in _PLAIN or isinstance(value, (Tensor, torch.dtype, torch.device))


def restored(saved: Any, loaded: Any, device: torch.device) -> Any:
    """A copy of a saved value of a parameter's state, in its own dtype, whatever torch has made of it in loading."""
    if isinstance(saved, Tensor):
        same = isinstance(loaded, Tensor) and loaded.dtype == saved.dtype
        return loaded.clone() if same else saved.to(device, copy=True)
    if type(saved) is dict:
        return {key: restored(value, None, device) for key, value in saved.items()}
    if type(saved) in (list, tuple):
        return type(saved)(restored(value, None, device) for value in saved)
    return deepcopy(saved)


def attributes_of(optimizer: Any) -> dict[str, Any]:
    """What it keeps in attributes of its own, of numbers and texts, such as a count of all steps."""
    return {
        name: deepcopy(value) for name, value in vars(optimizer).items() if name not in _TORCHS and _is_plain(value)
    }


def set_attributes(optimizer: Any, attributes: Any) -> None:
    """Set those that it has, of numbers and texts alone."""
    for name, value in attributes.items() if isinstance(attributes, dict) else ():
        if name not in _TORCHS and name in vars(optimizer) and _is_plain(value):
            setattr(optimizer, name, deepcopy(value))


def _is_plain(value: Any) -> bool:
    if type(value) is dict:
        return all(_is_plain(one) for pair in value.items() for one in pair)
    if type(value) in (list, tuple):
        return all(map(_is_plain, value))
    return type(value) in _PLAIN


_PLAIN = (type(None), bool, int, float, str, bytes)
_TORCHS = frozenset(vars(torch.optim.Optimizer([torch.zeros(1)], {})))  # what every optimizer has
