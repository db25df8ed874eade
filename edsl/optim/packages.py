"""The optimizer classes of torch.optim and torch_optimizer, by their dotted names."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from edsl.errors import EdslError, nearest


@lru_cache
def optimizer_class(name: str) -> Any:
    """The class that a dotted name means: an optimizer of one of two packages, and nothing else.

    Raises:
        EdslError: when the package is not installed or has no such optimizer.
    """
    import torch

    package, _, attribute = name.partition(".")
    known = _optimizers(package)
    if attribute not in known:
        raise EdslError(f"{package} has no optimizer {attribute!r}; {nearest(attribute, known, 'it has')}")
    cls = known[attribute]
    assert issubclass(cls, torch.optim.Optimizer)
    return cls


@lru_cache
def _optimizers(package: str) -> dict[str, Any]:
    import torch

    if package == "torch":
        module: Any = torch.optim
    else:
        try:
            import torch_optimizer as module
        except ImportError:
            raise EdslError(f"{package} is not installed: pip install torch-optimizer") from None
    return optimizers_in(module)


def optimizers_in(module: Any) -> dict[str, Any]:
    """The optimizer classes of a module, by their names."""
    import torch

    base = torch.optim.Optimizer
    return {
        key: value
        for key, value in vars(module).items()
        if isinstance(value, type) and issubclass(value, base) and value is not base and not key.startswith("_")
    }


def example_parameters() -> list[Any]:
    """What an optimizer is built over, to see its defaults."""
    import torch

    return [torch.zeros(2, 2, device="cpu", requires_grad=True)]
