"""The algorithms as the papers print them, in numpy, one loop and plain names.

Written apart from edsl's stages, to test them. Each takes a list of parameters, a list of steps of
gradients, and returns the parameters after every step.
"""

from __future__ import annotations

import numpy as np


def adapted_gradients(gradients, alpha, beta1, start="zero"):
    """Algorithm 5: a = β₁ a + (1−β₁)(g − g_before), u = g + α a; alpha and beta1 may be lists."""
    steps = len(gradients)
    alphas = alpha if isinstance(alpha, list) else [alpha] * steps
    betas = beta1 if isinstance(beta1, list) else [beta1] * steps
    before = [np.zeros_like(g) for g in gradients[0]]
    if start == "first":
        before = [g.copy() for g in gradients[0]]
    average = [np.zeros_like(g) for g in gradients[0]]
    adapted = []
    for step in range(steps):
        row = []
        for i, g in enumerate(gradients[step]):
            average[i] = betas[step] * average[i] + (1 - betas[step]) * (g - before[i])
            before[i] = g.copy()
            row.append(g + alphas[step] * average[i])
        adapted.append(row)
    return adapted


def sgd(parameters, gradients, lr, momentum=0.0, weight_decay=0.0, average="sum", nesterov=False):
    """Algorithm 3, with the options of torch.optim.SGD and momentum as an EMA."""
    theta = [p.copy() for p in parameters]
    m = [np.zeros_like(p) for p in parameters]
    history = []
    share = 1 - momentum if average == "ema" else 1.0
    for row in gradients:
        for i, g in enumerate(row):
            d = g + weight_decay * theta[i]
            m[i] = momentum * m[i] + share * d
            theta[i] = theta[i] - lr * (share * d + momentum * m[i] if nesterov else m[i])
        history.append([t.copy() for t in theta])
    return history


def adam(parameters, gradients, lr, beta2, beta3, eps, weight_decay=0.0, decoupled=False):
    """Algorithm 4, with coupled or decoupled weight decay."""
    theta = [p.copy() for p in parameters]
    m = [np.zeros_like(p) for p in parameters]
    v = [np.zeros_like(p) for p in parameters]
    history = []
    for k, row in enumerate(gradients, start=1):
        for i, g in enumerate(row):
            if weight_decay and not decoupled:
                g = g + weight_decay * theta[i]
            m[i] = beta2 * m[i] + (1 - beta2) * g
            v[i] = beta3 * v[i] + (1 - beta3) * g**2
            direction = (m[i] / (1 - beta2**k)) / (np.sqrt(v[i] / (1 - beta3**k)) + eps)
            if decoupled:
                direction = direction + weight_decay * theta[i]
            theta[i] = theta[i] - lr * direction
        history.append([t.copy() for t in theta])
    return history


def lamb(
    parameters,
    gradients,
    lr,
    raw=None,
    beta2=0.9,
    beta3=0.99,
    weight_decay=1e-4,
    eps1=1e-6,
    eps2=1e-6,
    eps3=1e-10,
    bias_correction=True,
    layerwise=True,
    m_reads="u",
    v_reads="u",
):
    """Algorithms 1 and 2; `raw` are the gradients before the adaptor, for the ablations of Table 7."""
    theta = [p.copy() for p in parameters]
    m = [np.zeros_like(p) for p in parameters]
    v = [np.zeros_like(p) for p in parameters]
    history = []
    for k, row in enumerate(gradients, start=1):
        for i, u in enumerate(row):
            g = row[i] if raw is None else raw[k - 1][i]
            for_m = g if m_reads == "g" else u
            for_v = g if v_reads == "g" else u
            m[i] = beta2 * m[i] + (1 - beta2) * for_m
            v[i] = beta3 * v[i] + (1 - beta3) * for_v**2
            m_hat, v_hat = m[i], v[i]
            if bias_correction:
                m_hat, v_hat = m_hat / (1 - beta2**k), v_hat / (1 - beta3**k)
            r = m_hat / (np.sqrt(v_hat) + eps1) + weight_decay * theta[i]
            factor = 1.0
            if layerwise:
                phi = np.linalg.norm(theta[i]) + eps3
                bottom = np.linalg.norm(r) + eps2 * phi
                factor = phi / bottom if phi != 0 and bottom != 0 else 1.0
            theta[i] = theta[i] - lr * factor * r
        history.append([t.copy() for t in theta])
    return history
