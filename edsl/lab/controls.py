"""What else could have given E's result: the same pipeline without it, and with a momentum as slow."""

from __future__ import annotations

from dataclasses import dataclass

from edsl.errors import EdslError
from edsl.pipeline import Pipeline


@dataclass(frozen=True)
class Control:
    """A pipeline to race beside one with E; `about` says what it is, in one line."""

    name: str
    pipeline: Pipeline
    about: str


def controls_of(pipeline: Pipeline) -> tuple[Control, ...]:
    """The controls of a pipeline with E: "without E" and, where its momentum is a plain one, "twin".

    E's impulse response is h₀ = 1 + γ, hₙ = −γ(1−β₁)β₁ⁿ⁻¹ with γ = α(1−β₁). Its sum is 1, its mean
    lag Σ n hₙ = −γ/(1−β₁) = −α steps. A momentum with decay β lags by β/(1−β); lags of filters in a
    row add up. So the twin has no E and the decay β = L/(1+L), L = β₂/(1−β₂) − α. A momentum that
    is a sum has gain 1/(1−β), which lr undoes.

    Example:
        >>> from edsl.lab.controls import controls_of
        >>> from edsl.spec import parse
        >>> [control.pipeline.update.beta2 for control in controls_of(parse("eadam(alpha=-90)"))]
        [0.9, 0.99]
    """
    bare = tuple(stage for stage in pipeline.stages if stage.name != "e")
    if len(bare) == len(pipeline.stages):
        return ()
    plain = Pipeline(bare)
    without = Control("without E", plain, "the same base update, without E")
    update = plain.update
    field = {"ema": "beta2", "sum": "momentum"}.get(update.averages, "")
    if field not in update.argument_names():
        field = "momentum"
    if not update.averages or field not in update.argument_names() or getattr(update, "nesterov", False):
        return (without,)
    decay = float(getattr(update, field))
    lag = decay / (1 - decay) - sum(float(getattr(s, "alpha", 0)) for s in pipeline.stages if s.name == "e")
    if lag < 0:
        return (without,)
    slow = float(f"{lag / (1 + lag):.12g}")
    changes = {field: slow}
    if update.averages == "sum":
        changes["lr"] = float(f"{float(getattr(update, 'lr', 1)) * (1 - slow) / (1 - decay):.12g}")
    try:
        twin = plain.override(**changes)
    except EdslError:
        return (without,)
    return without, Control("twin", twin, f"the same base update without E, its momentum as slow: {field}={slow:.6g}")
