"""Optimizers of other packages with their defaults, by name: torch.AdamW, heavyball.AdamW, …"""

from __future__ import annotations

import ast
import inspect
from typing import Any

import torch

from edsl.errors import EdslError, brief, either, shown
from edsl.language.registry.stages import PACKAGES
from edsl.optim.foreign.modes import to_training
from edsl.optim.foreign.packages import optimizer_class


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
    if name.partition(".")[0] not in PACKAGES:
        said = "is no optimizer to measure against: write one as PACKAGE.NAME, of"
        raise EdslError(f"{shown(name)} {said} {either(PACKAGES)}")
    return optimizer_class(name)


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
        optimizer = kind(parameters, **arguments)
        to_training(optimizer)
        return optimizer
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
