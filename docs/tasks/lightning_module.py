"""A LightningModule, whose training_step computes the loss: the model's output is what that says."""

import lightning
import torch
from torch import nn
from torch.nn.functional import mse_loss

import edsl


class Regression(lightning.LightningModule):
    """As it is trained by Lightning's Trainer; nothing here knows of edsl."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 32), nn.GELU(), nn.Linear(32, 1))

    def forward(self, x):
        return self.layers(x)[:, 0]

    def training_step(self, batch, index):
        x, y = batch
        return mse_loss(self(x), y)

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters())


class Steps(nn.Module):
    """The module's own loss, by its training_step."""

    def __init__(self):
        super().__init__()
        self.module = Regression()

    def forward(self, batch):
        return self.module.training_step((batch["x"], batch["y"]), 0)


def data():
    x = torch.randn(1000, 4)
    y = x.prod(1) + 0.1 * torch.randn(1000)
    return edsl.Rows(x=x, y=y), y


task = edsl.Task(data=data, models=Steps, loss=lambda loss, targets: loss, batch=50, steps=200)
