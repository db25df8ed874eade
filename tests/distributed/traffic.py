"""What processes tell each other: collectives by name, and the bytes that this one sends."""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch
import torch.distributed as dist
from torch.utils._python_dispatch import TorchDispatchMode
from workers import batches, sharded_model

import edsl

INPUT = {"allreduce_": 0, "alltoall_base_": 1}  # which argument of torch.ops.c10d holds what is sent


class Traffic(TorchDispatchMode):
    """Inside, counts every collective; any other than the two that edsl uses is an error."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[str] = Counter()
        self.bytes: Counter[str] = Counter()

    def __torch_dispatch__(self, operator: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if operator.namespace in ("c10d", "_c10d_functional"):
            name = operator._opname
            sent = args[INPUT[name]]
            tensors = [sent] if isinstance(sent, torch.Tensor) else sent
            self.calls[name] += 1
            self.bytes[name] += sum(tensor.numel() * tensor.element_size() for tensor in tensors)
        return operator(*args, **(kwargs or {}))


def traffic_of_a_step(rank: int, spec: str) -> dict[str, int]:
    """Collectives of the third step on this process, and the bytes that all processes hand to them."""
    model = sharded_model()
    optimizer = edsl.compile(spec, model, mode="eager")
    for batch in batches(3):
        optimizer.zero_grad()
        model(batch.chunk(dist.get_world_size())[rank]).square().mean().backward()
        with Traffic() as traffic:
            optimizer.step()
    sent = torch.tensor([traffic.bytes["allreduce_"], traffic.bytes["alltoall_base_"]])
    dist.all_reduce(sent)
    return {
        "all-reduces": traffic.calls["allreduce_"],
        "all-to-alls": traffic.calls["alltoall_base_"],
        "bytes reduced": int(sent[0]) // dist.get_world_size(),
        "bytes exchanged": int(sent[1]),
    }
