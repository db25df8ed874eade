"""Which known optimizers a pipeline with E is; each is said only once it is shown of this pipeline's own filter."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from edsl.errors import EdslError
from edsl.language.domain import plain
from edsl.language.pipeline import Pipeline
from edsl.theory.statements.momentum import averages
from edsl.theory.systems.exploration import decimal, places_of_e
from edsl.theory.systems.filter import adaptor_filter
from edsl.theory.systems.loop import loop_of_system, take_the_same_steps
from edsl.theory.systems.polynomial import Polynomial, add, multiply, scale
from edsl.theory.systems.state_space import of_pipeline
from edsl.theory.text.figure import figure

SOURCES = {
    "QHM": "Ma and Yarats 2019",
    "heavy ball": "Polyak 1964",
    "Nesterov": "Nesterov 1983",
    "optimistic gradient": "Daskalakis et al. 2018",
    "MARS (approximate)": "Yuan et al. 2024",
    "two EMAs": "Zhao et al. 2025, eq. 3",
    "one EMA": "Zhao et al. 2025, eq. 3",
    "Grokfast-EMA": "Lee et al. 2024",
    "reordered E's": "Zhao et al. 2025, eq. 3",
    "one buffer for two": "Zhao et al. 2025, Algorithm 5",
}


@dataclass(frozen=True)
class Relation:
    """What a pipeline with E is otherwise known as, and with which numbers."""

    name: str
    statement: str

    @property
    def source(self) -> str:
        return SOURCES[self.name]


def relations(pipeline: Pipeline) -> list[Relation]:
    """What a pipeline with one E is otherwise known as.

    Of u, which E hands on: the optimistic gradient, MARS, Grokfast. Of the momentum: a mixture of two
    EMAs. Of the steps: QHM, heavy ball, Nesterov. None is said where E's filter does not reach so far
    unchanged (another adaptor, start="first", a scale that reads u).

    Sources: Ma and Yarats 2019 (QHM), Polyak 1964, Nesterov 1983, Daskalakis et al. 2018 (optimistic
    gradient), Yuan et al. 2024 (MARS, its approximate form with E's β₁ = 0), Lee et al. 2024 (Grokfast).

    Example:
        >>> import edsl
        >>> from edsl.theory.statements.relations import relations
        >>> [one.name for one in relations(edsl.parse("grad | e(alpha=-9, beta1=0.9) | sgd(lr=0.1)"))]
        ['QHM', 'heavy ball']
    """
    places = places_of_e(pipeline)
    if len(places) != 1 or not _is_filter(pipeline, places[0]):
        return []
    stage: Any = pipeline.stages[places[0]]
    alpha, beta1 = decimal(stage.alpha), decimal(stage.beta1)
    if alpha == 0:
        return []
    return [*_of_u(pipeline, alpha, beta1), *_of_momentum(pipeline, alpha, beta1), *_of_steps(pipeline, alpha, beta1)]


def is_qhm(pipeline: Pipeline) -> bool:
    """Whether E before plain gradient descent is QHM here: the same steps, from the first on."""
    return any(relation.name == "QHM" for relation in relations(pipeline))


def qhm_values(alpha: Fraction, beta1: Fraction) -> dict[str, Fraction]:
    """μ = β₁ and ν = −α(1−β₁)/β₁, exactly."""
    return {"momentum": beta1, "nu": -alpha * (1 - beta1) / beta1}


def with_update(pipeline: Pipeline, update: str, decay: float, **values: Any) -> Pipeline:
    """The pipeline without E and with another update, whose decay does not pass through its momentum."""
    from edsl.language.registry.build import build

    new = [build(update, values), *([build("decay", {"rate": decay})] if decay else [])]
    without = set(places_of_e(pipeline))
    at = pipeline.update_index
    before = [stage for index, stage in enumerate(pipeline.stages[:at]) if index not in without]
    return Pipeline((*before, *new, *pipeline.stages[at + 1 :]))


def _is_filter(pipeline: Pipeline, place: int) -> bool:
    """Whether u is E's filter of the estimator's gradient and nothing else, from the first step on."""
    stage: Any = pipeline.stages[place]
    if pipeline.estimator.gives_difference or any(one.needs_noise for one in pipeline.stages):
        return False
    try:
        top, bottom = adaptor_filter(pipeline).fraction
    except EdslError:
        return False
    alpha, beta1 = decimal(stage.alpha), decimal(stage.beta1)
    e = _filter_of_e(alpha, beta1)
    return stage.start == "zero" and multiply(top, e[1]) == multiply(bottom, e[0])


def _filter_of_e(alpha: Fraction, beta1: Fraction) -> tuple[Polynomial, Polynomial]:
    gamma = alpha * (1 - beta1)
    return (-(beta1 + gamma), 1 + gamma), (-beta1, Fraction(1))


def _ema(beta: Fraction) -> tuple[Polynomial, Polynomial]:
    return (Fraction(0), 1 - beta), (-beta, Fraction(1))


def _of_u(pipeline: Pipeline, alpha: Fraction, beta1: Fraction) -> Iterator[Relation]:
    if beta1 == 0:
        yield Relation("optimistic gradient", f"u has its form, strength {_decimal(alpha)}, once past the first step")
        yield Relation(
            "MARS (approximate)", f"u has its form, γβ/(1−β) = {_decimal(alpha)} in its letters, before its clip"
        )
        return
    share = -alpha * (1 - beta1) / beta1  # λ/(1+λ)
    if 0 < share < 1:
        amplified = share / (1 - share)
        yield Relation(
            "Grokfast-EMA",
            f"u is g + λ EMA(g) divided by 1 + λ, λ = {_decimal(amplified)}, EMA decay {_decimal(beta1)}",
        )


def _of_momentum(pipeline: Pipeline, alpha: Fraction, beta1: Fraction) -> Iterator[Relation]:
    """m = κ/(1−β₂) (c EMA_β₁ + (1−c) EMA_β₂) of g, c = −γ(1−β₂)/(β₁−β₂)."""
    found = [average for average in averages(pipeline) if average.leads]
    if len(found) != 1 or found[0].decay == beta1 or beta1 == 0:
        return
    beta2, gain = found[0].decay, found[0].gain
    share, factor = -alpha * (1 - beta1) * (1 - beta2) / (beta1 - beta2), gain / (1 - beta2)
    (slow, slow_bottom), (fast, fast_bottom) = _ema(beta1), _ema(beta2)
    mixed = add(scale(multiply(slow, fast_bottom), share), scale(multiply(fast, slow_bottom), 1 - share))
    top, bottom = _filter_of_e(alpha, beta1)
    momentum = multiply(top, (Fraction(0), gain)), multiply(bottom, fast_bottom)
    if multiply(momentum[0], multiply(slow_bottom, fast_bottom)) != multiply(momentum[1], scale(mixed, factor)):
        return
    parts = [
        f"EMA({_decimal(beta)})" if c == 1 else f"{figure(float(c))} · EMA({_decimal(beta)})"
        for c, beta in ((share, beta1), (1 - share, beta2))
        if c != 0
    ]
    said = " + ".join(parts)
    if factor != 1:
        said = f"{_decimal(factor)} · ({said})" if len(parts) > 1 else f"{_decimal(factor)} · {said}"
    yield Relation("two EMAs" if len(parts) > 1 else "one EMA", f"the momentum is {said} of g")


def _of_steps(pipeline: Pipeline, alpha: Fraction, beta1: Fraction) -> Iterator[Relation]:
    """The optimizers whose steps are the same, shown by their loops."""
    if beta1 == 0 or not pipeline.hyperparameters.get("lr"):
        return
    gamma, b1 = alpha * (1 - beta1), _decimal(beta1)
    lr = decimal(pipeline.hyperparameters["lr"])
    heavy = {"lr": lr * (1 - beta1), "momentum": beta1}
    nu = qhm_values(alpha, beta1)
    apart = ", weight decay outside the momentum" if getattr(pipeline.update, "weight_decay", 0) else ""
    if _steps_as(pipeline, "qhm", {"lr": lr, **nu}):
        yield Relation("QHM", f"β = {b1}, ν = −γ/β₁ = {figure(float(nu['nu']))}, the same lr{apart}")
    if gamma == -beta1 and _steps_as(pipeline, "sgd", heavy):
        yield Relation("heavy ball", f"momentum {b1}, lr · (1−β₁) = lr · {_decimal(1 - beta1)}")
    if gamma == -(beta1**2) and _steps_as(pipeline, "sgd", heavy, nesterov=True):
        yield Relation("Nesterov", f"momentum {b1}, lr · {_decimal(1 - beta1)}, θ extrapolated")


def _steps_as(pipeline: Pipeline, update: str, values: dict[str, Fraction], **switches: Any) -> bool:
    """Whether the steps are those of another update without E, in exact arithmetic and from the first on."""
    decay = float(getattr(pipeline.update, "weight_decay", 0.0))
    other = with_update(pipeline, update, decay, **{name: float(value) for name, value in values.items()}, **switches)
    try:
        own, its = of_pipeline(pipeline), of_pipeline(other, **values)
        if any(system.notes or system.transients for system in (own, its)):
            return False  # roots that are frozen, or something else at the first step
        return take_the_same_steps(loop_of_system(own), loop_of_system(its))
    except EdslError:
        return False


def _decimal(number: Fraction) -> str:
    """A number as one would write it: 0.1 of 1/10, six digits of 1/3."""
    short = float(f"{float(number):.12g}")
    return plain(short) if Fraction(repr(short)) == number else figure(float(number))
