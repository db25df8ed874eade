"""What must run beside a pipeline with E, so that a difference can be laid to E."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from edsl.domain import plain
from edsl.errors import EdslError
from edsl.pipeline import Chain, Pipeline
from edsl.registry import stage_class
from edsl.stage import Stage

WITHOUT, TWIN = "without E", "twin"


@dataclass(frozen=True)
class Control:
    """A pipeline to run beside another, and what it shows."""

    name: str
    pipeline: Pipeline
    about: str


def explores(pipeline: Pipeline) -> bool:
    """Whether a pipeline has an E, on any of its routes."""
    return any(_is_e(stage) for branch in pipeline.branches.values() for stage in branch.stages)


def controls_of(pipeline: Pipeline) -> tuple[Control, ...]:
    """The base without E, and E's linear twin; none for a pipeline without E.

    The twin is the same base update with a slower (α < 0) or faster (α > 0) momentum and no E. E is a
    filter of gain 1 whose group delay at frequency 0 is −α steps: H′(1) = α for H of THEORY's E. A
    momentum EMA of decay β delays by L = β/(1−β). So the twin's momentum is the EMA that delays as
    much as both together,

        β = L/(1+L),   L = β₂/(1−β₂) − α.

    At (α, β₁, β₂) = (−90, .99, .9) the two momenta are equal, not only in delay. Before plain gradient
    descent the twin is exact: QHM with μ = β₁, ν = −α(1−β₁)/β₁ (Ma and Yarats 2019).

    Example:
        >>> import edsl
        >>> from edsl.lab.controls import controls_of
        >>> [str(control.pipeline.update) for control in controls_of(edsl.parse("grad | e(alpha=-90) | adam(lr=0.1)"))]
        ['adam(lr=0.1, beta2=0.9, beta3=0.999, weight_decay=0, eps1=1e-08)', \
'adam(lr=0.1, beta2=0.99, beta3=0.999, weight_decay=0, eps1=1e-08)']
    """
    if not explores(pipeline):
        return ()
    base = _without_e(pipeline)
    twin = _twin(pipeline, base)
    without = Control(WITHOUT, base, "the same optimizer without E")
    return (without, twin) if isinstance(twin, Control) else (without,)


def twin_of(pipeline: Pipeline) -> Control | None:
    """The linear twin alone, or None where there is none."""
    return next((control for control in controls_of(pipeline) if control.name == TWIN), None)


def why_no_twin(pipeline: Pipeline) -> str:
    """Why a pipeline with E has no linear twin, as a clause; empty where it has one."""
    found = _twin(pipeline, _without_e(pipeline)) if explores(pipeline) else "it has no E"
    return found if isinstance(found, str) else ""


def _is_e(stage: Stage) -> bool:
    return isinstance(stage, stage_class("e"))


def _without_e(pipeline: Pipeline) -> Pipeline:
    from edsl.updates.route import Route

    estimator, update = pipeline.estimator, pipeline.update
    if getattr(estimator, "gives_difference", False):  # a difference that only E reads
        estimator = estimator.replace({"common": False})
    base = update
    if isinstance(update, Route):
        routes = {name: tuple(part for part in chain.stages if not _is_e(part)) for name, chain in update.branches}
        base = Route(tuple((name, Chain(stages)) for name, stages in routes.items()))
    stages = (base if stage is update else stage for stage in pipeline.stages[1:] if not _is_e(stage))
    return Pipeline((estimator, *stages))


def _twin(pipeline: Pipeline, base: Pipeline) -> Control | str:
    """The twin, or why there is none."""
    adaptors: list[Any] = [stage for stage in pipeline.stages if _is_e(stage)]
    on_routes = sum(_is_e(stage) for branch in pipeline.branches.values() for stage in branch.stages)
    if len(adaptors) != 1 or on_routes != len(pipeline.branches):
        return "a twin is defined for one E, before the update or before all routes"
    (e,) = adaptors
    if type(e) is not stage_class("e"):
        return f"a twin is defined for edsl's own e, not for {e.name}"
    if e.alpha == 0:
        return "its alpha is 0"
    momentum = _with_momentum(base, float(e.alpha))
    if isinstance(momentum, str) and base.update.name == "sgd" and e.beta1 > 0:
        between = pipeline.stages[pipeline.stages.index(e) + 1 : pipeline.update_index]
        return _quasi_hyperbolic(base, e, between)
    return momentum


def _with_momentum(base: Pipeline, alpha: float) -> Control | str:
    """The base with a momentum that delays as much as its own and an E of this strength."""
    changes: dict[str, float] = {}
    for route, branch in base.branches.items():
        name = "momentum" if "momentum" in branch.keys else "beta2"
        momentum = _momentum(branch, name)
        lag = momentum / (1 - momentum) - alpha
        if momentum == 0:
            return f"{branch.update.name} has no momentum that is a plain average of gradients"
        if lag < 0:
            return f"it would need a momentum that is {-lag:.3g} steps ahead of the newest gradient"
        decay = float(f"{lag / (1 + lag):.10g}")
        argument = next(key for key in base.keys if base.name_in(route, key) == name)
        changes |= {argument: decay, **_same_stride(base, argument, momentum, decay)}
    said = ", ".join(f"{name}={plain(value)}" for name, value in changes.items())
    speed = "slow" if alpha < 0 else "fast"
    return Control(TWIN, base.override(**changes), f"a momentum as {speed} as with E, and no E: {said}")


def _quasi_hyperbolic(base: Pipeline, e: Any, between: Sequence[Stage]) -> Control:
    """QHM with the weights that E gives past gradients before plain gradient descent."""
    from edsl.arguments import build

    update: Any = base.update
    nu = -e.alpha * (1 - e.beta1) / e.beta1
    qhm: Stage = build("qhm", {"lr": update.lr, "weight_decay": update.weight_decay, "momentum": e.beta1, "nu": nu})
    but = {
        "the first step": e.start == "first",
        "the weight decay, which QHM averages too": update.weight_decay != 0,
        f"{' and '.join(stage.name for stage in between)}, which comes before QHM's average": bool(between),
    }
    said = " and ".join(name for name, holds in but.items() if holds)
    about = f"QHM, which E before plain gradient descent is{f' but for {said}' if said else ''}: nu={plain(nu)}"
    return Control(TWIN, Pipeline(tuple(qhm if stage is update else stage for stage in base.stages)), about)


def _momentum(branch: Pipeline, name: str) -> float:
    """The decay of a base update's average of gradients, edsl's or another package's; 0 where it has none."""
    from edsl.adapters.foreign import Foreign

    update = branch.update
    if isinstance(update, Foreign):
        value = update.defaults().get("momentum")
        return float(value) if isinstance(value, (int, float)) else 0.0
    if getattr(update, "m_reads", "u") == "g":  # the momentum reads the raw gradient
        return 0.0
    return float(branch.hyperparameters.get(name, 0.0)) if update.averages else 0.0


def _same_stride(pipeline: Pipeline, argument: str, before: float, after: float) -> dict[str, float]:
    """For a momentum that sums, the learning rate that keeps lr/(1−μ), the stride along a constant gradient."""
    from edsl.lab.learning_rate import learning_rates

    summed = pipeline.update.averages == "sum" and argument == "momentum"
    if not summed:
        return {}
    try:
        rate = learning_rates(pipeline)["lr"]
    except (EdslError, KeyError):
        return {}
    return {"lr": float(f"{rate * (1 - after) / (1 - before):.6g}")}
