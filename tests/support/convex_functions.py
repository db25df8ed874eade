"""Random smooth strongly convex functions of a given condition, in numpy."""

from __future__ import annotations

import numpy as np

KINDS = ("huber", "logistic", "log-sum-exp", "quadratic")


class ConvexFunction:
    """(m/2)‖θ‖² + what is convex and has a gradient with the Lipschitz constant L − m."""

    def __init__(self, kind: str, condition: float, L: float, seed: int, dimension: int = 4) -> None:
        generator = np.random.default_rng(seed)
        self.kind, self.m = kind, L / condition
        self.rows = generator.normal(size=(8, dimension)) * np.exp(generator.normal(size=(8, 1)))
        self.rows /= np.linalg.norm(self.rows, 2)
        self.shift = generator.normal(size=8)
        self.scale = float(np.exp(generator.uniform(-3, 3)))  # where the curvature changes
        self.bend = L - self.m

    def gradient(self, theta):
        x = (self.rows @ theta - self.shift) / self.scale
        if self.kind == "huber":
            slope = np.clip(x, -1, 1)
        elif self.kind == "logistic":
            slope = 4 * (1 / (1 + np.exp(-x)) - 0.5)
        elif self.kind == "log-sum-exp":
            slope = np.exp(x - x.max())
            slope = slope / slope.sum()  # its Hessian, diag(p) − ppᵀ, lies below 1
        else:
            slope = x
        return self.m * theta + self.bend * self.scale * (self.rows.T @ slope)

    def minimiser(self, decay: float = 0.0):
        """Of f + decay/2 ‖θ‖², by accelerated descent."""
        theta = before = np.zeros(self.rows.shape[1])
        root = np.sqrt((self.m + decay) / (self.m + self.bend + decay))
        share = (1 - root) / (1 + root)
        for _ in range(6000):
            ahead = theta + share * (theta - before)
            slope = self.gradient(ahead) + decay * ahead
            if np.linalg.norm(slope) < 1e-13 * (self.m + decay):
                break
            before, theta = theta, ahead - slope / (self.m + self.bend + decay)
        return theta
