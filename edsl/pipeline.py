"""The typed chain: estimator | adaptors | base update."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from itertools import pairwise
from typing import Any

from edsl.arguments import read_arguments
from edsl.batch import for_batch
from edsl.errors import EdslError, OrderError
from edsl.stage import BaseUpdate, Estimator, Stage

ORDER = "the order is estimator | adaptors | base update"
MOST_STAGES = 64


@dataclass(frozen=True)
class Chain:
    """Stages in a right order, perhaps without an estimator before or a base update behind.

    Raises:
        OrderError: when a stage can't follow the one before it.
    """

    stages: tuple[Stage, ...]

    def __post_init__(self) -> None:
        check_order(self.stages)

    def __or__(self, other: Stage | Chain) -> Chain:
        return join(self, other)

    def __str__(self) -> str:
        return " | ".join(str(stage) for stage in self.stages)


@dataclass(frozen=True)
class Pipeline(Chain):
    """A whole optimizer as a value: an estimator, any adaptors, one base update.

    Its text is canonical, and parses back to an equal pipeline. Its hyper-parameters have one name
    each, the same in the text, in `param_groups` and in JSON: the field's own name, or
    `stage.field` where an earlier claim (the base update's first) took it.

    Raises:
        OrderError: when a stage is missing or out of order.

    Example:
        >>> import edsl
        >>> pipeline = edsl.parse("grad | e | sgd(lr=0.1)")
        >>> edsl.parse(str(pipeline)) == pipeline
        True
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        check_complete(self.stages)

    @property
    def estimator(self) -> Estimator:
        stage = self.stages[0]
        assert isinstance(stage, Estimator)  # check_complete has seen to it
        return stage

    @property
    def update(self) -> BaseUpdate:
        stage = self.stages[-1]
        assert isinstance(stage, BaseUpdate)  # check_complete has seen to it
        return stage

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """A name for each stage that other stages don't move: its own, `e_2` for the second e."""
        seen: dict[str, int] = {}
        labels = []
        for stage in self.stages:
            seen[stage.name] = count = seen.get(stage.name, 0) + 1
            labels.append(stage.name if count == 1 else f"{stage.name}_{count}")
        return tuple(labels)

    @cached_property
    def keys(self) -> dict[str, tuple[int, str]]:
        """Every argument's name in this pipeline → (index of its stage, field)."""
        last = len(self.stages) - 1
        keys: dict[str, tuple[int, str]] = {}
        for index in [last, *range(last)]:
            for field in self.stages[index].argument_names():
                name = f"{self.labels[index]}.{field}" if field in keys else field
                keys[name] = (index, field)
        return keys

    @cached_property
    def hyperparameters(self) -> dict[str, Any]:
        """The live values by name: what `param_groups` holds and a schedule may change."""
        return {
            name: getattr(self.stages[index], field)
            for name, (index, field) in self.keys.items()
            if field in self.stages[index].live_fields()
        }

    @cached_property
    def structure(self) -> tuple[Any, ...]:
        """What must agree for a checkpoint to be this pipeline's: everything but the live values."""
        return tuple((stage.name, stage.live_fields(), stage.structure()) for stage in self.stages)

    @cached_property
    def fingerprint(self) -> str:
        """Eight hexadecimal digits of the canonical text's SHA-256."""
        return sha256(str(self).encode()).hexdigest()[:8]

    def override(self, **arguments: Any) -> Pipeline:
        """The same pipeline with other arguments, by their names in `keys` (or `betas`, `eps`).

        Where E is in it, `batch_size` picks the paper's (α, β₁), which explicit values override.

        Raises:
            EdslError: for an unknown name or a value outside its domain.
        """
        if not arguments:
            return self
        adapted = {"alpha", "beta1"} <= self.keys.keys()
        known = [*self.keys, "batch_size"] if adapted else self.keys
        values = read_arguments(self.update.name, arguments, known).values
        if "batch_size" in values:
            values = {**for_batch(values.pop("batch_size")), **values}
        changes: dict[int, dict[str, Any]] = {}
        for name, value in values.items():
            index, field = self.keys[name]
            changes.setdefault(index, {})[field] = value
        return Pipeline(
            tuple(
                stage.replace(changes[index]) if index in changes else stage for index, stage in enumerate(self.stages)
            )
        )

    def spared(self) -> Pipeline:
        """The pipeline that parameters get which are left out of decay and layerwise scaling."""
        return Pipeline(tuple(dataclasses.replace(stage, **stage.spared_values()) for stage in self.stages))


def join(first: Stage | Chain, second: Stage | Chain) -> Chain:
    """first | second: a Pipeline once it has both an estimator and a base update.

    Raises:
        EdslError: when either is no stage, or the order is wrong.
    """
    before, after = _stages(first), _stages(second)
    if isinstance(second, Pipeline) and isinstance(before[0], Estimator):
        after = after[1:]  # as in a spec, a whole pipeline leaves its estimator to the stages before it
    stages = before + after
    complete = isinstance(stages[0], Estimator) and isinstance(stages[-1], BaseUpdate)
    return Pipeline(stages) if complete else Chain(stages)


def _stages(link: Any) -> tuple[Stage, ...]:
    if isinstance(link, Chain):
        return link.stages
    if isinstance(link, Stage):
        return (link,)
    raise EdslError(f"| joins stages, got {type(link).__name__}; write a stage such as edsl.lamb(lr=0.01)")


def check_order(stages: Sequence[Stage]) -> None:
    """Each stage may follow the one before it; else an OrderError that names the place."""
    if not stages:
        raise OrderError(f"a pipeline has no stage; {ORDER}", 0)
    if len(stages) > MOST_STAGES:
        raise OrderError(f"a pipeline has at most {MOST_STAGES} stages, got {len(stages)}", MOST_STAGES)
    for index, (before, stage) in enumerate(pairwise(stages), start=1):
        if isinstance(before, BaseUpdate) and isinstance(stage, BaseUpdate):
            raise OrderError(f"two base updates, {before.name} and {stage.name}; a pipeline has one", index)
        if isinstance(before, Estimator) and isinstance(stage, Estimator):
            raise OrderError(f"two estimators, {before.name} and {stage.name}; a pipeline has one", index)
        if stage.rank < before.rank:
            raise OrderError(f"{stage.name} ({stage.kind}) can't follow {before.name} ({before.kind}); {ORDER}", index)


def check_complete(stages: Sequence[Stage]) -> None:
    """Begins with an estimator, ends with a base update; else an OrderError that names the place."""
    if not isinstance(stages[-1], BaseUpdate):
        raise OrderError("no base update: end the pipeline with one, such as lamb(lr=0.01)", len(stages) - 1)
    if stages[-1].stands_alone and len(stages) > 2:
        name = stages[-1].name
        raise OrderError(f"{name} evaluates the closure many times a step: no adaptor can stand before it", 1)
    if not isinstance(stages[0], Estimator):
        raise OrderError(f"no estimator: begin the pipeline with grad, as in grad | {stages[0].name} | …; {ORDER}", 0)
