"""The optimizer classes of other packages, by their dotted names."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Collection, Iterator
from contextlib import contextmanager, redirect_stdout
from functools import lru_cache
from importlib import import_module
from typing import Any

from edsl.errors import EdslError, brief, nearest, shown
from edsl.language.registry.stages import PACKAGES


class AbsentPackage(EdslError):
    """A package that is not installed, or doesn't load."""


@lru_cache
def optimizer_class(name: str) -> Any:
    """The class that a dotted name means: an optimizer of one of the packages that a spec may name, and nothing else.

    Raises:
        AbsentPackage: when the package is not installed, or doesn't load.
        EdslError: when it has no such optimizer.

    Example:
        >>> from edsl.optim.foreign.packages import optimizer_class
        >>> optimizer_class("torch.AdamW").__module__
        'torch.optim.adamw'
    """
    package, _, attribute = name.partition(".")
    known = optimizers_of(package)
    if attribute not in known:
        raise EdslError(f"{package} has no optimizer {shown(attribute)}; {_near(attribute, known)}")
    return known[attribute]


@lru_cache
def optimizers_of(package: str) -> dict[str, Any]:
    """The optimizer classes of a package, by their names; raises AbsentPackage where it can't be had."""
    import torch

    module, project = PACKAGES[package]
    try:
        with silenced():
            found: Any = import_module(module)
    except Exception as reason:  # as it loads, another package may raise anything
        if isinstance(reason, ModuleNotFoundError) and reason.name == package:
            raise AbsentPackage(f"{package} is not installed: pip install {project}") from None
        raise AbsentPackage(f"{package} doesn't load: {brief(reason, 200)}") from None
    base = torch.optim.Optimizer
    return {
        key: value
        for key, value in vars(found).items()
        if isinstance(value, type) and issubclass(value, base) and value is not base and not key.startswith("_")
    }


@contextmanager
def silenced() -> Iterator[None]:
    """Inside, other packages print, log and warn of nothing."""
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)


def _near(attribute: str, known: Collection[str]) -> str:
    """The name that was meant, whatever its capitals; else a few of those that there are."""
    by_letters = {name.lower(): name for name in known}
    if attribute.lower() in by_letters:
        return f"did you mean {by_letters[attribute.lower()]!r}?"
    said = nearest(attribute, known, "")
    return said if said.startswith("did you mean") else f"it has {len(known)}, such as {', '.join(list(known)[:4])}"
