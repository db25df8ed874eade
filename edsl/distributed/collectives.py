"""What processes send each other: sums, averages, and whole tensors of shards."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor

from edsl.distributed.sharding import Shards, shards_of
from edsl.numerics.sums import norm_in_rows


def is_zero(tensor: Tensor) -> bool:
    """Whether all elements are zero, of a sharded tensor on every process."""
    shards = shards_of(tensor)
    part = tensor if shards is None else shards.local(tensor)
    return not bool(summed([part.any()], [shards])[0])


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

    def __init__(self, shards: Sequence[Any], tensors: Sequence[Tensor]) -> None:
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
        return [shards.join([part[i] for part in parts]) for i, shards in enumerate(self.shards)]

    def divided(self, wholes: Sequence[Tensor]) -> list[list[Tensor]]:
        """For every process the bytes of its shards."""
        cut = [shards.divide(whole) for whole, shards in zip(wholes, self.shards)]
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


def gather_to_owners(wave: Sequence[Bundle]) -> list[Tensor] | None:
    """The whole tensors of the wave's bundle that is this process's turn, or None where none is."""
    group, rank = wave[0].group, wave[0].group.rank()
    own = wave[rank] if rank < len(wave) else None
    send = [bundle.packed() for bundle in wave]
    receive = [0 if own is None else own.bytes_of(source) for source in range(group.size())]
    shares = _exchanged(send, receive, group, wave[0].tensors[0].device)
    return None if own is None else own.joined(shares)


def scatter_from_owners(wave: Sequence[Bundle], wholes: Sequence[Tensor] | None) -> list[list[Tensor]]:
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
