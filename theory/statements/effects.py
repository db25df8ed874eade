"""What a pipeline does beside stability: effective learning rate under noise, delay, implicit regulariser, rotation."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from edsl.errors import EdslError
from edsl.language.pipeline import Pipeline
from edsl.theory.systems.exploration import places_of_e
from edsl.theory.systems.filter import Filter, adaptor_filter, update_filter
from edsl.theory.systems.polynomial import Polynomial, as_float, lies_inside, value
from edsl.theory.systems.state_space import of_pipeline


@dataclass(frozen=True)
class SmallSteps:
    """What small steps of a linear pipeline descend: f + c‖∇f‖², at a learning rate, some steps late.

    With the impulse response hₙ of gradients on −Δθ: lr_eff = Σ hₙ, τ = Σ n hₙ / Σ hₙ, c = lr_eff (1 + 2τ)/4.
    For plain descent that is c = lr/4 (Barrett and Dherin 2021), for E before an EMA momentum
    (lr/4)[(1+β₂)/(1−β₂) − 2α].

    Attributes:
        lr: lr_eff. delay: τ in steps; below 0 where newer gradients outweigh. regulariser: c.
    """

    lr: float
    delay: float
    regulariser: float


@dataclass(frozen=True)
class Rotation:
    """Where decay and noise balance a layer on whose scale the loss does not depend, for noise alone.

    Source: Kosson, Messmer and Jaggi 2023 (Rotational Equilibrium), here with E's filter.

    Attributes:
        angle: of a step, in radians. norm: ‖θ‖ over √C, C the layer's elements.
    """

    angle: float
    norm: float


def small_steps(pipeline: Pipeline) -> SmallSteps | None:
    """What small steps descend; None where the filter is not stable or a constant gradient moves nothing.

    Raises:
        NotLinear: for a stage that has no linear model, by name.
    """
    top, bottom = update_filter(pipeline).fraction
    at_one = value(bottom, Fraction(1))
    gain = value(top, Fraction(1)) / at_one if at_one else Fraction(0)
    if not lies_inside(bottom) or gain == 0:
        return None
    slope = value(_derivative(top), Fraction(1)) / at_one - gain * value(_derivative(bottom), Fraction(1)) / at_one
    delay = -slope / gain
    return SmallSteps(as_float(gain), as_float(delay), as_float(gain * (1 + 2 * delay) / 4))


def noise_factor(pipeline: Pipeline) -> float | None:
    """1/√P: the effective learning rate under white gradient noise, over that without adaptors.

    P is the adaptors' power gain: √v̂ grows by √P where the gradient is noise and v reads what the adaptors
    hand on, and the drift along the mean gradient does not. None where no E stands before such a root.
    """
    update: Any = pipeline.update
    if not places_of_e(pipeline) or not _divides_by_noise(update):
        return None
    try:
        found = adaptor_filter(pipeline)
    except EdslError:
        return None
    power = found.noise_gain
    mean = 1.0 if getattr(update, "m_reads", "u") == "g" else found.dc_gain
    return mean / math.sqrt(power) if math.isfinite(power) and power > 0 else None


def rotation(pipeline: Pipeline) -> Rotation | None:
    """The rotational equilibrium under Adam with decoupled decay, and under Lamb; None elsewhere.

    With lr η, decay λ, P the power gain into v, M that of the whole filter and D its gain of a constant
    gradient: Adam turns √(2ηλM)/D a step at ‖θ‖ = D√(ηC/(2λP)); Lamb, whose steps have the length η‖θ‖,
    turns η at ‖θ‖ = ηD²√C/(2λ√(PM)). The filter's delay must be short against 1/(ηλ) steps.
    """
    update: Any = pipeline.update
    layerwise = getattr(update, "layerwise", False)
    if not update.has_moments or any(stage.needs_noise for stage in pipeline.stages):
        return None
    flat = _without_layerwise(pipeline) if layerwise else pipeline
    lr = float(pipeline.hyperparameters.get("lr", 0.0))
    try:
        decay = _decoupled_decay(flat)  # ηλ
        whole, power = update_filter(flat.override(lr=1.0)), _into_v(flat)
    except EdslError:
        return None
    if not decay or lr <= 0:
        return None
    moved, mean = whole.noise_gain, abs(whole.dc_gain)
    if not all(map(math.isfinite, (power, moved, mean))) or not all((power, moved, mean)):
        return None
    if layerwise:
        return Rotation(lr, lr**2 * mean**2 / (2 * decay * math.sqrt(power * moved)))
    return Rotation(math.sqrt(2 * decay * moved) / mean, mean * lr / math.sqrt(2 * decay * power))


def _without_layerwise(pipeline: Pipeline) -> Pipeline:
    update = pipeline.update_index
    flat = pipeline.stages[update].replace({"layerwise": False})
    return Pipeline((*pipeline.stages[:update], flat, *pipeline.stages[update + 1 :]))


def _decoupled_decay(pipeline: Pipeline) -> float:
    """ηλ by which a step shrinks θ, apart from gradients; 0 where θ enters in another way."""
    system = of_pipeline(pipeline)
    reads = [row[0] for row in system.A[1:]]
    return 0.0 if any(reads) else float(1 - system.A[0][0])


def _into_v(pipeline: Pipeline) -> float:
    update: Any = pipeline.update
    found: Filter = adaptor_filter(pipeline)
    return 1.0 if getattr(update, "v_reads", "u") == "g" else found.noise_gain


def _divides_by_noise(update: Any) -> bool:
    return update.has_moments and getattr(update, "v_reads", "u") == "u" and not getattr(update, "layerwise", False)


def _derivative(polynomial: Polynomial) -> Polynomial:
    return tuple(power * coefficient for power, coefficient in enumerate(polynomial))[1:]
