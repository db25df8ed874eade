"""How a parameter is cut over processes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from edsl.errors import EdslError


def is_sharded(tensor: Any) -> bool:
    """Whether a tensor is a DTensor, without loading torch.distributed for everybody."""
    return type(tensor).__name__ == "DTensor"


def shards_of(tensor: Any) -> Shards | None:
    """How a tensor is sharded; None for a plain one."""
    return Shards(tensor) if is_sharded(tensor) else None


class Shards:
    """The layout of one DTensor.

    Attributes:
        shape: of the whole.
        mesh, placements: the DTensor's own.
    """

    def __init__(self, tensor: Any) -> None:
        self.shape = tuple(tensor.shape)
        self.stride = tuple(tensor.stride())
        self.mesh = tensor.device_mesh
        self.placements = tuple(tensor.placements)

    @cached_property
    def cuts(self) -> tuple[int, ...]:
        """The mesh dimensions over which the tensor is cut; none on a process outside its mesh."""
        if self.mesh.get_coordinate() is None:
            return ()
        return tuple(
            d for d, placement in enumerate(self.placements) if not placement.is_replicate() and self.mesh.size(d) > 1
        )

    @property
    def place(self) -> tuple[int, ...]:
        """Which of the shards this process has, along each dimension over which the tensor is cut."""
        own = self.mesh.get_coordinate() or ()
        return tuple(own[cut] for cut in self.cuts)

    @cached_property
    def groups(self) -> tuple[Any, ...]:
        """The process groups whose members together hold the whole."""
        return tuple(self.mesh.get_group(d) for d in self.cuts)

    def local(self, tensor: Any) -> Tensor:
        """This process's shard, on the same storage, of a tensor in this layout.

        A DTensor in another layout is brought into this one, of a plain tensor the shard is copied.
        """
        if not is_sharded(tensor):
            tensor = self.sharded(tensor)
        if tuple(tensor.placements) != self.placements or tensor.device_mesh != self.mesh:
            tensor = tensor.redistribute(self.mesh, self.placements)
        with torch.no_grad():
            return tensor.to_local()

    def wrap(self, local: Tensor) -> Any:
        """The DTensor of which `local` is this process's shard."""
        from torch.distributed.tensor import DTensor

        return DTensor.from_local(
            local, self.mesh, self.placements, run_check=False, shape=torch.Size(self.shape), stride=self.stride
        )

    def beside(self, local: Tensor, shape: tuple[int, ...]) -> Any:
        """The DTensor of another shape with as many rows, of which `local` is this process's shard."""
        from torch.distributed.tensor import DTensor

        stride = (shape[1], 1)
        return DTensor.from_local(
            local, self.mesh, self.placements, run_check=False, shape=torch.Size(shape), stride=stride
        )

    def zeros(self, shape: tuple[int, ...], dtype: torch.dtype) -> Any:
        """A DTensor of another shape, cut along its last dimension but one over the same processes."""
        from torch.distributed.tensor import zeros

        return zeros(shape, dtype=dtype, device_mesh=self.mesh, placements=self._by_rows(len(shape)))

    def sharded(self, whole: Tensor) -> Any:
        """A plain tensor, of the parameter's shape or another, as a DTensor over the same processes."""
        from torch.distributed.tensor import distribute_tensor

        placements = self.placements if tuple(whole.shape) == self.shape else self._by_rows(whole.dim())
        with torch.no_grad():
            return distribute_tensor(whole.detach(), self.mesh, placements, src_data_rank=None)

    def _by_rows(self, dims: int) -> list[Any]:
        from torch.distributed.tensor import Replicate, Shard

        return [Replicate() if placement.is_replicate() else Shard(max(0, dims - 2)) for placement in self.placements]

    def pieces(self) -> list[tuple[int, ...]]:
        """The shapes of the shards in the one group over which the tensor is cut, in the order of its processes."""
        (cut,) = self.cuts
        d, count = self.placements[cut].dim, self.mesh.size(cut)
        long = -(-self.shape[d] // count)  # as torch.chunk cuts
        ends = [min(self.shape[d], long * i) for i in range(count + 1)]
        return [(*self.shape[:d], end - begin, *self.shape[d + 1 :]) for begin, end in pairwise(ends)]

    def join(self, pieces: Sequence[Tensor]) -> Tensor:
        """The whole, of every process's shard."""
        return torch.cat([*pieces], dim=self.dim)

    def divide(self, whole: Tensor) -> Sequence[Tensor]:
        """The shard of every process."""
        return whole.split([piece[self.dim] for piece in self.pieces()], dim=self.dim)

    @property
    def dim(self) -> int:
        """The dimension along which it is cut over its one group."""
        return self.placements[self.cuts[0]].dim


class Copies:
    """The layout of what every process has whole, such as a number of the layer, beside a tensor that is cut."""

    def __init__(self, beside: Any, shape: tuple[int, ...]) -> None:
        self.shape = tuple(shape)
        self._beside = beside

    def pieces(self) -> list[tuple[int, ...]]:
        """The shapes of the copies, in the order of the processes."""
        return [self.shape for _ in self._beside.pieces()]

    def join(self, pieces: Sequence[Tensor]) -> Tensor:
        """One of them."""
        return pieces[0]

    def divide(self, whole: Tensor) -> Sequence[Tensor]:
        """A copy for each process."""
        return [whole for _ in self._beside.pieces()]


def cut_in_rows(tensor: Any) -> bool:
    """Whether each process has whole rows of a DTensor, the indices of its first dimension."""
    from torch.distributed.tensor import Shard

    return all(placement.is_replicate() or placement == Shard(0) for placement in tensor.placements)


def placed(buffer: Tensor, parameter: Tensor) -> Any:
    """A loaded buffer, sharded where its parameter is."""
    shards = shards_of(parameter)
    return buffer if shards is None or is_sharded(buffer) else shards.sharded(buffer)


def check_shards(tensor: Any, which: str) -> None:
    """Raises EdslError for a DTensor that no stage can step."""
    if any(placement.is_partial() for placement in tensor.placements):
        raise EdslError(f"{which} is a DTensor of partial sums; expected Shard or Replicate placements")


def check_whole(shards: Shards, stage: str, which: str) -> None:
    """Raises EdslError for a sharded parameter that can't be brought together for a matrix stage."""
    from torch.distributed.tensor import Shard

    if len(shards.cuts) > 1 or any(type(shards.placements[cut]) is not Shard for cut in shards.cuts):
        raise EdslError(
            f"{stage} needs whole matrices; {which} is cut over {len(shards.cuts)} mesh dimensions "
            f"({', '.join(map(str, shards.placements))}), expected one: shard it with fully_shard alone, "
            "or route it to an update such as adamw"
        )
