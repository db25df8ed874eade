"""How a parameter lies on several processes (DTensor, as FSDP2 makes them), and what they tell each other.

Everything element by element happens on each process's own shard. Sums over layers go through one
all-reduce for all of them. A matrix that has to be whole is brought together on one process, another
for each of a wave of matrices, and what comes of it is cut and handed back: two all-to-alls a wave.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from itertools import accumulate, pairwise
from typing import Any

import torch
from torch import Tensor

from edsl.errors import EdslError
from edsl.numerics.sums import norm_in_rows


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

    @property
    def dim(self) -> int:
        """The dimension along which it is cut over its one group."""
        return self.placements[self.cuts[0]].dim


def is_zero(tensor: Tensor) -> bool:
    """Whether all elements are zero, of a sharded tensor on every process."""
    shards = shards_of(tensor)
    part = tensor if shards is None else shards.local(tensor)
    return not bool(summed([part.any()], [shards])[0])


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


def summed(parts: Sequence[Tensor], shards: Sequence[Shards | None]) -> list[Tensor]:
    """Of each scalar its sum over the shards; one all-reduce a process group, for all scalars together.

    A part without shards is whole already. Sums are in float64.
    """
    import torch.distributed as dist

    groups = [() if own is None else own.groups for own in shards]
    if not any(groups):
        return list(parts)
    device = next(part.device for part, own in zip(parts, groups) if own)
    vector = torch.stack([part.to(device, torch.float64) for part in parts])
    for group in dict.fromkeys(group for own in groups for group in own):
        chosen = torch.tensor([i for i, own in enumerate(groups) if group in own], device=device)
        sums = vector[chosen]
        dist.all_reduce(sums, group=group)
        vector[chosen] = sums
    return [vector[i].to(part.device) for i, part in enumerate(parts)]


def averaged(tensors: Sequence[Tensor]) -> list[Tensor]:
    """The means over all processes of torch.distributed, where there are several; else the tensors themselves."""
    import torch.distributed as dist

    if not dist.is_available() or not dist.is_initialized() or dist.get_world_size() == 1:
        return list(tensors)
    means = [tensor.detach().clone() for tensor in tensors]
    for mean in means:
        dist.all_reduce(mean)
        mean /= dist.get_world_size()
    return means


def are_alike(tensors: Sequence[Tensor]) -> bool:
    """Whether all processes of torch.distributed have the same tensors, by their number and sums."""
    import torch.distributed as dist

    if not dist.is_available() or not dist.is_initialized() or dist.get_world_size() == 1 or not tensors:
        return True
    sums = torch.stack([tensor.detach().sum(dtype=torch.float64).to(tensors[0].device) for tensor in tensors])
    weights = torch.arange(1, len(tensors) + 1, device=sums.device, dtype=sums.dtype)
    marks = torch.stack([weights[-1], (weights * sums).sum()])
    bounds = torch.cat([marks, -marks])
    dist.all_reduce(bounds, op=dist.ReduceOp.MAX)
    return bool((bounds[:2] == -bounds[2:]).all())


def total_norms(pools: Sequence[Sequence[Tensor]], shards: Sequence[Sequence[Shards | None]]) -> list[Tensor]:
    """The 2-norm of each pool of tensors or shards; one message for all pools."""
    norms = [[norm_in_rows(x) for x in pool] for pool in pools]
    cut = [any(own is not None and own.cuts for own in owners) for owners in shards]
    parts = [norm.square() for pool, is_cut in zip(norms, cut) if is_cut for norm in pool]
    squares = iter(summed(parts, [own for owners, is_cut in zip(shards, cut) if is_cut for own in owners]))
    totals = []
    for pool, is_cut in zip(norms, cut):
        device, dtype = pool[0].device, pool[0].dtype
        if is_cut:
            totals.append(torch.stack([next(squares).to(device) for _ in pool]).sum().sqrt().to(dtype))
        else:
            totals.append(torch.linalg.vector_norm(torch.stack([norm.to(device) for norm in pool])).to(dtype))
    return totals


class Bundle:
    """Tensors of one parameter that travel together; this process has a shard of each."""

    def __init__(self, shards: Sequence[Shards], tensors: Sequence[Tensor]) -> None:
        self.shards = list(shards)
        self.tensors = list(tensors)

    @property
    def group(self) -> Any:
        return self.shards[0].groups[0]

    def bytes_of(self, rank: int) -> int:
        """What the shards of one process take."""
        return sum(math.prod(s.pieces()[rank]) * t.element_size() for s, t in zip(self.shards, self.tensors))

    def packed(self) -> list[Tensor]:
        """This process's shards as bytes."""
        return [_bytes(tensor) for tensor in self.tensors]

    def unpacked(self, data: Tensor, rank: int) -> list[Tensor]:
        """The shards of one process from its bytes."""
        shapes = [shards.pieces()[rank] for shards in self.shards]
        return _tensors(data, shapes, [tensor.dtype for tensor in self.tensors])

    def joined(self, shares: Sequence[Tensor]) -> list[Tensor]:
        """Whole tensors from every process's bytes."""
        parts = [self.unpacked(data, rank) for rank, data in enumerate(shares)]
        return [torch.cat([part[i] for part in parts], dim=shards.dim) for i, shards in enumerate(self.shards)]

    def divided(self, wholes: Sequence[Tensor]) -> list[list[Tensor]]:
        """For every process the bytes of its shards."""
        cut = [
            whole.split([piece[shards.dim] for piece in shards.pieces()], dim=shards.dim)
            for whole, shards in zip(wholes, self.shards)
        ]
        return [[_bytes(pieces[rank]) for pieces in cut] for rank in range(len(cut[0]))]


