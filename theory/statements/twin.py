"""E's linear twin: the same base update with a momentum as slow as with E, and no E."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from edsl.language.domain import plain
from edsl.language.pipeline import Pipeline
from edsl.language.schedules.layerwise import is_plain
from edsl.theory.statements.momentum import reads_adaptors
from edsl.theory.statements.relations import is_qhm, qhm_values, with_update
from edsl.theory.systems.exploration import decimal, places_of_e

_KNOWN = ("torch", "torch_optimizer")  # packages whose `momentum` is the decay of an average of gradients


@dataclass(frozen=True)
class Twin:
    """A pipeline and what it is; or None and why there is none."""

    pipeline: Pipeline | None
    about: str


def linear_twin(pipeline: Pipeline, base: Pipeline) -> Twin:
    """The twin of a pipeline with E.

    E is a filter of gain 1 whose group delay at frequency 0 is −α steps: H′(1) = α. A momentum EMA of
    decay β delays by L = β/(1−β). So the twin's momentum is the EMA that delays as much as both,

        β = L/(1+L),   L = β₂/(1−β₂) − α.

    At (α, β₁, β₂) = (−90, .99, .9) the two momenta are equal, not only in delay. Before plain gradient
    descent the twin is exact: QHM with μ = β₁, ν = −α(1−β₁)/β₁ (Ma and Yarats 2019).

    Args:
        base: the pipeline without E.
    """
    places = places_of_e(pipeline)
    if not places:
        if any(places_of_e(branch) for branch in pipeline.branches.values()):
            return Twin(None, "its E is on a route: a twin is defined for one E before all routes")
        return Twin(None, "its E is not edsl's own: a twin is defined for that alone")
    if len(places) > 1:
        return Twin(None, "more than one E: no one momentum is as slow")
    stage: Any = pipeline.stages[places[0]]
    for name in ("alpha", "beta1"):
        if not is_plain(getattr(stage, name)):
            return Twin(None, f"{name} is {getattr(stage, name)}: a twin is defined for a constant one")
    alpha, beta1 = decimal(stage.alpha), decimal(stage.beta1)
    if alpha == 0:
        return Twin(None, "alpha is 0: it would be the optimizer itself")
    if base.update.name == "sgd" and base.hyperparameters["momentum"] == 0:
        return _qhm(pipeline, alpha, beta1)
    changes: dict[str, float] = {}
    for route, branch in base.branches.items():
        if branch.update.moves_weights and branch.update.name.partition(".")[0] not in _KNOWN:
            return Twin(
                None, f"what {branch.update.name} averages is its own affair: no momentum is known to be as slow"
            )
        name = "momentum" if "momentum" in branch.keys else "beta2"
        whose = branch.update.name
        if not is_plain(branch.hyperparameters.get(name)):
            return Twin(None, f"{name} of {whose} is {branch.hyperparameters[name]}: a twin needs a constant one")
        momentum = _momentum(branch, name)
        if momentum == 0:
            return Twin(None, f"{whose} averages no gradients here: it has no momentum that could be slower")
        if not reads_adaptors(branch, momentum):
            return Twin(None, f"the momentum of {whose} reads the raw gradient: E does not reach it")
        lag = momentum / (1 - momentum) - alpha
        if lag < 0:
            return Twin(None, "with this alpha the momentum leads the newest gradient: no plain momentum is as fast")
        slower = float(f"{float(lag / (1 + lag)):.10g}")
        argument = next(key for key in base.keys if base.name_in(route, key) == name)
        changes |= {argument: slower, **_same_stride(base, argument, momentum, slower)}
    said = ", ".join(f"{name}={plain(value)}" for name, value in changes.items())
    return Twin(base.override(**changes), f"a momentum as slow as with E, and no E: {said}")


def _qhm(pipeline: Pipeline, alpha: Fraction, beta1: Fraction) -> Twin:
    if beta1 == 0:
        return Twin(None, "sgd has no momentum that could be slower, and beta1 is 0")
    nu = float(qhm_values(alpha, beta1)["nu"])
    update: Any = pipeline.update
    twin = with_update(pipeline, "qhm", update.weight_decay, lr=update.lr, momentum=float(beta1), nu=nu)
    exact = "which E before plain gradient descent is" if is_qhm(pipeline) else "which E alone would make of it"
    return Twin(twin, f"QHM, {exact}: nu={plain(nu)}")


def _momentum(branch: Pipeline, name: str) -> Fraction:
    """The decay of a base update's average of gradients, edsl's or another package's; 0 where it has none."""

    update: Any = branch.update
    if update.moves_weights:
        value = update.value_of("momentum")
        return decimal(value) if isinstance(value, (int, float)) else Fraction(0)
    return decimal(branch.hyperparameters.get(name, 0.0)) if update.averages else Fraction(0)


def _same_stride(base: Pipeline, argument: str, before: Fraction, after: float) -> dict[str, float]:
    """For a momentum that sums, the learning rate that keeps lr/(1−μ), the stride along a constant gradient."""
    lr = base.hyperparameters.get("lr")
    if lr is None or base.update.averages != "sum" or argument != "momentum":
        return {}
    return {"lr": float(f"{lr * (1 - after) / float(1 - before):.6g}")}
