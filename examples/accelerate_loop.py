"""Accelerate: prepare the optimizer with the model; clipping and accumulation are the Accelerator's."""

import torch
from accelerate import Accelerator
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import edsl


def main():
    torch.manual_seed(0)
    accelerator = Accelerator(cpu=True, gradient_accumulation_steps=2)
    points = torch.rand(512, 2) * 2 - 1
    labels = (points.square().sum(1) < 0.5).long()
    model = nn.Sequential(nn.Linear(2, 32), nn.Tanh(), nn.Linear(32, 2))
    optimizer = edsl.compile("emuon(lr=0.02, other_lr=0.01)", model)  # Muon for hidden layers, AdamW for the rest
    loader = DataLoader(TensorDataset(points, labels), batch_size=64, shuffle=True)
    model, optimizer, loader = accelerator.prepare(model, optimizer, loader)
    losses = []
    for _ in range(20):
        for inputs, targets in loader:
            with accelerator.accumulate(model):
                loss = nn.functional.cross_entropy(model(inputs), targets)
                accelerator.backward(loss)
                accelerator.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                optimizer.zero_grad()
                losses.append(loss.item())
    return losses[0], losses[-1]


if __name__ == "__main__":
    print("loss {:.3f} → {:.3f}".format(*main()))
