"""`compare`: never "equal" of what is not, all that is equal by construction found, every map right."""

import json
import random

from dataclasses import dataclass

import pytest
import torch
from shell import run

import edsl
from edsl.adapters.exploration import PastMean
from edsl.domain import DECAY, Number, field
from edsl.lab.closure import closure_for
from edsl.stage import Adaptor
from edsl.theory.equivalence import compare, known_relations

STEPS = 60


def walk(pipeline, seed=7):
    """θ after every step on a quadratic of 6 dimensions, by the optimizer itself in float64."""
    generator = torch.Generator().manual_seed(seed)
    basis, _ = torch.linalg.qr(torch.randn(6, 6, generator=generator, dtype=torch.float64))
    hessian = basis @ torch.diag(torch.logspace(-1.5, 0, 6, dtype=torch.float64)) @ basis.T
    parameter = torch.nn.Parameter(1 + torch.randn(2, 3, generator=generator, dtype=torch.float64))
    optimizer = edsl.compile(pipeline, [parameter], mode="eager")

    def loss():
        x = parameter.reshape(-1)
        return x @ hessian @ x / 2 - x.sum() / 3

    closure = closure_for(pipeline, optimizer, loss)
    for _ in range(STEPS):
        optimizer.step(closure)
        yield parameter.detach()


def parting(first, second, enough=1e-9):
    """The largest |a − b| / max(1, |a|) in a run of both, which ends where that is enough, or neither is finite."""
    worst = 0.0
    for a, b in zip(walk(first), walk(second)):
        if not (a.isfinite().any() or b.isfinite().any()) or worst > enough:
            break
        worst = max(worst, ((a - b).abs() / a.abs().clamp(min=1)).nan_to_num(nan=torch.inf).max().item())
    return worst


def drawn(rng, *values):
    return rng.choice(values)


def exploration(rng, starts=("zero", "first")):
    beta1 = drawn(rng, 0, 0.01, 0.5, 0.9, 0.99, round(rng.uniform(0, 0.99), 4))
    alpha = round(rng.uniform(-0.95, 0.95) / (1 - beta1), 3)
    return f"e(alpha={alpha}, beta1={beta1}, buffers={drawn(rng, 1, 2)}, start='{drawn(rng, *starts)}')"


def update(rng):
    lr = drawn(rng, 0.01, 0.05, round(rng.uniform(0.001, 0.1), 5))
    decay = drawn(rng, 0, 0, 0.1)
    beta2, beta3 = drawn(rng, 0.5, 0.9, 0.95), drawn(rng, 0.9, 0.99)
    eps = drawn(rng, 1e-8, 1e-6, 1e-3)
    momentum = drawn(rng, 0, 0.5, 0.9)
    nesterov = momentum > 0 and rng.random() < 0.4
    average = drawn(rng, "sum", "ema")
    moments = f"lr={lr}, beta2={beta2}, beta3={beta3}, weight_decay={decay}"
    reads = f"m_reads='{drawn(rng, 'u', 'g')}', v_reads='{drawn(rng, 'u', 'g')}'"
    switches = f"layerwise={drawn(rng, True, False, False)}, bias_correction={drawn(rng, True, False)}"
    return drawn(
        rng,
        f"sgd(lr={lr}, momentum={momentum}, weight_decay={decay}, average='{average}', nesterov={nesterov})",
        f"qhm(lr={lr}, momentum={momentum}, nu={drawn(rng, 0.7, 1, 1.3)}, weight_decay={decay})",
        f"{drawn(rng, 'adam', 'adamw', 'adabelief')}({moments}, eps1={eps})",
        f"lamb({moments}, eps1={eps}, {switches}, {reads})",
        f"adan({moments}, eps1={eps})",
        f"rmsprop(lr={lr}, beta3={beta3}, momentum={momentum}, weight_decay={decay}, eps1={eps})",
        f"lars(lr={lr}, momentum={momentum}, weight_decay={decay}, layerwise={drawn(rng, True, False)})",
        f"lion(lr={lr}, weight_decay={decay})",
    )


def pipeline(rng):
    estimator = drawn(rng, *["grad"] * 8, "grad(accumulate=2)", "spsa(seed=1)", "sam")
    before = [exploration(rng) for _ in range(drawn(rng, 0, 1, 1, 2))]
    if rng.random() < 0.2:
        before.insert(rng.randrange(len(before) + 1), drawn(rng, "noise(std=0.1)", "clip(norm=1)", "guard"))
    behind = drawn(rng, *[[]] * 6, ["decay(rate=0.1)"], ["lookahead(every=5)"], ["caution"], ["ema_weights(decay=0.9)"])
    return " | ".join([estimator, *before, update(rng), *behind])


