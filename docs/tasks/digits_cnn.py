"""A convolutional network on scikit-learn's digits: a task in a file of its own."""

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.functional import cross_entropy

import edsl


def data():
    """1,797 images of 8 × 8 pixels in [0, 1] and their digits; edsl splits them 70/15/15 %."""
    images, digits = load_digits(return_X_y=True)
    return torch.tensor(images / 16, dtype=torch.float32).view(-1, 1, 8, 8), digits


class Cnn(nn.Module):
    """Two convolutions, dropout, and a linear head: 5,546 parameters."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 16, 3, padding=1), nn.ReLU()
        )
        self.head = nn.Sequential(nn.Flatten(), nn.Dropout(0.2), nn.Linear(16 * 16, 10))

    def forward(self, images):
        return self.head(self.features(images))


def accuracy(outputs, digits):
    return (outputs.argmax(1) == digits).float().mean()


task = edsl.Task(data=data, models=Cnn, loss=cross_entropy, accuracy=accuracy, batch=64, steps=300)
