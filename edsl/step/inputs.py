"""What a step reads beside θ, what flows in, and its memory; of its live values, where each stands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor


@dataclass(frozen=True)
class LiveLayout:
    """The vector of a plan's live values: the numbers of stages, the powers of decays, then what a step is.

    Every entry is named here, and its place is known nowhere else.

    Attributes:
        numbers: how many numbers of stages there are.
        decays: the places of decays β among them, of which a debiasing needs βᵏ.
    """

    numbers: int
    decays: tuple[int, ...]

    @property
    def powers(self) -> tuple[tuple[int, int], ...]:
        """(place of β, place of βᵏ) for every decay."""
        return tuple((decay, self.numbers + i) for i, decay in enumerate(self.decays))

    @property
    def k(self) -> int:
        """The place of the step's number."""
        return self.numbers + len(self.decays)

    @property
    def looks(self) -> int:
        """The place of the number of Hessian estimates."""
        return self.k + 1

    @property
    def total_norm(self) -> int:
        """The place of the total norm, which a kernel's vector has behind those that are known before a step."""
        return self.k + 2

    @property
    def rows(self) -> int:
        """The place of a matrix's rows, behind the total norm."""
        return self.k + 3

    @property
    def columns(self) -> int:
        """The place of a matrix's columns."""
        return self.k + 4

    def total(self, number: int) -> int:
        """The place of what the segment's totals over all layers are, behind all others."""
        return self.k + 5 + number

    def of_matrix(self, known: Sequence[float], rows: int, columns: int) -> list[float]:
        """All entries of a matrix's step, by those of `vector`, with room for the total norm; but for totals."""
        return [*known, 0.0, float(rows), float(columns)]

    def with_room(self, known: Sequence[float], late: Sequence[tuple[int, object]]) -> list[float]:
        """Entries, with room for the total norm and what else is known only after a look at all layers."""
        size = 1 + max((place for place, _ in late), default=self.total_norm)
        return [*known, *[0.0] * (max(size, self.total_norm + 1) - len(known))]

    def vector(self, numbers: Sequence[float], k: int, looks: int) -> list[float]:
        """All entries that are known before step k: up to the total norm."""
        return [*numbers, *[numbers[decay] ** k for decay in self.decays], float(k), float(looks)]


class StepInputs(NamedTuple):
    """What a step reads beside θ, what flows in, and its memory.

    Attributes:
        gradient: the raw gradient, or None where it is what flows in.
        live: the vector of live values, as LiveLayout has it.
        total_norm: of what flows in, over all parameters, or None.
        totals: over all layers, for each of the segment's questions, or None for what is not known yet.
        normals: noise for each stage that reads it.
        probes: the same for a refresh.
        hessian: a new estimate of the Hessian's diagonal, or None.
        difference: the estimator's own difference of raw gradients, or None.
        answers: of a shard, what is known of the whole layer for each of the segment's questions, or
            None for what is not known yet; None where the tensors are whole.
        shape: of a shard, the rows and columns of the whole.
        key: of this parameter's stochastic rounding at this step, None where nothing is rounded so.
    """

    gradient: Tensor | None
    live: Tensor
    total_norm: Tensor | None = None
    totals: tuple[Tensor | None, ...] = ()
    normals: tuple[Tensor, ...] = ()
    probes: tuple[Tensor, ...] = ()
    hessian: Tensor | None = None
    difference: Tensor | None = None
    answers: tuple[Tensor | None, ...] | None = None
    shape: Tensor | None = None
    key: Tensor | None = None