def mutated(rng, text):
    """A pipeline with one change: of a number, a switch, or a stage."""
    before = edsl.parse(text)
    kind = rng.random()
    if kind < 0.5:
        numbers = before.hyperparameters
        for _ in range(10):
            key = rng.choice(list(numbers))
            value = numbers[key] * drawn(rng, 1 + 1e-6, 0.99, 0.5) if numbers[key] else drawn(rng, 0.01, 0.3)
            try:
                return before.override(**{key: value})
            except edsl.EdslError:
                continue
        return before
    stages = list(before.stages)
    if kind < 0.75:
        return edsl.parse(drawn(rng, f"{text} | decay(rate=0.01)", text.replace("grad", "grad(accumulate=3)", 1)))
    changes = {
        "nesterov": None, "average": ("sum", "ema"), "m_reads": ("u", "g"), "v_reads": ("u", "g"),
        "bias_correction": None, "layerwise": None, "start": ("zero", "first"), "buffers": (1, 2),
    }  # fmt: skip
    places = [(i, name) for i, stage in enumerate(stages) for name in stage.argument_names() if name in changes]
    if not places:
        return edsl.parse(update(rng))
    place, name = rng.choice(places)
    own, values = getattr(stages[place], name), changes[name]
    other = (not own) if values is None else values[1 - values.index(own)]
    try:
        stages[place] = stages[place].replace({name: other})
    except edsl.EdslError:
        return before
    return edsl.Pipeline(tuple(stages))


def random_pairs(count, seed):
    rng = random.Random(seed)
    pairs = []
    while len(pairs) < count:
        text = pipeline(rng)
        try:
            pair = edsl.parse(text), mutated(rng, text) if rng.random() < 0.8 else edsl.parse(pipeline(rng))
        except edsl.EdslError:  # nothing stands behind ema_weights
            continue
        if pair[0] != pair[1]:
            pairs.append(pair)
    return pairs


@dataclass(frozen=True)
class Grokfast(Adaptor):
    """u = g + λ m,  m = β m + (1−β) g.  Lee et al. 2024, Grokfast-EMA."""

    name = "grokfast"
    beta: float = field(0.98, DECAY)
    strength: float = field(2.0, Number())

    def init(self, zero):
        return PastMean(zero)

    def step(self, x, memory, at):
        mean = self.beta * memory.mean + (1 - self.beta) * x
        return x + self.strength * mean, PastMean(mean)


def same_pairs(count, seed):
    """Pairs that are equal by a known identity, with numbers of all 16 digits."""
    rng = random.Random(seed)
    pairs = []
    for number in range(count):
        lr, beta = rng.uniform(0.001, 0.1), rng.uniform(0.05, 0.95)
        gamma, rate = rng.uniform(-0.95, 0.95), rng.uniform(0.001, 0.3)
        alpha = gamma / (1 - beta)
        e, one, other = f"e(alpha={alpha}, beta1={beta})", exploration(rng, ["zero"]), exploration(rng, ["zero"])
        behind = update(rng)
        slower = beta + rng.uniform(0.1, 0.9) * (1 - beta)
        strength, decays = rng.uniform(0.1, 5), f"beta2={beta}, beta3={slower}"
        known = rng.uniform(0.05, 0.95)
        pairs.append(
            [
                (f"grad | {e} | {behind}", f"grad | e(alpha={alpha}, beta1={beta}, buffers=2) | {behind}"),
                (f"grad | {one} | {other} | {behind}", f"grad | {other} | {one} | {behind}"),
                (f"grad | {e} | sgd(lr={lr})", f"qhm(lr={lr}, momentum={beta}, nu={-gamma / beta})"),
                (f"sgd(lr={lr}, momentum={beta})", f"grad | e(alpha={-beta / (1 - beta)}, beta1={beta}) | sgd(lr={lr / (1 - beta)})"),
                (
                    f"sgd(lr={lr}, momentum={beta}, nesterov=True)",
                    f"grad | e(alpha={-(beta**2) / (1 - beta)}, beta1={beta}) | sgd(lr={lr / (1 - beta)})",
                ),
                (f"sgd(lr={lr}, momentum={beta}, average='ema')", f"sgd(lr={lr * (1 - beta)}, momentum={beta})"),
                (f"adamw(lr={lr}, weight_decay={rate})", f"adam(lr={lr}) | decay(rate={rate})"),
                (f"adamw(lr={lr}, {decays}, weight_decay={rate})", f"lamb(lr={lr}, {decays}, weight_decay={rate}, eps1=1e-8, layerwise=False)"),
                (f"sgd(lr={lr}, weight_decay={rate})", f"sgd(lr={lr}) | decay(rate={rate})"),
                (
                    f"grad | grokfast(beta={beta}, strength={strength}) | sgd(lr={lr}, momentum={known})",
                    f"grad | e(alpha={-strength * beta / (1 + strength) / (1 - beta)}, beta1={beta}) | sgd(lr={lr * (1 + strength)}, momentum={known})",
                ),
                (
                    f"grad | e(alpha={-(slower - beta) / (1 - beta) / (1 - slower)}, beta1={slower}) | sgd(lr={lr}, momentum={beta}, average='ema')",
                    f"sgd(lr={lr}, momentum={slower}, average='ema')",
                ),
                (f"grad | e(alpha=0, beta1={beta}) | noise(std=0) | {behind} | decay(rate=0)", behind),
                (f"grad | {e} | {behind}", f"grad | {e} | {behind} | lookahead(every=3, share=1)"),
            ][number % 13]
        )
    return [tuple(edsl.parse(text, stages=(Grokfast,)) for text in pair) for pair in pairs]
