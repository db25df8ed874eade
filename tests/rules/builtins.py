"""edsl's own stages written again as rules: of each its text, and specs that name it."""

# ruff: noqa: E501 (rules, as one writes them)

from __future__ import annotations

from typing import NamedTuple


class Again(NamedTuple):
    """A stage as a rule of the same name.

    Attributes:
        text: its definition. own: a spec with edsl's stage. ruled: the same with the rule, where it differs.
    """

    text: str
    own: str
    ruled: str = ""


MOMENTUM = """
@update
def sgd(u, *, lr=0.001, momentum: decay = 0.0, weight_decay=0.0, average: choice("sum", "ema") = "sum", nesterov=False, heavy=False):
    d = u + weight_decay * theta
    if not heavy:
        return -lr * d
    share = 1
    if average == "ema":
        share = 1 - momentum
    m = momentum * m + share * d
    if nesterov:
        return -lr * (share * d + momentum * m)
    return -lr * m
"""
RMSPROP = """
@update
def rmsprop(u, *, lr=0.01, beta3: decay = 0.99, momentum: decay = 0.0, weight_decay=0.0, eps1=1e-8, centered=False, heavy=False):
    d = u + weight_decay * theta
    v = ema(v, d * d, beta3)
    spread = v
    if centered:
        average = ema(average, d, beta3)
        spread = maximum(v - finite(average * average), 0)
    r = d / (sqrt(spread) + eps1)
    if heavy:
        m = momentum * m + r
        r = m
    return -lr * r
"""
E1 = """
@adaptor
def e(u, *, alpha=-5.0, beta1: decay = 0.99, start: choice("zero", "first") = "zero"):
    past = mean
    if start == "first":
        past = first(u, mean)
    a = (1 - beta1) * (u - past)
    mean = beta1 * past + (1 - beta1) * u
    return u + alpha * a
"""
E2 = """
@adaptor
def e(u, *, alpha=-5.0, beta1: decay = 0.99):
    a = ema(a, difference(u, past), beta1)
    past = u
    return u + alpha * a
"""
ADAM = """
@update
def adam(u, *, lr=0.001, beta2: decay = 0.9, beta3: decay = 0.999, weight_decay=0.0, eps1=1e-8):
    d = u + weight_decay * theta
    m = ema(m, d, beta2)
    v = ema(v, d * d, beta3)
    return -lr * (debias(m, beta2) / (sqrt(debias(v, beta3)) + eps1))
"""
ADAMW = """
@update
def adamw(u, *, lr=0.001, beta2: decay = 0.9, beta3: decay = 0.999, weight_decay=0.01, eps1=1e-8):
    m = ema(m, u, beta2)
    v = ema(v, u * u, beta3)
    m_hat, v_hat = debias(m, beta2), debias(v, beta3)
    return -lr * (m_hat / (sqrt(v_hat) + eps1) + weight_decay * theta)
"""
LAMB = """
@update
def lamb(
    u, *, lr=0.01, beta2: decay = 0.9, beta3: decay = 0.99, weight_decay=0.0001, eps1=1e-6, eps2=1e-6, eps3=1e-10,
    bias_correction=True, layerwise=True, m_reads: choice("u", "g") = "u", v_reads: choice("u", "g") = "u"
):
    u_m, u_v = u, u
    if m_reads == "g":
        u_m = g
    if v_reads == "g":
        u_v = g
    m = ema(m, u_m, beta2)
    v = ema(v, u_v * u_v, beta3)
    m_hat, v_hat = m, v
    if bias_correction:
        m_hat, v_hat = debias(m, beta2), debias(v, beta3)
    r = m_hat / (sqrt(v_hat) + eps1) + weight_decay * theta
    if not layerwise:
        return -lr * r
    length = norm(theta)
    phi = length + eps3
    return -lr * ratio(phi, norm(r) + eps2 * phi, length) * r
"""
LARS = """
@update
def lars(u, *, lr=1.0, momentum: decay = 0.9, weight_decay=0.0001, trust: positive = 0.001, eps1=1e-8, layerwise=True, nesterov=False):
    d = u + weight_decay * theta
    if layerwise:
        length = norm(theta)
        d = ratio(trust * length, norm(u) + weight_decay * length + eps1) * d
    m = momentum * m + d
    if nesterov:
        return -lr * (d + momentum * m)
    return -lr * m
"""
QHM = """
@update
def qhm(u, *, lr=0.1, momentum: decay = 0.999, nu=0.7, weight_decay=0.0):
    d = u + weight_decay * theta
    m = ema(m, d, momentum)
    return -lr * ((1 - nu) * d + nu * m)
"""
LION = """
@update
def lion(u, *, lr=0.0001, beta2: decay = 0.9, beta3: decay = 0.99, weight_decay=0.0):
    c = ema(m, u, beta2)
    m = ema(m, u, beta3)
    return -lr * (sign(c) + weight_decay * theta)
"""
ADABELIEF = """
@update
def adabelief(u, *, lr=0.001, beta2: decay = 0.9, beta3: decay = 0.999, weight_decay=0.0, eps1=1e-8):
    m = ema(m, u, beta2)
    deviation = u - m
    v = ema(v, deviation * deviation, beta3) + eps1
    m_hat = debias(m, beta2)
    v_hat = debias(v, beta3)
    return -lr * (m_hat / (sqrt(v_hat) + eps1) + weight_decay * theta)
"""
ADAN = """
@update
def adan(u, *, lr=0.001, beta2: decay = 0.98, beta3: decay = 0.99, beta4: decay = 0.92, weight_decay=0.0, eps1=1e-8):
    delta = u - first(u, past)
    ahead = u + beta4 * delta
    m = ema(m, u, beta2)
    d = ema(d, delta, beta4)
    v = ema(v, ahead * ahead, beta3)
    past = u
    m_hat, d_hat, v_hat = debias(m, beta2), debias(d, beta4), debias(v, beta3)
    s = -lr * ((m_hat + beta4 * d_hat) / (sqrt(v_hat) + eps1))
    shrink = lr * weight_decay
    return (s - shrink * theta) / (1 + shrink)
"""
ADAHESSIAN = """
@update
def adahessian(u, *, lr=0.15, beta2: decay = 0.9, beta3: decay = 0.999, weight_decay=0.0, eps1=0.0001, power: within(0, 1) = 1):
    m = ema(m, u, beta2)
    v = fresh(ema(v, hessian * hessian, beta3), v)
    m_hat = debias(m, beta2)
    v_hat = debias(v, beta3, looks)
    return -lr * (m_hat / (sqrt(v_hat) ** power + eps1) + weight_decay * theta)
"""
SOPHIA = """
@update
def sophia(u, *, lr=0.001, beta2: decay = 0.96, beta3: decay = 0.99, weight_decay=0.0, gamma: nonnegative = 0.01, eps1: positive = 1e-12):
    m = ema(m, u, beta2)
    h = fresh(ema(h, hessian, beta3), h)
    newton = clamp(m / maximum(gamma * h, eps1), 1)
    return -lr * (newton + weight_decay * theta)
"""
CLIP = """
@adaptor
def clip(u, *, value: positive = 0.1):
    return clamp(u, value)
"""
GUARD = """
@adaptor
def guard(u, *, zero=True):
    if zero:
        return finite(u)
    return u
"""
NOISE = """
@adaptor
def noise(u, *, std: nonnegative = 0.01, gamma: nonnegative = 0.55):
    return u + std * k ** (-gamma / 2) * normal
"""
CAUTION = """
@wrapper
def caution(delta, *, least: positive = 0.001):
    agrees = positive(-delta * g)
    return delta * (agrees / maximum(mean(agrees), least))
"""
DECAY = """
@wrapper
def decay(delta, *, rate: nonnegative = 0.01):
    return delta - lr * rate * theta
"""
LOOKAHEAD = """
@wrapper
def lookahead(delta, *, every: whole = 5, share: within(0, 1) = 0.5):
    before = first(theta, slow)
    slow = every(every, before + share * (theta + delta - before), before)
    return every(every, slow - theta, delta)
"""
EMA_WEIGHTS = """
@wrapper
def ema_weights(delta, *, decay: decay = 0.999):
    moved = theta + delta
    average = first(moved, ema(average, moved, decay))
    return delta
"""

