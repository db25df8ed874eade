"""The most bytes that a function on tensors holds at once, found where nothing is allocated."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

_EIGH, _QR = torch.ops.aten._linalg_eigh.default, torch.ops.aten.linalg_qr.default


def peak_bytes(function: Callable[[], Any]) -> int:
    """Bytes of all tensors that the function makes, at the moment when most of them are alive.

    On the meta device tensors have shapes and no memory, so that any size can be asked about. What
    operations use within themselves is not seen, but for the workspace of eigh and qr.

    Example:
        >>> import torch
        >>> from edsl.costs.peak import peak_bytes
        >>> x = torch.empty(1000, 1000, device="meta")
        >>> peak_bytes(lambda: (x + 1) * 2)
        8000000
    """
    watch = _Watch()
    with watch:
        function()
    return watch.most


class _Watch(TorchDispatchMode):
    """Counts the bytes of storages that are alive."""

    def __init__(self) -> None:
        super().__init__()
        self.held = self.most = 0
        self._known: dict[int, Any] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = {id(tensor.untyped_storage()) for tensor in tree_leaves((args, kwargs)) if isinstance(tensor, Tensor)}
        made = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, Tensor) and id(tensor.untyped_storage()) not in given:
                self._count(tensor.untyped_storage())
        self.most = max(self.most, self.held + _workspace(func, args))
        return made

    def _count(self, storage: Any) -> None:
        key, size = id(storage), storage.nbytes()
        if key in self._known:
            return

        def forget(_: Any) -> None:
            del self._known[key]
            self.held -= size

        self._known[key] = weakref.ref(storage, forget)
        self.held += size


def _workspace(func: Any, arguments: Any) -> int:
    """Bytes that LAPACK takes for n × n matrices, one at a time: 2n² values for syevd, panels for geqrf."""
    n = arguments[0].shape[-1] if func in (_EIGH, _QR) else 0
    return arguments[0].element_size() * (2 * n * n + 8 * n if func is _EIGH else 128 * n) if n else 0
