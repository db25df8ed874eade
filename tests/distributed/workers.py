"""Functions that run in processes of their own, joined by gloo."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn

import edsl


def in_processes(count, function, *arguments):
    """Run function(rank, *arguments) in so many processes; what rank 0 returns."""
    with TemporaryDirectory() as folder:
        file = str(Path(folder) / "result.pt")
        mp.spawn(_enter, args=(count, free_port(), file, function, arguments), nprocs=count)
        return torch.load(file)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _enter(rank, count, port, file, function, arguments):
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=count)
    result = function(rank, *arguments)
    if rank == 0:
        torch.save(result, file)
    dist.barrier()  # none leaves while another may still talk to it
    dist.destroy_process_group()


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.LayerNorm(8), nn.Linear(8, 3)).double()


def batches(steps):
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(12, 6, generator=generator, dtype=torch.float64) for _ in range(steps)]


def train(model, optimizer, rank=0, count=1, steps=5):
    """Steps on this rank's share of each batch."""
    for batch in batches(steps):
        optimizer.zero_grad()
        model(batch.chunk(count)[rank]).square().mean().backward()
        optimizer.step()
    return [p.detach().clone() for p in model.parameters()]


def ddp(rank, spec):
    model = nn.parallel.DistributedDataParallel(network())
    return train(model, edsl.compile(spec, model.module, mode="eager"), rank, dist.get_world_size())


def zero(rank, name):
    from torch.distributed.optim import ZeroRedundancyOptimizer

    model = nn.parallel.DistributedDataParallel(network())
    optimizer = ZeroRedundancyOptimizer(model.parameters(), getattr(edsl, name), lr=0.01, mode="eager")
    return train(model, optimizer, rank, dist.get_world_size())


def single(spec, model=network, steps=5, **options):
    model = model()
    return train(model, edsl.compile(spec, model, mode="eager", **options), steps=steps)


def network_in_parts():
    """Matrices, a kernel, and a parameter of fewer rows than processes."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Unflatten(1, (2, 3)), nn.Conv1d(2, 4, 2), nn.Flatten(), nn.Linear(8, 6), nn.Tanh(), nn.LayerNorm(6), nn.Linear(6, 2)
    ).double()


def fully_sharded(rank, spec, steps=5, mode="eager", mesh=None, **options):
    """Training under FSDP2; the whole weights at the end."""
    model = sharded_model(mesh)
    optimizer = edsl.compile(spec, model, mode=mode, **options)
    train(model, optimizer, rank, dist.get_world_size(), steps)
    assert getattr(optimizer, "fallbacks", []) == []
    return whole(model)


def sharded_model(mesh=None):
    from torch.distributed.fsdp import fully_shard

    model = network_in_parts()
    for layer in model:
        if list(layer.parameters()):
            fully_shard(layer, mesh=mesh)
    fully_shard(model, mesh=mesh)
    return model


def whole(model):
    return [p.full_tensor().detach().clone() for p in model.parameters()]
