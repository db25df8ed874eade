"""Text as rows of tokens, made when they are asked for."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from edsl.lab.tasks.task import Split


class Windows:
    """Rows of a long array of tokens, as int64 tensors.

    Args:
        tokens: whole numbers in one dimension; may be a memory-mapped file.
        starts: where each row begins.
        length: tokens in a row.
    """

    def __init__(self, tokens: np.ndarray, starts: np.ndarray, length: int) -> None:
        self.tokens = tokens
        self.starts = starts
        self.length = length

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, rows: Any) -> Tensor:
        """One row for a number, (rows, length) for a slice or numbers of rows."""
        rows = rows.cpu().numpy() if isinstance(rows, Tensor) else rows
        places = self.starts[rows][..., None] + np.arange(self.length)
        return torch.from_numpy(self.tokens[places].astype(np.int64))


def windows(tokens: np.ndarray, length: int, sample: int | None = None) -> Split:
    """Neighbouring rows that cover the tokens, shuffled; a target is the token after its input.

    Args:
        sample: keep so many rows, evenly from all, if there are more.
    """
    starts = np.arange(0, len(tokens) - length, length)
    if sample is not None and sample < len(starts):
        starts = starts[np.arange(sample) * len(starts) // sample]
    starts = np.random.default_rng(0).permutation(starts)  # the first rows are a sample of all
    return Split(Windows(tokens, starts, length), Windows(tokens, starts + 1, length))


def next_token_loss(outputs: Tensor, targets: Tensor) -> Tensor:
    """Cross entropy in nats a token; outputs (rows, length, tokens), targets (rows, length)."""
    return torch.nn.functional.cross_entropy(outputs.flatten(0, 1).float(), targets.flatten())
