"""A loop of one's own: train, keep a checkpoint, and go on from it as if nothing had happened."""

import io

import torch
from torch import nn

import edsl

SPEC = "grad | e(alpha=-5, beta1=0.99) | lamb(lr=cosine(0.02, warmup=20))"  # ALTO, whose lr follows a schedule
STEPS = 200


def data():
    """Points in a square, and whether they lie inside a circle."""
    points = torch.rand(1024, 2, generator=torch.Generator().manual_seed(0)) * 2 - 1
    return points, (points.square().sum(1) < 0.5).long()


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, 32), nn.Tanh(), nn.Linear(32, 2))


def train(model, optimizer, steps):
    points, labels = data()
    for _ in range(steps):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(points), labels)
        loss.backward()
        optimizer.step()
    return loss.item()


def main():
    model = network()
    optimizer = edsl.compile(SPEC, model, total_steps=STEPS)
    first = train(model, optimizer, 1)
    train(model, optimizer, STEPS // 2 - 1)
    file = io.BytesIO()
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, file)
    file.seek(0)

    saved = torch.load(file, weights_only=True)
    resumed = network()
    resumed.load_state_dict(saved["model"])
    again = edsl.compile(SPEC, resumed, total_steps=STEPS)
    again.load_state_dict(saved["optimizer"])
    last, same = train(model, optimizer, STEPS // 2), train(resumed, again, STEPS // 2)
    assert last == same, "a resumed run is the undisturbed one, bit for bit"
    return first, last


if __name__ == "__main__":
    print("loss {:.3f} → {:.3f}".format(*main()))
