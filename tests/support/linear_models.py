"""Linear optimizers in plain numpy, written apart from edsl's stages: random ones, their texts and matrices."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import numpy as np


@dataclass
class Model:
    """E's, one momentum update and wrappers, as their docstrings print them.

    Attributes:
        explorations: (alpha, beta1) of each.
        update: (lr, momentum, share of the new gradient, nesterov, coupled decay).
        decay: decoupled, by `decay`. lookahead: (n, a), or None.
    """

    explorations: list[tuple[float, float]] = field(default_factory=list)
    lr: float = 1.0
    momentum: float = 0.0
    average: str = "sum"
    nesterov: bool = False
    coupled: float = 0.0
    decay: float = 0.0
    lookahead: tuple[int, float] | None = None

    @property
    def spec(self) -> str:
        stages = ["grad"]
        stages += [f"e(alpha={alpha}, beta1={beta1})" for alpha, beta1 in self.explorations]
        update = f"sgd(lr={self.lr}, momentum={self.momentum}, average='{self.average}', weight_decay={self.coupled}"
        stages.append(update + (", nesterov=True)" if self.nesterov else ")"))
        if self.decay:
            stages.append(f"decay(rate={self.decay})")
        if self.lookahead:
            stages.append(f"lookahead(every={self.lookahead[0]}, share={self.lookahead[1]})")
        return " | ".join(stages)

    @property
    def states(self) -> int:
        return 1 + len(self.explorations) + 1 + bool(self.lookahead)

    @property
    def period(self) -> int:
        return self.lookahead[0] if self.lookahead else 1

    def step(self, state, gradient, k):
        """State after step k: [θ, ḡ of each E, m, slow weights], gradient given."""
        theta, means, m = state[0], list(state[1 : 1 + len(self.explorations)]), state[1 + len(self.explorations)]
        u = gradient
        for number, (alpha, beta1) in enumerate(self.explorations):
            incoming = u
            u = incoming + alpha * (1 - beta1) * (incoming - means[number])
            means[number] = beta1 * means[number] + (1 - beta1) * incoming
        share = 1 - self.momentum if self.average == "ema" else 1.0
        d = u + self.coupled * theta
        m = self.momentum * m + share * d
        direction = share * d + self.momentum * m if self.nesterov else m
        moved = theta - self.lr * direction - self.lr * self.decay * theta
        if not self.lookahead:
            return [moved, *means, m]
        slow = state[-1]
        if k % self.lookahead[0] == 0:
            slow = slow + self.lookahead[1] * (moved - slow)
            moved = slow
        return [moved, *means, m, slow]

    def matrices(self, delay: int = 0):
        """(A, the gradient's column) of each step of a period, past θ's last; the gradient is of the last state."""
        size = self.states + delay
        found = []
        for k in range(1, self.period + 1):
            A = np.zeros((size, size))
            for column in range(self.states):
                unit = [float(row == column) for row in range(self.states)]
                A[: self.states, column] = self.step(unit, 0.0, k)
            for past in range(delay):
                A[self.states + past, 0 if past == 0 else self.states + past - 1] = 1
            b = np.zeros(size)
            b[: self.states] = self.step([0.0] * self.states, 1.0, k)
            found.append((A, b))
        return found

    def radius(self, h: float, delay: int = 0, c: float = 0.0) -> float:
        """Of one period: the largest |eigenvalue| of the state's map, or of its second moments' with noise."""
        size = self.states + delay
        reader = np.zeros(size)
        reader[size - 1 if delay else 0] = 1
        total = np.eye(size**2 if c else size)
        for A, b in self.matrices(delay):
            now = A + h * np.outer(b, reader)
            if c:
                noise = np.outer(b, reader)
                now = np.kron(now, now) + (c * h) ** 2 * np.kron(noise, noise)
            total = now @ total
        return float(np.abs(np.linalg.eigvals(total)).max())


def random_model(rng: random.Random, periodic: bool = False) -> Model:
    """One whose eigenvalues are not all clustered near 1, so that floats can judge it."""
    decays = (0.0, 0.3, 0.5, 0.8, 0.9, 0.95, 0.99)
    explorations = []
    for _ in range(rng.choice((0, 1, 1, 1, 2))):
        beta1 = rng.choice(decays)
        explorations.append((round(rng.uniform(-0.99, 0.99) / (1 - beta1), 3), beta1))
    momentum = rng.choice(decays[1:])
    return Model(
        explorations,
        lr=rng.choice((0.01, 0.1, 1.0, 3.0)),
        momentum=momentum,
        average=rng.choice(("ema", "sum")),
        nesterov=rng.random() < 0.3,
        coupled=rng.choice((0.0, 0.0, 0.01)),
        decay=rng.choice((0.0, 0.0, 0.02)),
        lookahead=(rng.randint(2, 7), rng.choice((0.2, 0.5, 0.8, 1.0))) if periodic else None,
    )
