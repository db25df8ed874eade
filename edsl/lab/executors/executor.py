"""What runs trials."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

Tick = Callable[[str, int, int], None]  # spec, seed, step


class Executor(Protocol):
    """Runs trials, in whatever order they end. Used as a context: leaving it stops what still runs."""

    @property
    def capacity(self) -> int:
        """How many trials may be submitted and not yet answered."""
        ...

    def submit(self, work: Any) -> None: ...

    def next(self, tick: Tick) -> tuple[tuple[str, int], dict[str, Any]]:
        """The key and record of the next trial that ends; `tick` hears of its steps where it can be."""
        ...

    def __enter__(self) -> Any: ...

    def __exit__(self, *reason: object) -> None: ...
