"""The typed chain: estimator | adaptors | base update | wrappers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from typing import Any

from edsl.errors import EdslError, either, shown
from edsl.language.arguments import read_arguments
from edsl.language.doubts import keep_settled
from edsl.language.order import check_complete, check_order
from edsl.language.registry.batch_size import for_batch
from edsl.language.rules.names import ordered, rules_of
from edsl.language.rules.syntax.canonical import canonical
from edsl.language.schedules.layerwise import Layerwise, is_plain, layerwise_in, scheduled_in
from edsl.language.schedules.schedule import Schedule, Scheduled
from edsl.language.stage import Adaptor, BaseUpdate, Estimator, Stage, check_authored

_WITHOUT_NUMBERS = ("update_index", "labels", "keys", "structure")  # what is known of a pipeline by then


@dataclass(frozen=True)
class Chain:
    """Stages in a right order, perhaps without an estimator or a base update.

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
    """A whole optimizer as a value: an estimator, any adaptors, one base update, any wrappers.

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
        for stage in self.stages:
            if not type(stage).__module__.startswith("edsl."):
                check_authored(type(stage))
        rules_of(self.stages)

    @property
    def line(self) -> str:
        """The pipeline in a line, without the rules that it names."""
        return super().__str__()

    @cached_property
    def rules(self) -> str:
        """The rules that it runs, as their canonical text; "" for none."""
        return canonical(ordered(rules_of(self.stages).values()))

    def __str__(self) -> str:
        return f"{self.rules}\n\n{self.line}" if self.rules else self.line

    @property
    def estimator(self) -> Estimator:
        stage = self.stages[0]
        assert isinstance(stage, Estimator)  # check_complete has seen to it
        return stage

    @property
    def update(self) -> BaseUpdate:
        stage = self.stages[self.update_index]
        assert isinstance(stage, BaseUpdate)  # by its definition
        return stage

    @cached_property
    def update_index(self) -> int:
        return next(index for index, stage in enumerate(self.stages) if isinstance(stage, BaseUpdate))

    @property
    def branches(self) -> dict[str, Pipeline]:
        """The pipeline of each route, by its name; of a pipeline without routes itself, under ""."""
        return self._routes or {"": self}

    @property
    def all_stages(self) -> list[Stage]:
        """The stages of every branch, one branch after another."""
        return [stage for branch in self.branches.values() for stage in branch.stages]

    @cached_property
    def _routes(self) -> dict[str, Pipeline]:
        # of an update without routes not the pipeline itself, which would be kept in a cycle
        before, behind = self.stages[: self.update_index], self.stages[self.update_index + 1 :]
        return {name: Pipeline((*before, *stages, *behind)) for name, stages in self.update.routes.items()}

    def branch(self, route: Any) -> Pipeline:
        """The pipeline of one route.

        Raises:
            EdslError: when there is no such route.
        """
        if not isinstance(route, str) or route not in self.branches:
            raise EdslError(f"param group: its route must be {either(self.branches)}, got {shown(route)}")
        return self.branches[route]

    def name_in(self, route: str, argument: str) -> str:
        """What the pipeline of a route calls an argument of this one, or "" where it is another route's."""
        update, branch = self.update, self.branch(route)
        index, field = self.keys[argument]
        if not update.routes:
            return argument
        if index == self.update_index:
            owner, within, field = update.owner_of(field)
            if owner != route:
                return ""
            index += within - 1  # its pipeline has an estimator in front
        elif index > self.update_index:
            index += len(branch.stages) - len(self.stages)
        return next(name for name, place in branch.keys.items() if place == (index, field))

    @cached_property
    def names_on(self) -> dict[str, dict[str, str]]:
        """By route: its arguments' names in this pipeline → their names in the pipeline of the route."""
        found = {route: {key: self.name_in(route, key) for key in self.keys} for route in self.branches}
        return {route: {key: name for key, name in names.items() if name} for route, names in found.items()}

    @cached_property
    def live_names(self) -> tuple[str, ...]:
        """The names in this pipeline of all that may change while training, on any route."""
        live = {route: branch.hyperparameters for route, branch in self.branches.items()}
        return tuple(key for key in self.keys if any(names.get(key) in live[r] for r, names in self.names_on.items()))

    @cached_property
    def evaluation_buffer(self) -> str:
        """The name of the buffer that holds weights to evaluate with, or "": the last stage's that has one."""
        names = [
            f"{label}.{stage.evaluation_buffer}"
            for stage, label in zip(self.stages, self.labels)
            if stage.evaluation_buffer
        ]
        return names[-1] if names else ""

    @cached_property
    def nonfinite_policy(self) -> str:
        """What is done with gradients that aren't finite; the first stage that says so decides, on any route."""
        return next((stage.nonfinite_policy for stage in self.all_stages if stage.nonfinite_policy), "")

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
        update = self.update_index
        keys: dict[str, tuple[int, str]] = {}
        for index in [update, *(index for index in range(len(self.stages)) if index != update)]:
            for field in self.stages[index].argument_names():
                name = f"{self.labels[index]}.{field}" if field in keys else field
                keys[name] = (index, field)
        return keys

    def owner_of(self, argument: str) -> tuple[Stage, str]:
        """The stage that an argument belongs to, within its route if it has one, and the field."""
        index, field = self.keys[argument]
        if index != self.update_index or not self.update.routes:
            return self.stages[index], field
        route, within, field = self.update.owner_of(field)
        return self.update.routes[route][within - 1], field  # its pipeline has an estimator in front

    @cached_property
    def _arguments_of_e(self) -> dict[str, str]:
        """By field, what the arguments of the first E are called here; nothing without one."""
        owners = {argument: self.owner_of(argument) for argument in self.keys}
        first = next((stage for stage, _ in owners.values() if isinstance(stage, Adaptor) and stage.explores), None)
        own = [(field, argument) for argument, (stage, field) in owners.items() if stage is first]
        return dict(reversed(own))  # of a stage that stands there twice, those of the first place

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

    @cached_property
    def betas(self) -> dict[str, tuple[str, ...]]:
        """What `betas` stands for; behind routes what each route's does, by the prefix of its arguments."""
        return self.update.betas_by_prefix

    def override(self, **arguments: Any) -> Pipeline:
        """The same pipeline with other arguments, by their names in `keys` (or `betas`, `eps`).

        Where E is in it, `batch_size` picks the paper's (α, β₁), which explicit values override.

        Raises:
            EdslError: for an unknown name or a value outside its domain.
        """
        if not arguments:
            return self
        of_e = self._arguments_of_e
        known = [*self.keys, "batch_size"] if {"alpha", "beta1"} <= of_e.keys() else self.keys
        values = read_arguments(self.update.name, arguments, known, self.betas).values
        if "batch_size" in values:
            chosen = for_batch(values.pop("batch_size"))
            values = {**{of_e[field]: value for field, value in chosen.items()}, **values}
        changes: dict[int, dict[str, Any]] = {}
        for name, value in values.items():
            index, field = self.keys[name]
            changes.setdefault(index, {})[field] = value
        stages = tuple(
            stage.replace(changes[index]) if index in changes else stage for index, stage in enumerate(self.stages)
        )
        for before, after in zip(self.stages, stages):
            keep_settled(before, after, arguments)
        return Pipeline(stages)

    def revalued(self, stages: tuple[Stage, ...]) -> Pipeline:
        """The same pipeline with other numbers in its stages, which need no check, as their order stands."""
        made = object.__new__(Pipeline)
        made.__dict__.update((name, value) for name, value in self.__dict__.items() if name in _WITHOUT_NUMBERS)
        made.__dict__["stages"] = stages
        return made

    @property
    def _values(self) -> dict[str, Any]:
        """All that may change while training, on any route, as the text has it."""
        return {name: getattr(*self.owner_of(name)) for name in self.keys if name in self.live_names}

    @cached_property
    def schedules(self) -> dict[str, Scheduled]:
        """The hyper-parameters that follow a schedule, on any route, by their names."""
        return scheduled_in(self._values)

    @cached_property
    def layerwise(self) -> dict[str, Layerwise]:
        """The hyper-parameters that differ from layer to layer, on any route, by their names."""
        return layerwise_in(self._values)

    def unscheduled(self, number: Callable[[Schedule], float] = lambda schedule: schedule.value) -> Pipeline:
        """The same pipeline with a number for each schedule, its value or another, and one for all layers."""
        if all(map(is_plain, self._values.values())):
            return self
        return Pipeline(tuple(stage.unscheduled(number) for stage in self.stages))

    def without_decay(self) -> Pipeline:
        """The pipeline that parameters get which are left out of decay and layerwise scaling."""
        return Pipeline(tuple(stage.without_decay() for stage in self.stages))


def join(first: Stage | Chain, second: Stage | Chain) -> Chain:
    """first | second: a Pipeline once it has both an estimator and a base update.

    Raises:
        EdslError: when either is no stage, or the order is wrong.
    """
    before, after = _stages(first), _stages(second)
    if isinstance(second, Pipeline) and isinstance(before[0], Estimator) and after[0].name in ("grad", "hutchinson"):
        after = after[1:]  # as in a spec, a whole pipeline leaves its estimator to the stages before it
    stages = before + after
    complete = isinstance(stages[0], Estimator) and any(isinstance(stage, BaseUpdate) for stage in stages)
    return Pipeline(stages) if complete else Chain(stages)


def _stages(link: Any) -> tuple[Stage, ...]:
    if isinstance(link, Chain):
        return link.stages
    if isinstance(link, Stage):
        return (link,)
    raise EdslError(f"| joins stages, got {type(link).__name__}; write a stage such as edsl.lamb(lr=0.01)")


Stage._join = join
