"""What the code of a recorded step depends on besides its expressions: the tensors that it takes, and their dtypes."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from edsl.numerics.formats.format import StateFormat
from edsl.step.state_dtype import Stored


@dataclass(frozen=True)
class KernelSignature:
    """What a step's code depends on besides its expressions: the dtypes of its tensors.

    Attributes:
        work: the dtype of arithmetic.
        theta, x, out: of the parameter, what flows in, what flows out.
        extra: of the raw gradient, the Hessian and the difference, float32 where there is none.
        buffers: what the memory is kept in.
    """

    work: torch.dtype
    theta: torch.dtype
    x: torch.dtype
    extra: tuple[torch.dtype, torch.dtype, torch.dtype]
    buffers: tuple[Stored, ...]

    def behind(self, normals: int, updates: bool) -> dict[str, Stored]:
        """The dtype of each tensor by its name, where a step reads some normals, and updates θ or does not."""
        out = self.theta if updates else self.work
        drawn = (self.work,) * normals
        found = (self.theta, self.x, *self.extra, out, *drawn, *self.buffers)
        return dict(zip(tensors(len(self.buffers), normals), found))

    @property
    def formats(self) -> dict[int, StateFormat]:
        """The buffers in codes, by their numbers, and their formats."""
        return {i: kind for i, kind in enumerate(self.buffers) if isinstance(kind, StateFormat)}

    @property
    def all(self) -> tuple[Stored, ...]:
        return (self.work, self.theta, self.x, *self.extra, *self.buffers)


def tensors(buffers: int, normals: int) -> tuple[str, ...]:
    """The names of the tensors of a layer, in the order in which kernels take their addresses."""
    drawn = (f"normal{i}" for i in range(normals))
    kept = (f"buffer{i}" for i in range(buffers))
    return ("theta", "x", "gradient", "hessian", "difference", "out", *drawn, *kept)
