"""The batch size and the sign of α: α > 0 at small batches, α < 0 at large ones."""

from __future__ import annotations

from pathlib import Path

from edsl.lab.claims.claim import Claim, judge
from edsl.lab.claims.raced import effect_of, interval_text, raced, table_of
from edsl.lab.races.build import race
from edsl.lab.results.statistics import BETTER

BATCHES = (32, 2048)
SEEDS = 6
LAMB = "lamb(lr=0.01)"
EXPLOITING = "alto(lr=0.01, alpha=0.5, beta1=0.01)"  # the paper's below a batch of 1K
EXPLORING = "alto(lr=0.01, alpha=-5, beta1=0.99)"  # and from there on


def run(out: Path, quick: bool) -> Claim:
    """Race ALTO with both signs beside Lamb on MNIST-1D at two batches, learning rates tuned at each."""
    table, said, wins, pictures = [], [], {}, []
    for batch in BATCHES:
        chosen = race(
            "mnist1d",
            (LAMB, EXPLOITING, EXPLORING),
            batch=batch,
            steps=20 if quick else 300,
            seeds=2 if quick else SEEDS,
            lr="default" if quick else "auto",
            trials=6,
            tune_seeds=1,
            schedule="warmup-cosine",
        )
        found, _, drawn = raced(chosen, out / f"batch-{batch}")
        table += table_of(found, LAMB, batch=batch)
        pictures += [place for place in drawn if place.stem == "differences"]
        effects = {spec: effect_of(found, spec, LAMB) for spec in (EXPLOITING, EXPLORING)}
        wins |= {(batch, spec): effect.family_wise == BETTER for spec, effect in effects.items()}
        each = [f"{interval_text(effect)} ({effect.family_wise})" for effect in effects.values()]
        said.append(f"batch {batch}: α = .5 {each[0]}, α = −5 {each[1]}")
    batches = ",".join(map(str, BATCHES))
    return Claim(
        name="alpha-sign",
        title="Batch size and the sign of α",
        paper="Below a batch of about 1K α = .5 with β₁ = .01 is best, above it α = −5 with β₁ = .99.",
        ours=f"ALTO − Lamb, points of test accuracy. {'; '.join(said)}.",
        verdict=judge(wins[BATCHES[0], EXPLOITING], wins[BATCHES[-1], EXPLORING]),
        rule=f"two tests: at batch {BATCHES[0]} ALTO with α = .5 is better than Lamb, at batch {BATCHES[-1]} ALTO with "
        "α = −5 is, both family-wise among the verdicts of their race. Reproduced: both; partly: one",
        table=tuple(table),
        pictures=tuple(pictures),
        commands=f"edsl compare '{LAMB}' '{EXPLOITING}' '{EXPLORING}' --task mnist1d --batch {batches} --scale-lr "
        f"tuned --trials 6 --tune-seeds 1 --steps 300 --schedule warmup-cosine --seeds {SEEDS} --no-controls",
        caveat="As many steps at each batch: at the smallest, a trial sees 9,600 examples. β₁ changes with the sign, "
        "as in the paper, so that the sign alone is not told. On bytes α = .5 may do better.",
    )
