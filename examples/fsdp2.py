"""FSDP2: every process holds a shard, and steps as one process with whole layers does.

torchrun --nproc-per-node 2 examples/fsdp2.py
"""

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.fsdp import fully_shard

import edsl


def main():
    dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 2))
    for layer in model:
        fully_shard(layer)
    fully_shard(model)
    # After sharding, so that it sees the shards. The norms of all layers go round in one message a step.
    # Layers as small as these step faster than they compile: leave `mode` away in earnest.
    optimizer = edsl.compile("alto(lr=0.02)", model, mode="eager")

    points = torch.rand(512, 2, generator=torch.Generator().manual_seed(1)) * 2 - 1
    labels = (points.square().sum(1) < 0.5).long()
    mine = slice(dist.get_rank(), None, dist.get_world_size())  # this process's examples
    losses = []
    for _ in range(40):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(points[mine]), labels[mine])
        loss.backward()
        optimizer.step()
        dist.all_reduce(shared := loss.detach().clone())
        losses.append(shared.item() / dist.get_world_size())
    if dist.get_rank() == 0:
        print(f"loss {losses[0]:.3f} → {losses[-1]:.4f}")
    dist.barrier()  # none leaves while another may still talk to it
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
