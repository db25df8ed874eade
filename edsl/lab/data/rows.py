"""Several tensors with a row for each example, taken together: what models with more than one input train on."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from edsl.errors import EdslError


class Rows:
    """Tensors by name, with as many rows each. `rows["name"]` is one of them, `rows[places]` some rows of all.

    They unpack as keywords, `model(**rows)`, which is how models of transformers take their inputs; a data set of
    `datasets` gives them by `Rows(**dataset.with_format("torch")[:])`.

    Raises:
        EdslError: without tensors, or where their rows differ in number.

    Example:
        >>> import torch
        >>> from edsl.lab.data.rows import Rows
        >>> rows = Rows(tokens=torch.arange(6).view(3, 2), mask=torch.ones(3, 2))
        >>> len(rows), rows[:2]["tokens"].tolist(), rows.keys()
        (3, [[0, 1], [2, 3]], ['tokens', 'mask'])
    """

    def __init__(self, **columns: Any) -> None:
        self._columns = {name: _tensor(name, column) for name, column in columns.items()}
        counts = {name: len(column) for name, column in self._columns.items()}
        if not counts:
            raise EdslError("Rows holds no tensor: give some by name, such as Rows(tokens=tokens, mask=mask)")
        if len(set(counts.values())) > 1:
            said = ", ".join(f"{name} has {count}" for name, count in counts.items())
            raise EdslError(f"Rows needs as many rows of each tensor: {said}")

    def __len__(self) -> int:
        return len(next(iter(self._columns.values())))

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, str):
            return self._columns[key]
        return Rows(**{name: column[key] for name, column in self._columns.items()})

    def __repr__(self) -> str:
        return f"Rows({', '.join(f'{name}={tuple(column.shape)}' for name, column in self._columns.items())})"

    def keys(self) -> list[str]:
        """The names."""
        return list(self._columns)

    def items(self) -> list[tuple[str, Tensor]]:
        """Names with tensors."""
        return list(self._columns.items())

    def to(self, device: Any) -> Rows:
        """The same on a device."""
        return Rows(**{name: column.to(device) for name, column in self._columns.items()})

    def split(self, size: int) -> list[Rows]:
        """Parts of so many rows, in their order; the last may have fewer."""
        return [self[first : first + size] for first in range(0, len(self), size)]


def _tensor(name: str, column: Any) -> Tensor:
    try:
        found = column if isinstance(column, Tensor) else torch.as_tensor(column)
    except (TypeError, ValueError, RuntimeError):
        raise EdslError(f"Rows: {name} must be a tensor or an array of numbers, got {type(column).__name__}") from None
    if not found.ndim:
        raise EdslError(f"Rows: {name} must have a row for each example, got a single number")
    return found
