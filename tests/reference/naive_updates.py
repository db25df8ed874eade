"""Newer updates as their papers and docstrings print them, in numpy, one loop and plain names.

Written apart from edsl's stages, to test them; see tests/support/naive.py for the first ones. Each takes
a list of parameters, a list of steps of gradients, and returns the parameters after every step.
"""

from __future__ import annotations

import numpy as np


def lion(parameters, gradients, lr, beta2=0.9, beta3=0.99, weight_decay=0.0):
    """Chen et al. 2023, Algorithm 2: the step's interpolation has β₂, the momentum's β₃."""
    theta = [p.copy() for p in parameters]
    m = [np.zeros_like(p) for p in parameters]
    history = []
    for row in gradients:
        for i, g in enumerate(row):
            c = beta2 * m[i] + (1 - beta2) * g
            m[i] = beta3 * m[i] + (1 - beta3) * g
            theta[i] = theta[i] - lr * (np.sign(c) + weight_decay * theta[i])
        history.append([t.copy() for t in theta])
    return history


def adan(parameters, gradients, lr, beta2=0.98, beta3=0.99, beta4=0.92, weight_decay=0.0, eps=1e-8):
    """Xie et al. 2022, Algorithm 1, debiased as in the authors' code; the decay divides by 1 + ηλ."""
    theta = [p.copy() for p in parameters]
    m = [np.zeros_like(p) for p in parameters]
    d = [np.zeros_like(p) for p in parameters]
    v = [np.zeros_like(p) for p in parameters]
    before = [g.copy() for g in gradients[0]]
    history = []
    for k, row in enumerate(gradients, start=1):
        for i, g in enumerate(row):
            change = g - before[i]
            before[i] = g.copy()
            m[i] = beta2 * m[i] + (1 - beta2) * g
            d[i] = beta4 * d[i] + (1 - beta4) * change
            v[i] = beta3 * v[i] + (1 - beta3) * (g + beta4 * change) ** 2
            m_hat = m[i] / (1 - beta2**k)
            d_hat = d[i] / (1 - beta4**k)
            v_hat = v[i] / (1 - beta3**k)
            moved = theta[i] - lr * (m_hat + beta4 * d_hat) / (np.sqrt(v_hat) + eps)
            theta[i] = moved / (1 + lr * weight_decay)
        history.append([t.copy() for t in theta])
    return history


def adabelief(parameters, gradients, lr, beta2=0.9, beta3=0.999, weight_decay=0.0, eps=1e-8):
    """Zhuang et al. 2020, Algorithm 2: ε joins v at every step and stands in the denominator once more."""
    theta = [p.copy() for p in parameters]
    m = [np.zeros_like(p) for p in parameters]
    v = [np.zeros_like(p) for p in parameters]
    history = []
    for k, row in enumerate(gradients, start=1):
        for i, g in enumerate(row):
            m[i] = beta2 * m[i] + (1 - beta2) * g
            v[i] = beta3 * v[i] + (1 - beta3) * (g - m[i]) ** 2 + eps
            m_hat = m[i] / (1 - beta2**k)
            v_hat = v[i] / (1 - beta3**k)
            theta[i] = theta[i] - lr * (m_hat / (np.sqrt(v_hat) + eps) + weight_decay * theta[i])
        history.append([t.copy() for t in theta])
    return history


def rmsprop(parameters, gradients, lr, beta3=0.99, momentum=0.0, weight_decay=0.0, eps=1e-8, centered=False):
    """Tieleman and Hinton 2012, lecture 6.5; centered as Graves 2013, eq. 38–45, with torch's place of ε."""
    theta = [p.copy() for p in parameters]
    v = [np.zeros_like(p) for p in parameters]
    mean = [np.zeros_like(p) for p in parameters]
    m = [np.zeros_like(p) for p in parameters]
    history = []
    for row in gradients:
        for i, g in enumerate(row):
            d = g + weight_decay * theta[i]
            v[i] = beta3 * v[i] + (1 - beta3) * d**2
            mean[i] = beta3 * mean[i] + (1 - beta3) * d
            variance = v[i] - mean[i] ** 2 if centered else v[i]
            m[i] = momentum * m[i] + d / (np.sqrt(variance) + eps)
            theta[i] = theta[i] - lr * m[i]
        history.append([t.copy() for t in theta])
    return history


