"""Optimizers of other packages with their defaults, by name: torch.AdamW, heavyball.AdamW, …"""

from __future__ import annotations

import ast
import inspect
import warnings
from difflib import get_close_matches
from functools import lru_cache
from importlib import import_module
from typing import Any

import torch

from edsl.errors import EdslError, brief, shown
from edsl.optim.packages import optimizers_in

MODULES = {  # of each package
    "torch": "torch.optim",
    "torch_optimizer": "torch_optimizer",
    "pytorch_optimizer": "pytorch_optimizer",
    "heavyball": "heavyball",
}
_PACKAGES = "torch, torch_optimizer, pytorch_optimizer or heavyball"


class AbsentPackage(EdslError):
    """A package that is not installed, or doesn't load."""


def peer_class(name: str) -> Any:
    """The optimizer class PACKAGE.NAME of another package.

    Raises:
        AbsentPackage: when the package is not there.
        EdslError: for another package, or an optimizer that the package hasn't.

    Example:
        >>> from edsl.lab.benchmarks.peers import peer_class
        >>> peer_class("torch.AdamW").__module__
        'torch.optim.adamw'
    """
    package, _, attribute = name.partition(".")
    if package not in MODULES:
        raise EdslError(f"{shown(name)} is no optimizer to measure against: write one as PACKAGE.NAME, of {_PACKAGES}")
    known = _optimizers(package)
    if attribute not in known:
        near = get_close_matches(attribute, known, n=1)
        some = f"did you mean {near[0]!r}?" if near else f"it has {len(known)}, such as {', '.join(list(known)[:4])}"
        raise EdslError(f"{package} has no optimizer {shown(attribute)}; {some}")
    return known[attribute]


def build_peer(name: str, parameters: list[torch.nn.Parameter]) -> Any:
    """The optimizer PACKAGE.NAME with its defaults or, as PACKAGE.NAME(key=value, …), with these arguments.

    It is fused if it is torch's and can be.

    Raises:
        EdslError: as `peer_class`, and when it refuses the parameters or arguments, or wants more of them.
    """
    bare, arguments = _read(name)
    kind = peer_class(bare)
    if bare.startswith("torch.") and "fused" in inspect.signature(kind.__init__).parameters:
        arguments = {"fused": True, **arguments}
    try:
        return kind(parameters, **arguments)
    except Exception as reason:  # another package's constructor may raise anything
        how = "" if "(" in name else " with its defaults"
        raise EdslError(f"{name} can't be built{how}: {brief(reason, 200)}") from None


def _read(text: str) -> tuple[str, dict[str, Any]]:
    """A name and the arguments behind it, which are literals."""
    bare, bracket, _ = text.partition("(")
    if not bracket:
        return bare, {}
    try:
        call: Any = ast.parse(text, mode="eval").body
        return bare, {keyword.arg: ast.literal_eval(keyword.value) for keyword in call.keywords}
    except (AttributeError, SyntaxError, ValueError):
        raise EdslError(f"{shown(text)} can't be read: write PACKAGE.NAME(key=value, …)") from None


@lru_cache
def _optimizers(package: str) -> dict[str, Any]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module = import_module(MODULES[package])
    except ModuleNotFoundError as reason:
        if reason.name == package:
            raise AbsentPackage(f"{package} is not installed") from None
        raise AbsentPackage(f"{package} doesn't load: {brief(reason, 200)}") from None
    except Exception as reason:  # as it loads, another package may raise anything
        raise AbsentPackage(f"{package} doesn't load: {brief(reason, 200)}") from None
    return optimizers_in(module)