AGAIN = {
    "sgd": Again(MOMENTUM, "sgd(lr=0.1, weight_decay=0.1)"),
    "sgd, heavy": Again(MOMENTUM, "sgd(lr=0.1, momentum=0.9)", "sgd(lr=0.1, momentum=0.9, heavy=True)"),
    "sgd, nesterov": Again(
        MOMENTUM,
        "sgd(lr=0.1, momentum=0.9, nesterov=True, average='ema')",
        "sgd(lr=0.1, momentum=0.9, nesterov=True, average='ema', heavy=True)",
    ),
    "rmsprop": Again(RMSPROP, "rmsprop(lr=0.01)"),
    "rmsprop, centered": Again(
        RMSPROP, "rmsprop(momentum=0.9, centered=True)", "rmsprop(momentum=0.9, centered=True, heavy=True)"
    ),
    "e": Again(E1, "grad | e | lamb"),
    "e, start": Again(E1, "grad | e(start='first') | sgd(lr=0.1)"),
    "e, two buffers": Again(E2, "grad | e(buffers=2) | adamw", "grad | e | adamw"),
    "adam": Again(ADAM, "adam(lr=0.01, weight_decay=0.1)"),
    "adamw": Again(ADAMW, "adamw(lr=0.01)"),
    "lamb": Again(LAMB, "grad | e | lamb(lr=0.01)"),
    "lamb, raw": Again(LAMB, "grad | e | lamb(m_reads='g', bias_correction=False)"),
    "lamb, flat": Again(LAMB, "lamb(layerwise=False, v_reads='g')"),
    "lars": Again(LARS, "lars(nesterov=True)"),
    "qhm": Again(QHM, "qhm(lr=0.1, nu=0.5)"),
    "lion": Again(LION, "lion(weight_decay=0.1)"),
    "adabelief": Again(ADABELIEF, "adabelief(lr=0.01)"),
    "adan": Again(ADAN, "adan(weight_decay=0.02)"),
    "adahessian": Again(ADAHESSIAN, "hutchinson(every=2) | adahessian(power=0.5)"),
    "sophia": Again(SOPHIA, "hutchinson(every=3) | sophia(lr=0.01)"),
    "clip": Again(CLIP, "grad | clip(value=0.05) | adamw", "grad | clip(value=0.05) | adamw"),
    "guard": Again(GUARD, "grad | guard(nonfinite='zero') | sgd(lr=0.1)", "grad | guard | sgd(lr=0.1)"),
    "noise": Again(NOISE, "grad | noise(std=0.1, seed=3) | sgd(lr=0.1)"),
    "caution": Again(CAUTION, "lion(lr=0.001) | caution"),
    "decay": Again(DECAY, "sgd(lr=0.1) | decay(rate=0.05)"),
    "lookahead": Again(LOOKAHEAD, "adamw(lr=0.01) | lookahead(every=3)"),
    "ema_weights": Again(EMA_WEIGHTS, "sgd(lr=0.1) | ema_weights(decay=0.9)"),
}
