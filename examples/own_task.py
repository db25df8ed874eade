"""A race on one's own data and model; `edsl compare alto adamw --task examples/own_task.py` is one too."""

import torch
from torch import nn
from torch.nn.functional import cross_entropy

import edsl


def data():
    """Two spirals; edsl splits the rows 70/15/15 % into training, validation and test."""
    angle = torch.rand(1200) * 6
    label = torch.randint(2, (1200,))
    turned = angle + torch.pi * label
    points = (angle / 6)[:, None] * torch.stack([turned.cos(), turned.sin()], dim=1)
    return points + 0.02 * torch.randn(1200, 2), label


def mlp():
    return nn.Sequential(nn.Linear(2, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 2))


def accuracy(outputs, labels):
    return (outputs.argmax(1) == labels).float().mean()


task = edsl.Task(data=data, models={"mlp": mlp}, loss=cross_entropy, accuracy=accuracy, batch=64, steps=150)


def main():
    found = edsl.compare(["alto(lr=0.03)", "adamw(lr=0.01)"], task=task, seeds=3, controls=False, jobs=1)
    for row in found.results.rows:
        print(f"{row.name}: test accuracy {row.test_accuracy.mean:.2f}, {row.ok} runs")
    return found


if __name__ == "__main__":
    main()