def lars(
    parameters,
    gradients,
    lr,
    momentum=0.9,
    weight_decay=1e-4,
    trust=1e-3,
    eps=1e-8,
    layerwise=True,
    nesterov=False,
):
    """You, Gitman, Ginsburg 2017, Algorithm 1: the local rate of eq. 6 is inside the momentum."""
    theta = [p.copy() for p in parameters]
    m = [np.zeros_like(p) for p in parameters]
    history = []
    for row in gradients:
        for i, g in enumerate(row):
            rate = 1.0
            if layerwise:
                top = trust * np.linalg.norm(theta[i])
                bottom = np.linalg.norm(g) + weight_decay * np.linalg.norm(theta[i]) + eps
                rate = top / bottom if top != 0 and bottom != 0 else 1.0
            d = rate * (g + weight_decay * theta[i])
            m[i] = momentum * m[i] + d
            theta[i] = theta[i] - lr * (d + momentum * m[i] if nesterov else m[i])
        history.append([t.copy() for t in theta])
    return history


def sophia(parameters, gradients, hessians, lr, beta2=0.96, beta3=0.99, weight_decay=0.0, gamma=0.01, eps=1e-12):
    """Liu et al. 2024, Algorithm 3; a step of `hessians` is None where the curvature was not looked at."""
    theta = [p.copy() for p in parameters]
    m = [np.zeros_like(p) for p in parameters]
    h = [np.zeros_like(p) for p in parameters]
    history = []
    for row, diagonals in zip(gradients, hessians, strict=True):
        for i, g in enumerate(row):
            m[i] = beta2 * m[i] + (1 - beta2) * g
            if diagonals is not None:
                h[i] = beta3 * h[i] + (1 - beta3) * diagonals[i]
            r = m[i] / np.maximum(gamma * h[i], eps)
            theta[i] = theta[i] - lr * (np.clip(r, -1, 1) + weight_decay * theta[i])
        history.append([t.copy() for t in theta])
    return history


def adahessian(parameters, gradients, hessians, lr, beta2=0.9, beta3=0.999, weight_decay=0.0, eps=1e-4, power=1.0):
    """Yao et al. 2021, Algorithm 1; a step of `hessians` is None where the curvature was not looked at."""
    theta = [p.copy() for p in parameters]
    m = [np.zeros_like(p) for p in parameters]
    v = [np.zeros_like(p) for p in parameters]
    history = []
    looks = 0
    for k, (row, diagonals) in enumerate(zip(gradients, hessians, strict=True), start=1):
        if diagonals is not None:
            looks += 1
        for i, g in enumerate(row):
            m[i] = beta2 * m[i] + (1 - beta2) * g
            if diagonals is not None:
                v[i] = beta3 * v[i] + (1 - beta3) * diagonals[i] ** 2
            m_hat = m[i] / (1 - beta2**k)
            v_hat = v[i] / (1 - beta3**looks)
            theta[i] = theta[i] - lr * (m_hat / (np.sqrt(v_hat) ** power + eps) + weight_decay * theta[i])
        history.append([t.copy() for t in theta])
    return history


def newton_schulz(matrix, quintics):
    """X = X/‖X‖, then a X + b (X Xᵀ) X + c (X Xᵀ)² X for each (a, b, c)."""
    x = matrix / np.linalg.norm(matrix)
    for a, b, c in quintics:
        gram = x @ x.T
        x = a * x + b * gram @ x + c * gram @ gram @ x
    return x


def muon(parameters, gradients, lr, quintics, momentum=0.95, weight_decay=0.0, nesterov=True, scale="original"):
    """Jordan et al. 2024, and Liu et al. 2025, eq. 4; the momentum is an EMA, as torch's is."""
    theta = [p.copy() for p in parameters]
    m = [np.zeros_like(p) for p in parameters]
    history = []
    for row in gradients:
        for i, g in enumerate(row):
            m[i] = momentum * m[i] + (1 - momentum) * g
            d = (1 - momentum) * g + momentum * m[i] if nesterov else m[i]
            matrix = d.reshape(d.shape[0], -1)
            rows, columns = matrix.shape
            factor = 1.0
            if scale == "original":
                factor = np.sqrt(max(1, rows / columns))
            if scale == "match_rms_adamw":
                factor = 0.2 * np.sqrt(max(rows, columns))
            orthogonal = newton_schulz(matrix, quintics).reshape(d.shape)
            theta[i] = theta[i] - lr * (factor * orthogonal + weight_decay * theta[i])
        history.append([t.copy() for t in theta])
    return history


def cuts(length, size):
    """The slices of the blocks along one dimension: as few as can be, all but the last equally long."""
    count = 1
    while count * size < length:
        count += 1
    long = 1
    while count * long < length:
        long += 1
    return [slice(start, min(start + long, length)) for start in range(0, length, long)]


