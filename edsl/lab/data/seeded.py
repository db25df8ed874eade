"""Random numbers that depend on a seed alone, whatever was drawn before."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from edsl.errors import EdslError

_SEEDS = 2**32  # of NumPy's; torch takes more


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """torch's, NumPy's and Python's global generators begin at a seed, and are as they were afterwards.

    A GPU's generator is seeded too, and stays so.

    Raises:
        EdslError: for a seed that NumPy's generator does not take.
    """
    if not 0 <= seed < _SEEDS:
        raise EdslError(f"seed must be a whole number from 0 to 2**32 - 1, got {seed}")
    states = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        np.random.seed(seed)
        random.seed(seed)
        try:
            yield
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])