def waves(owners: Sequence[Shards | None]) -> list[list[int]]:
    """The places of matrices in turns: in each at most one for every process of a group, of like sizes."""
    groups: dict[Any, list[int]] = {}
    sizes = []
    for place, shards in enumerate(owners):
        assert shards is not None  # whole matrices take no turns
        groups.setdefault(shards.groups[0], []).append(place)
        sizes.append(math.prod(shards.shape))
    turns = []
    for group, places in groups.items():
        places.sort(key=lambda place: -sizes[place])
        turns += [places[i : i + group.size()] for i in range(0, len(places), group.size())]
    return turns


def collected(wave: Sequence[Bundle]) -> list[Tensor] | None:
    """The whole tensors of the wave's bundle that is this process's turn, or None where none is."""
    group, rank = wave[0].group, wave[0].group.rank()
    own = wave[rank] if rank < len(wave) else None
    send = [bundle.packed() for bundle in wave]
    receive = [0 if own is None else own.bytes_of(source) for source in range(group.size())]
    shares = _exchanged(send, receive, group, wave[0].tensors[0].device)
    return None if own is None else own.joined(shares)


def handed_back(wave: Sequence[Bundle], wholes: Sequence[Tensor] | None) -> list[list[Tensor]]:
    """For each bundle of the wave this process's shards of what its owner made of it."""
    group, rank = wave[0].group, wave[0].group.rank()
    send = [[] for _ in range(group.size())] if wholes is None else wave[rank].divided(wholes)
    receive = [bundle.bytes_of(rank) for bundle in wave] + [0] * (group.size() - len(wave))
    shares = _exchanged(send, receive, group, wave[0].tensors[0].device)
    return [bundle.unpacked(data, rank) for bundle, data in zip(wave, shares)]


def _exchanged(send: list[list[Tensor]], receive: list[int], group: Any, device: torch.device) -> Sequence[Tensor]:
    """One all-to-all of bytes: what each process sent to this one."""
    import torch.distributed as dist

    counts = [sum(len(part) for part in parts) for parts in send] + [0] * (group.size() - len(send))
    empty = torch.empty(0, dtype=torch.uint8, device=device)
    sent = torch.cat([empty, *(part for parts in send for part in parts)])
    received = torch.empty(sum(receive), dtype=torch.uint8, device=device)
    dist.all_to_all_single(received, sent, receive, counts, group=group)
    return received.split(receive)


def _bytes(tensor: Tensor) -> Tensor:
    return tensor.contiguous().view(-1).view(torch.uint8)


def _tensors(data: Tensor, shapes: Sequence[tuple[int, ...]], dtypes: Sequence[torch.dtype]) -> list[Tensor]:
    counts = [math.prod(shape) * dtype.itemsize for shape, dtype in zip(shapes, dtypes)]
    ends = list(accumulate(counts, initial=0))
    # a copy begins where its dtype may
    return [data[a:b].clone().view(dtype).view(shape) for a, b, shape, dtype in zip(ends, ends[1:], shapes, dtypes)]
