"""Reinforcement learning: E before Adam on CartPole-v1."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edsl.lab.claims.claim import Claim, judge
from edsl.lab.claims.raced import effect_of, interval_text, raced, row_of, table_of
from edsl.lab.races.build import race
from edsl.lab.races.controls import TWIN
from edsl.lab.results.scaling import times_text
from edsl.lab.results.statistics import BETTER

ADAM, EXPLORING = "adam(lr=0.003)", "eadam(lr=0.003, alpha=-5)"
TARGET = 0.95  # of the 500 steps that the pole stood


def run(out: Path, quick: bool) -> Claim:
    """Race Adam with and without E, and E's twin, on `cartpole`: the return at the end, and steps to 95 % of it."""
    steps, seeds = (2, 2) if quick else (40, 6)
    amounts: dict[str, Any] = {"batch": 2 if quick else 16, "steps": steps, "seeds": seeds}
    chosen = race("cartpole", (ADAM, EXPLORING), controls=True, **amounts)
    found, _, drawn = raced(chosen, out / "race", (TARGET,))
    effect = effect_of(found, EXPLORING, ADAM)
    twin = next((one for one in row_of(found, EXPLORING).effects if one.control == TWIN), None)
    (ours,), (theirs,) = row_of(found, EXPLORING).targets, row_of(found, ADAM).targets
    beyond = twin is not None and twin.family_wise == BETTER
    return Claim(
        name="cartpole",
        title="Reinforcement learning: CartPole",
        paper="Reinforcement learning is among the paper's experiments; its general claim is that an optimizer finds "
        "better solutions with E than without.",
        ours=f"Share of 500 steps balanced after {steps} steps of 16 episodes, E-Adam at α = −5 minus Adam: "
        f"{interval_text(effect)} points ({effect.family_wise}); minus its slow-momentum twin: "
        f"{interval_text(twin) if twin else 'none'} ({twin.family_wise if twin else 'did not run'}). Steps (seconds) "
        f"to {100 * TARGET:.0f} %: E-Adam {times_text(ours)}, Adam {times_text(theirs)}.",
        verdict=judge(effect.family_wise == BETTER or ours.family_wise == BETTER, beyond),
        rule="two tests, family-wise among the verdicts of the race: E-Adam has a better return at the end than Adam, "
        "or needs fewer steps to 95 %; it has a better return than its twin. Reproduced: both; partly: one",
        table=tuple(table_of(found, ADAM)),
        pictures=tuple(place for place in drawn if place.stem == "curves"),
        commands=f"edsl compare '{ADAM}' '{EXPLORING}' --task cartpole --steps {steps} --seeds {seeds} --targets 95%",
        caveat="An easy environment, an actor-critic of 4,675 parameters and one learning rate: larger environments "
        "need not follow. Returns of single episodes scatter widely.",
    )
