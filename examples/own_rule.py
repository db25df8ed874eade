"""An optimizer of one's own, as its recurrence: read, printed, compared with torch's, costed, and trained."""

import torch
from torch import nn

import edsl
from edsl.costs.cost import cost
from edsl.lab.verify import verify
from edsl.theory.text.notation import recurrences

RULE = """
@update
def heavy(u, *, lr=0.01, momentum: decay = 0.9):
    m = momentum * m + u
    return -lr * m

grad | heavy(lr=0.1)
"""


def main():
    pipeline = edsl.parse(RULE)
    for part in recurrences(pipeline):
        print(*part.lines, sep="\n")  # mₖ = μ mₖ₋₁ + gₖ, …
    print(f"{cost(pipeline).state} bytes of state per fp32 parameter")
    same = verify(RULE, "torch.SGD(lr=0.1, momentum=0.9)", steps=20)
    assert same.parted is None, "it is torch's momentum, to 1e-10 over 20 steps"

    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 1))
    inputs = torch.randn(256, 8)
    targets = inputs[:, :1] * inputs[:, 1:2]
    optimizer = edsl.compile(RULE, model)
    losses = []
    for _ in range(300):
        optimizer.zero_grad()
        loss = (model(inputs) - targets).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses[0], losses[-1]


if __name__ == "__main__":
    print("loss {:.3f} → {:.3f}".format(*main()))
