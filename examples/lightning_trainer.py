"""Lightning: return the optimizer from configure_optimizers; checkpoints and schedulers are the Trainer's."""

import logging

import lightning
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import edsl


class Classifier(lightning.LightningModule):
    """Whether a point of a square lies inside a circle."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(2, 32), nn.Tanh(), nn.Linear(32, 2))
        self.losses = []

    def training_step(self, batch):
        points, labels = batch
        loss = nn.functional.cross_entropy(self.layers(points), labels)
        self.losses.append(loss.item())
        return loss

    def configure_optimizers(self):
        # The module itself, so that biases and norms are excluded from weight decay by their names.
        return edsl.compile("eadamw(lr=0.05, alpha=0.5, beta1=0.01)", self.layers)


def main():
    lightning.seed_everything(0, verbose=False)
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    points = torch.rand(512, 2) * 2 - 1
    labels = (points.square().sum(1) < 0.5).long()
    module = Classifier()
    trainer = lightning.Trainer(
        max_epochs=10,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, DataLoader(TensorDataset(points, labels), batch_size=64, shuffle=True))
    return module.losses[0], module.losses[-1]


if __name__ == "__main__":
    print("loss {:.3f} → {:.3f}".format(*main()))
