"""What must run beside a pipeline with E, so that a difference can be laid to E."""

from __future__ import annotations

from dataclasses import dataclass

from edsl.domain import plain
from edsl.errors import EdslError
from edsl.pipeline import Pipeline
from edsl.stage import Stage

WITHOUT, TWIN = "without E", "twin"


@dataclass(frozen=True)
class Control:
    """A pipeline to run beside another, and what it shows."""

    name: str
    pipeline: Pipeline
    about: str


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
    if "e" not in {stage.name for stage in pipeline.stages}:
        return ()
    base = _without_e(pipeline)
    controls = [Control(WITHOUT, base, "the same optimizer without E")]
    if (twin := _twin(pipeline, base)) is not None:
        controls.append(twin)
    return tuple(controls)


def twin_of(pipeline: Pipeline) -> Control | None:
    """The linear twin alone, or None where there is none."""
    return next((control for control in controls_of(pipeline) if control.name == TWIN), None)


def _without_e(pipeline: Pipeline) -> Pipeline:
    estimator = pipeline.estimator
    if getattr(estimator, "gives_difference", False):  # a difference that only E reads
        estimator = estimator.replace({"common": False})
    return Pipeline((estimator, *(stage for stage in pipeline.stages[1:] if stage.name != "e")))


def _twin(pipeline: Pipeline, base: Pipeline) -> Control | None:
    adaptors = [stage for stage in pipeline.stages if stage.name == "e"]
    if len(adaptors) > 1:
        return None
    alpha, beta1 = (float(getattr(adaptors[0], name)) for name in ("alpha", "beta1"))
    if alpha == 0:
        return None
    update = base.update
    changes: dict[str, float] = {}
    for route, branch in base.branches.items():
        name = "momentum" if "momentum" in branch.keys else "beta2"
        momentum = _momentum(branch, name)
        lag = momentum / (1 - momentum) - alpha
        if momentum == 0 or lag < 0:  # no plain average of gradients, or one faster than the newest gradient
            break
        slower = float(f"{lag / (1 + lag):.10g}")
        argument = next(key for key in base.keys if base.name_in(route, key) == name)
        changes |= {argument: slower, **_same_stride(base, argument, momentum, slower)}
    else:
        said = ", ".join(f"{name}={plain(value)}" for name, value in changes.items())
        return Control(TWIN, base.override(**changes), f"a momentum as slow as with E, and no E: {said}")
    if update.name == "sgd" and beta1 > 0:
        from edsl.arguments import build

        values = {"lr": update.lr, "weight_decay": update.weight_decay, "momentum": beta1}  # pyright: ignore
        nu = -alpha * (1 - beta1) / beta1
        qhm: Stage = build("qhm", {**values, "nu": nu})
        stages = tuple(qhm if stage is update else stage for stage in base.stages)
        return Control(TWIN, Pipeline(stages), f"QHM, which E before plain gradient descent is: nu={plain(nu)}")
    return None


def _momentum(branch: Pipeline, name: str) -> float:
    """The decay of a base update's average of gradients, edsl's or another package's; 0 where it has none."""
    from edsl.adapters.foreign import Foreign

    update = branch.update
    if isinstance(update, Foreign):
        value = update.defaults().get("momentum")
        return float(value) if isinstance(value, (int, float)) else 0.0
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