def inverse_power(matrix, exponent, eps):
    """(A + ε λ I)^(−p), λ the largest eigenvalue."""
    values, vectors = np.linalg.eigh(matrix)
    damped = np.maximum(values, 0) + eps * values.max()
    return vectors @ np.diag(damped**-exponent) @ vectors.T


def shampoo(
    parameters,
    gradients,
    lr,
    beta2=0.9,
    beta3=0.99,
    weight_decay=0.0,
    eps=1e-6,
    exponent=0.25,
    every=10,
    block=1024,
    grafting="adam",
    average="ema",
):
    """Gupta et al. 2018, Algorithm 1, block by block; averages and grafting as Shi et al. 2023, Algorithm 2.

    The roots are taken at steps 1, 1 + every, …, of covariances that hold that step's gradient.
    """
    shapes = [p.shape for p in parameters]
    theta = [p.reshape(p.shape[0], -1).copy() for p in parameters]
    m = [np.zeros_like(t) for t in theta]
    v = [np.zeros_like(t) for t in theta]
    left, right, left_root, right_root = {}, {}, {}, {}
    history = []
    for k, row in enumerate(gradients, start=1):
        for i in range(len(row)):
            g = row[i].reshape(theta[i].shape)
            m[i] = beta2 * m[i] + (1 - beta2) * g
            v[i] = beta3 * v[i] + (1 - beta3) * g**2
            m_hat = m[i] / (1 - beta2**k)
            v_hat = v[i] / (1 - beta3**k)
            d = np.zeros_like(g)
            for r, some_rows in enumerate(cuts(g.shape[0], block)):
                for c, some_columns in enumerate(cuts(g.shape[1], block)):
                    here = (i, r, c)
                    u = g[some_rows, some_columns]
                    if k == 1:
                        left[here] = np.zeros((u.shape[0], u.shape[0]))
                        right[here] = np.zeros((u.shape[1], u.shape[1]))
                    if average == "sum":
                        left[here] = left[here] + u @ u.T
                        right[here] = right[here] + u.T @ u
                    else:
                        left[here] = beta3 * left[here] + (1 - beta3) * u @ u.T
                        right[here] = beta3 * right[here] + (1 - beta3) * u.T @ u
                    if (k - 1) % every == 0:
                        debias = 1.0 if average == "sum" else 1 - beta3**k
                        left_root[here] = inverse_power(left[here] / debias, exponent, eps)
                        right_root[here] = inverse_power(right[here] / debias, exponent, eps)
                    d[some_rows, some_columns] = left_root[here] @ m_hat[some_rows, some_columns] @ right_root[here]
            if grafting == "sgd":
                d = d * np.linalg.norm(m_hat) / np.linalg.norm(d)
            if grafting == "adam":
                d = d * np.linalg.norm(m_hat / (np.sqrt(v_hat) + 1e-8)) / np.linalg.norm(d)
            theta[i] = theta[i] - lr * (d + weight_decay * theta[i])
        history.append([t.reshape(shape).copy() for t, shape in zip(theta, shapes, strict=True)])
    return history


def torch_optimizers_shampoo(parameters, gradients, lr, eps=1e-4, momentum=0.0, weight_decay=0.0, every=1):
    """torch_optimizer.Shampoo's own definition, on matrices: not the paper's.

    The second covariance is of the gradient that the first has preconditioned; both have the power −1/2,
    where the paper has −1/4; momentum averages the gradient with the last preconditioned one.
    """
    theta = [p.copy() for p in parameters]
    left = [eps * np.eye(p.shape[0]) for p in parameters]
    right = [eps * np.eye(p.shape[1]) for p in parameters]
    left_root = [np.zeros_like(matrix) for matrix in left]
    right_root = [np.zeros_like(matrix) for matrix in right]
    last = [g.copy() for g in gradients[0]]
    history = []
    for k, row in enumerate(gradients, start=1):
        for i in range(len(row)):
            g = (1 - momentum) * row[i] + momentum * last[i] + weight_decay * theta[i]
            left[i] = left[i] + g @ g.T
            if (k - 1) % every == 0:
                left_root[i] = inverse_power(left[i], 1 / 2, 0)
            g = left_root[i] @ g
            right[i] = right[i] + g.T @ g
            if (k - 1) % every == 0:
                right_root[i] = inverse_power(right[i], 1 / 2, 0)
            g = g @ right_root[i]
            last[i] = g
            theta[i] = theta[i] - lr * g
        history.append([t.copy() for t in theta])
    return history


