"""One trial on several processes, as torchrun starts them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from edsl.errors import EdslError, either, shown

KINDS = ("ddp", "fsdp")


@dataclass(frozen=True)
class Group:
    """The processes of one trial: this one's rank, how many there are, and how they hold the model."""

    rank: int
    size: int
    kind: str

    def wrapped(self, model: nn.Module) -> tuple[nn.Module, nn.Module]:
        """(the model whose parameters are stepped, what is called): replicated, or sharded layer by layer."""
        if self.kind == "ddp":
            from torch.nn.parallel import DistributedDataParallel

            return model, DistributedDataParallel(model)
        from torch.distributed.fsdp import fully_shard

        for child in model.modules():
            if child is not model and any(True for _ in child.parameters(recurse=False)):
                fully_shard(child)
        fully_shard(model)
        return model, model

    def share(self, rows: Tensor) -> Tensor:
        """This process's part of a batch: all parts are equal, so that the mean of means is the mean."""
        return rows[self.rank :: self.size]


@contextmanager
def group(kind: str | None, device: str, batch: int) -> Iterator[Group | None]:
    """The group that torchrun began, or None for a single process.

    Args:
        kind: one of KINDS, or None for "ddp" where there are several processes.

    Raises:
        EdslError: for an unknown kind, one asked for where there is a single process, or a batch that can't be
            shared out equally.
    """
    if kind is not None and kind not in KINDS:
        raise EdslError(f"parallel must be {either(KINDS)}, got {shown(kind)}")
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        if kind is not None:
            raise EdslError(
                f"--parallel {kind} needs two processes or more: "
                "start it by torchrun --nproc-per-node 2 -m edsl.cli train …"
            )
        yield None
        return
    if batch % size:
        raise EdslError(f"batch must be a multiple of the {size} processes, got {batch}")
    if device.startswith("cuda"):
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    torch.distributed.init_process_group("nccl" if device.startswith("cuda") else "gloo")
    try:
        yield Group(torch.distributed.get_rank(), size, kind or "ddp")
    finally:
        torch.distributed.destroy_process_group()


def over_processes(value: Any) -> Any:
    """The mean over all processes of a loss that each computed on its own part."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        value = value.clone()
        torch.distributed.all_reduce(value)
        return value / torch.distributed.get_world_size()
    return value
