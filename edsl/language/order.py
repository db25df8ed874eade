"""Which stage may follow which, and what a whole pipeline needs."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from edsl.errors import OrderError
from edsl.language.stage import BaseUpdate, Estimator, Stage, Wrapper

ORDER = "the order is estimator | adaptors | base update | wrappers"
MOST_STAGES = 64
WEIGHTS = "weights"  # the label of what a form of weights keeps in a parameter's state


def check_order(stages: Sequence[Stage]) -> None:
    """Each stage may follow the one before it; else an OrderError that names the place."""
    if not stages:
        raise OrderError(f"a pipeline has no stage; {ORDER}", 0)
    for index, stage in enumerate(stages):
        if stage.name == WEIGHTS:
            raise OrderError(f"a stage can't be called {WEIGHTS}: state under that name is kept beside θ", index)
    if len(stages) > MOST_STAGES:
        raise OrderError(f"a pipeline has at most {MOST_STAGES} stages, got {len(stages)}", MOST_STAGES)
    for index, (before, stage) in enumerate(pairwise(stages), start=1):
        if isinstance(before, BaseUpdate) and isinstance(stage, BaseUpdate):
            raise OrderError(f"two base updates, {before.name} and {stage.name}; a pipeline has one", index)
        if isinstance(before, Estimator) and isinstance(stage, Estimator):
            raise OrderError(f"two estimators, {before.name} and {stage.name}; a pipeline has one", index)
        if stage.place < before.place:
            raise OrderError(f"{stage.name} ({stage.kind}) can't follow {before.name} ({before.kind}); {ORDER}", index)
        if isinstance(stage, Wrapper) and before.place < BaseUpdate.place:
            raise OrderError(f"{stage.name} (wrapper) must follow a base update, got {before.name} before it", index)
        if isinstance(stage, Wrapper) and before.evaluation_buffer and not stage.evaluation_buffer:
            if isinstance(before, Wrapper):
                raise OrderError(f"{before.name} averages the steps that it sees: put {stage.name} before it", index)
            raise OrderError(f"{before.name} keeps averages of its own steps: leave {stage.name} out", index)
        if isinstance(before, BaseUpdate) and before.moves_weights:
            raise OrderError(f"{before.name} moves the weights itself: no wrapper can follow it", index)


def check_complete(stages: Sequence[Stage]) -> None:
    """An estimator, then a base update, that go together; else an OrderError that names the place."""
    at = next((index for index, stage in enumerate(stages) if isinstance(stage, BaseUpdate)), None)
    if at is None:
        raise OrderError("no base update: end the pipeline with one, such as lamb(lr=0.01)", len(stages) - 1)
    estimator, update = stages[0], stages[at]
    assert isinstance(update, BaseUpdate)  # found as one
    if not isinstance(estimator, Estimator):
        implied = update.estimator
        raise OrderError(f"no estimator: begin the pipeline with {implied}, as in {implied} | {stages[0].name} | …", 0)
    if update.stands_alone and (len(stages) > 2 or estimator.needs_closure or estimator.calls > 1):
        raise OrderError(
            f"{update.name} evaluates the closure many times a step: it can't be combined with other stages", 1
        )
    reader = next((stage for stage in stages if stage.needs_hessian), None)
    if reader is not None and not estimator.gives_hessian:
        raise OrderError(
            f"{reader.name} reads the Hessian's diagonal, which {estimator.name} does not estimate: "
            f"begin with hutchinson, as in hutchinson | {reader.name}",
            0,
        )
    if estimator.gives_difference:
        _check_difference(estimator, stages[1:])


def _check_difference(estimator: Estimator, behind: Sequence[Stage]) -> None:
    """spsa(common=True) and grad_pair have a difference to give: the first stage must be one that reads it."""
    if not behind[0].reads_difference:
        raise OrderError(
            f"{estimator} estimates the difference of gradients: put what reads it behind it, e(buffers=2) or a rule "
            f"with difference(u, past), got {behind[0].name}",
            1,
        )