def soap(
    parameters,
    gradients,
    lr,
    beta2=0.95,
    beta3=0.95,
    beta4=0.95,
    weight_decay=0.0,
    eps=1e-8,
    every=10,
    block=1024,
    bases=None,
):
    """Vyas et al. 2024, Algorithms 3 and 4, block by block.

    The first step sets the bases and moments and does not move. Before steps 1 + every, 1 + 2·every, … the
    bases take one power iteration and QR of the covariances so far. `bases` are the first ones, a pair for
    each parameter in one block: an eigenvalue that repeats, such as 0 in the wider covariance, leaves them free.
    """
    shapes = [p.shape for p in parameters]
    theta = [p.reshape(p.shape[0], -1).copy() for p in parameters]
    m = [np.zeros_like(t) for t in theta]
    v, left, right, left_basis, right_basis = {}, {}, {}, {}, {}
    history = []
    for k, row in enumerate(gradients, start=1):
        for i in range(len(row)):
            g = row[i].reshape(theta[i].shape)
            m[i] = beta2 * m[i] + (1 - beta2) * g
            m_hat = m[i] / (1 - beta2**k)
            d = np.zeros_like(g)
            for r, some_rows in enumerate(cuts(g.shape[0], block)):
                for c, some_columns in enumerate(cuts(g.shape[1], block)):
                    here = (i, r, c)
                    u = g[some_rows, some_columns]
                    if k == 1:
                        v[here] = np.zeros_like(u)
                        left[here] = np.zeros((u.shape[0], u.shape[0]))
                        right[here] = np.zeros((u.shape[1], u.shape[1]))
                        left_basis[here] = np.linalg.eigh(u @ u.T)[1][:, ::-1] if bases is None else bases[i][0]
                        right_basis[here] = np.linalg.eigh(u.T @ u)[1][:, ::-1] if bases is None else bases[i][1]
                    elif (k - 1) % every == 0:
                        left_basis[here] = np.linalg.qr(left[here] @ left_basis[here])[0]
                        right_basis[here] = np.linalg.qr(right[here] @ right_basis[here])[0]
                    into, back = left_basis[here], right_basis[here]
                    v[here] = beta3 * v[here] + (1 - beta3) * (into.T @ u @ back) ** 2
                    seen = into.T @ m_hat[some_rows, some_columns] @ back
                    scaled = seen / (np.sqrt(v[here] / (1 - beta3**k)) + eps)
                    d[some_rows, some_columns] = into @ scaled @ back.T
                    left[here] = beta4 * left[here] + (1 - beta4) * u @ u.T
                    right[here] = beta4 * right[here] + (1 - beta4) * u.T @ u
            if k > 1:
                theta[i] = theta[i] - lr * (d + weight_decay * theta[i])
        history.append([t.reshape(shape).copy() for t, shape in zip(theta, shapes, strict=True)])
    return history


def sgd_with_wrappers(parameters, gradients, lr, momentum, wrappers, weight_decay=0.0):
    """Momentum, and what stands behind it, in this order: pairs of a wrapper's name and its arguments.

    caution (ε): Liang et al. 2024, Algorithm 2. decay (λ): Loshchilov and Hutter 2019, eq. 2.
    lookahead (n, a): Zhang et al. 2019, Algorithm 1.
    """
    theta = [p.copy() for p in parameters]
    slow = [p.copy() for p in parameters]
    m = [np.zeros_like(p) for p in parameters]
    history = []
    for k, row in enumerate(gradients, start=1):
        for i, g in enumerate(row):
            m[i] = momentum * m[i] + g + weight_decay * theta[i]
            change = -lr * m[i]
            for name, arguments in wrappers:
                if name == "caution":
                    (least,) = arguments
                    agrees = np.where(-change * g > 0, 1.0, 0.0)
                    change = change * agrees / max(agrees.mean(), least)
                if name == "decay":
                    (rate,) = arguments
                    change = change - lr * rate * theta[i]
                if name == "lookahead":
                    every, share = arguments
                    if k % every == 0:
                        slow[i] = slow[i] + share * (theta[i] + change - slow[i])
                        change = slow[i] - theta[i]
            theta[i] = theta[i] + change
        history.append([t.copy() for t in theta])
    return history


def ema_weights(history, decay):
    """Tarvainen and Valpola 2017, eq. 1: the averages after every step, the first being the first weights."""
    average = [t.copy() for t in history[0]]
    averages = [average]
    for row in history[1:]:
        average = [decay * a + (1 - decay) * t for a, t in zip(average, row, strict=True)]
        averages.append(average)
    return averages
