"""Random valid pipelines over every stage that is registered, with hyper-parameters from everyday to extreme."""

from __future__ import annotations

import dataclasses
import random
import warnings

import edsl
from edsl.language.domain import Choice, Number, Split, Switch, Whole
from edsl.language.registry.lookup import stage_class
from edsl.language.registry.stages import STAGES

DECAYS = (0.0, 0.1, 0.5, 0.9, 0.95, 0.99, 0.999, 0.9999999)
RATES = (0.0, 1e-12, 1e-3, 0.01, 0.1, 1.0, 1.8412, 10.0, 1e10)
SIZES = (0.0, 1e-12, 1e-4, 0.01, 0.5, 1.609, 3.0, 1e5)
MATRICES = ("muon", "shampoo", "soap")


def kinds() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name in STAGES:
        if name != "route":
            found.setdefault(stage_class(name).kind, []).append(name)
    return found


def stage(name: str, rng: random.Random):
    cls = stage_class(name)
    for _ in range(50):
        values = {}
        for field in dataclasses.fields(cls):
            # How matrices are cut, and when factors are renewed, is drawn aside: the others stay those
            # for which the tests' counts are known.
            source = random.Random(hash(rng.getstate()[1])) if field.name in ("split", "heads", "stagger") else rng
            if source.random() < 0.45:
                values[field.name] = value(field, source)
        if name == "e":
            values = exploration(values, rng)
        if name == "clip" and not values.keys() & {"norm", "value"}:
            values["norm"] = 1.0
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return cls(**values)
        except edsl.EdslError:
            continue
    return cls()


def exploration(values: dict, rng: random.Random) -> dict:
    """E with an alpha that is mostly within the paper's bound, and at times at the places with a name."""
    beta1 = values.setdefault("beta1", rng.choice((*DECAYS[:6], min(0.999, round(rng.random(), 3)))))
    bound = 1 / (1 - beta1)
    named = (
        float(f"{-beta1 * bound:.12g}"),
        float(f"{-(beta1**2) * bound:.12g}"),
        -5.0,
        0.5,
        0.0,
        -90.0,
        round(rng.uniform(-bound, bound), 4),
    )
    values["alpha"] = rng.choice(named)
    values["unchecked"] = not abs(values["alpha"]) < bound
    return values


def value(field: dataclasses.Field, rng: random.Random):
    domain = field.metadata["domain"]
    if isinstance(domain, Switch):
        return rng.random() < 0.5
    if isinstance(domain, Split):
        return rng.choice((*domain.words, ("q", "k", "v"), (768, 256, 256)))
    if isinstance(domain, Choice):
        return rng.choice(domain.options)
    if isinstance(domain, Whole):
        return rng.choice((max(domain.low, 1), 2, 5))
    if isinstance(domain, Number):
        if domain.high == 1 and domain.open_high:
            return rng.choice((*DECAYS, min(0.9999, round(rng.random(), 4))))
        return rng.choice((*(RATES if field.name == "lr" else SIZES), round(rng.uniform(0, 2), 4)))
    return field.default


def random_spec(rng: random.Random) -> str:
    """The canonical text of one pipeline; half of them of linear stages alone."""
    linear = rng.random() < 0.6
    by_kind = kinds()
    for _ in range(200):
        update = rng.choice(["sgd", "sgd", "qhm", "adam", "adamw", "lamb", "lars", "adan", "rmsprop", "adabelief"])
        if not linear:
            update = rng.choice(by_kind["base update"])
        adaptors = ["e"] if linear else by_kind["adaptor"]
        wrappers = ["decay", "ema_weights"] if linear else by_kind["wrapper"]
        estimator = "grad" if linear or rng.random() < 0.5 else rng.choice(by_kind["estimator"])
        names = [
            estimator,
            *(rng.choice(adaptors) for _ in range(rng.choice((0, 1, 1, 1, 2, 3)))),
            update,
            *(rng.choice(wrappers) for _ in range(rng.choice((0, 0, 0, 1, 2)))),
        ]
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return str(edsl.Pipeline(tuple(stage(name, rng) for name in names)))
        except edsl.EdslError:
            continue
    return "sgd"
