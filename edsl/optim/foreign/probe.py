"""A step of another package's optimizer that is taken to see what it keeps, not for its numbers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from edsl.optim.foreign.packages import silenced


@contextmanager
def probing() -> Iterator[None]:
    """Inside, nothing is compiled, and tensors may be on the meta device, where every number that is asked for is 1."""
    with silenced(), torch.compiler.set_stance("force_eager"), _OnesOnMeta():
        yield


class _OnesOnMeta(TorchDispatchMode):
    """Gives 1 for a number of a meta tensor, which has none; an optimizer may branch on it."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten._local_scalar_dense.default and args[0].is_meta:
            return torch.ones((), dtype=args[0].dtype, device="cpu").item()
        return func(*args, **(kwargs or {}))
