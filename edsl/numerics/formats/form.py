"""A way to keep a buffer in memory other than value by value in a dtype."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class BufferForm(ABC):
    """How a buffer of some structure is kept; what keeps another structure is said by `kept_for`.

    Attributes:
        name: as users choose it.
    """

    name: str

    @property
    @abstractmethod
    def dtype(self) -> torch.dtype:
        """That of what is kept."""

    @abstractmethod
    def kept_for(self, structure: str) -> BufferForm | torch.dtype | None:
        """What keeps a buffer of some structure where this form is chosen for all state; None: the dtype of arithmetic.

        Args:
            structure: a name from edsl.numerics.structures.
        """

    @abstractmethod
    def shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        """The shape of what a buffer of a shape is kept in."""

    @abstractmethod
    def opened(self, buffer: Tensor, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        """The values of a buffer in a dtype and their own shape; one that isn't in this form holds them already."""

    @abstractmethod
    def closed(self, values: Tensor, buffer: Tensor, key: Tensor | None, place: int) -> Tensor:
        """What a buffer becomes that shall hold these values, perhaps in another dtype yet.

        Args:
            key, place: of the noise of rounding, as `edsl.numerics.stochastic_rounding.words` takes them; with
                None each value goes to the nearest, or of codes to the next below or above.
        """
