"""Chains of today's records, a line each, against naive loops on square matrices, whose bases SOAP can't choose."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import naive_updates as naive
import numpy as np
import pytest
from problem import as_numpy, gradients, parameters, walk, worst

import edsl
from edsl.numerics.newton_schulz import MINIMAX

SHAPES = [(4, 4), (3, 3)]
STEPS = 20
JORDAN = [(3.4445, -4.7750, 2.0315)] * 5


def norm(x: Any) -> Any:
    return np.linalg.norm(x)


def soap_muon_hyperball(begun: Any, rows: Any) -> Any:
    """SOAP's direction (Vyas et al. 2024), orthogonalised (Jordan et al. 2024), at the norm begun with (Wen et al.)."""
    zeros = [np.zeros(shape) for shape in SHAPES]
    positions = [zeros, *naive.soap(zeros, rows, lr=1.0, every=10)]
    theta, m, history = [t.copy() for t in begun], [z.copy() for z in zeros], []
    for before, after in pairwise(positions):
        for i, (then, now) in enumerate(zip(before, after)):
            d = then - now
            m[i] = 0.95 * m[i] + 0.05 * d
            ahead = 0.95 * m[i] + 0.05 * d
            if norm(ahead) > 0:
                update = naive.newton_schulz(ahead, MINIMAX[:5])
                moved = theta[i] - 0.02 * norm(begun[i]) * update / norm(update)
                theta[i] = norm(begun[i]) * moved / norm(moved)
        history.append([t.copy() for t in theta])
    return history


def row_muon_cautious_decay(begun: Any, rows: Any) -> Any:
    """Muon with rows of one length, and decay where the step shrinks a weight."""
    theta, m, history = [t.copy() for t in begun], [np.zeros(shape) for shape in SHAPES], []
    for row in rows:
        for i, g in enumerate(row):
            m[i] = 0.95 * m[i] + 0.05 * g
            o = naive.newton_schulz(0.95 * m[i] + 0.05 * g, JORDAN)
            d = o / np.sqrt((o**2).sum(1, keepdims=True))
            d = d * norm(o) / norm(d)
            decays = np.where(d * theta[i] >= 0, theta[i], 0)
            theta[i] = theta[i] - 0.02 * (d + 0.1 * decays)
        history.append([t.copy() for t in theta])
    return history


def scheduled_normuon(begun: Any, rows: Any) -> Any:
    """NorMuon while its momentum rises over 10 steps and its rate falls over the last 30 %."""
    theta, m, v = (
        [t.copy() for t in begun],
        [np.zeros(shape) for shape in SHAPES],
        [np.zeros((n, 1)) for n, _ in SHAPES],
    )
    history = []
    for k, row in enumerate(rows, start=1):
        momentum = 0.85 + 0.1 * min(k / 10, 1)
        decay = 0.3 * STEPS
        lr = 0.02 * (1 - max(0, (k - STEPS + decay) / decay))
        for i, g in enumerate(row):
            m[i] = momentum * m[i] + (1 - momentum) * g
            o = naive.newton_schulz(m[i], JORDAN)
            v[i] = 0.95 * v[i] + 0.05 * (o**2).mean(1, keepdims=True)
            d = o / (np.sqrt(v[i]) + 1e-8)
            theta[i] = theta[i] - lr * (0.2 * np.sqrt(d.size) * d / norm(d) + 0.1 * theta[i])
        history.append([t.copy() for t in theta])
    return history


def cautious_adamw_cautious_decay(begun: Any, rows: Any) -> Any:
    """Liang et al. 2024, Algorithm 2, with the decay of Chen et al. 2025."""
    theta, history = [t.copy() for t in begun], []
    m, v = ([np.zeros(shape) for shape in SHAPES] for _ in range(2))
    for k, row in enumerate(rows, start=1):
        for i, g in enumerate(row):
            m[i] = 0.9 * m[i] + 0.1 * g
            v[i] = 0.999 * v[i] + 0.001 * g**2
            step = m[i] / (1 - 0.9**k) / (np.sqrt(v[i] / (1 - 0.999**k)) + 1e-8)
            agrees = (step * g > 0).astype(float)
            step = step * agrees * agrees.size / (agrees.sum() + 1)
            theta[i] = theta[i] - 0.01 * (step + 0.1 * np.where(step * theta[i] >= 0, theta[i], 0))
        history.append([t.copy() for t in theta])
    return history


CHAINS = {
    "cautious_adamw(lr=0.01, weight_decay=0.1, cautious_decay=True)": cautious_adamw_cautious_decay,
    "soap_then_muon(lr=0.02) | hyperball": soap_muon_hyperball,
    "grad | direction(soap) | muon(lr=0.02) | hyperball": soap_muon_hyperball,
    "row_normalised_muon(lr=0.02, weight_decay=0.1, cautious_decay=True)": row_muon_cautious_decay,
    "normuon(lr=wsd(0.02, decay=0.3), momentum=linear(0.85, to=0.95, steps=10), weight_decay=0.1)": scheduled_normuon,
}


@pytest.mark.parametrize("line", CHAINS)
def test_a_record_is_one_line_and_a_naive_loop_within_1e_12(line):
    params = parameters(SHAPES)
    begun = as_numpy([params])[0]
    begun = [t.copy() for t in begun]
    rows = gradients(STEPS, SHAPES)
    optimizer: Any = edsl.compile(line, params, mode="eager", total_steps=STEPS)
    history = walk(optimizer, params, rows)
    assert worst(history, CHAINS[line](begun, as_numpy(rows))) <= 1e-12
    assert worst(history[-1:], [begun]) > 0.01


def test_galore_within_a_rule_is_galore_with_bases_of_its_own_period():
    within = "@update\ndef own(u, *, lr=0.1):\n    return galore(u, lr=lr, rank=2, every=5)\n\nown(lr=0.02)"
    histories = []
    for spec in (within, "galore(lr=0.02, rank=2, every=5)"):
        params = parameters(SHAPES)
        histories.append(walk(edsl.compile(spec, params, mode="eager"), params, gradients(STEPS, SHAPES)))
    assert worst(*histories) == 0
    params = parameters(SHAPES)
    rare = walk(edsl.compile("galore(lr=0.02, rank=2)", params, mode="eager"), params, gradients(STEPS, SHAPES))
    assert worst(histories[0][4:5], rare[4:5]) == 0
    assert worst(histories[0], rare) > 0.001
