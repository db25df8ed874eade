"""`route`: different updates for different kinds of parameters."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from edsl.errors import EdslError, FieldError, nearest, shown
from edsl.language.context import At, Value
from edsl.language.domain import field
from edsl.language.stage import BaseUpdate, Estimator, Stage

if TYPE_CHECKING:
    from edsl.language.pipeline import Chain, Pipeline
    from edsl.language.schedules.schedule import Schedule

BY_MODULE = ("embedding", "norm", "head")
APART = ("embedding", "head")  # matrices that matrix updates are not made for
BY_RANK = ("matrix", "vector")
KINDS = (*BY_MODULE, *BY_RANK, "other")


@dataclass(frozen=True)
class Branches:
    """Pairs of a route's name and its stages."""

    live: ClassVar[bool] = False

    def read(self, value: Any) -> tuple[tuple[str, Chain], ...]:
        pairs = tuple(_pair(entry) for entry in value) if isinstance(value, Iterable) else ()
        if not pairs or isinstance(value, str):
            raise ValueError("needs at least one kind of parameter with its update, such as matrix=muon")
        names = [name for name, _ in pairs]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"has {name!r} twice")
        return pairs

    def __str__(self) -> str:
        return f"{'=…, '.join(KINDS)}=…, ('name.*', …)"


def _pair(entry: Any) -> tuple[str, Chain]:
    from edsl.language.pipeline import Chain

    if not isinstance(entry, tuple) or len(entry) != 2 or not isinstance(entry[0], str):
        raise ValueError(f"must be pairs of a name and stages, got {shown(entry)}")
    name, stages = entry
    if not name:
        raise ValueError("has an empty pattern; write one such as 'blocks.*'")
    if isinstance(stages, Stage):
        stages = Chain((stages,))
    if not isinstance(stages, Chain):
        raise ValueError(f"must lead to stages such as muon(lr=0.02), got {shown(stages)} for {name}")
    if isinstance(stages.stages[0], Estimator):
        raise ValueError(f"shares one estimator among all routes: move the one in {name} before route")
    updates = [stage for stage in stages.stages if isinstance(stage, BaseUpdate)]
    if not updates:
        raise ValueError(f"must lead to a base update, such as {name}=… | adamw(lr=0.001)")
    if isinstance(updates[0], Route):
        raise ValueError(f"can't be nested, got a route inside {name}: list all routes in one")
    if updates[0].moves_weights:
        raise ValueError(f"takes edsl's own updates only, got {updates[0].name} for {name}")
    return name, stages


@dataclass(frozen=True)
class Route(BaseUpdate):
    """Sends each parameter to exactly one of several updates, each with its own param groups.

    A route is a kind of parameter or, as a pair, a pattern of names. The more specific wins,
    whatever the order:

    1. ("blocks.*", …): names that match a shell pattern, the first that does;
    2. embedding, norm, head: by the module that owns the parameter; `edsl.groups.routing.heads_in_module` says what a
       head is;
    3. matrix: 2 or more dimensions, but for embeddings and heads, which go to other; vector: fewer;
    4. other: all that is left.

    Embeddings and heads are known of a module alone: bare and named tensors of 2 or more dimensions are all
    matrices. So are they where a spec gives embeddings or heads a route, or has no other.

    A route leads to a base update, perhaps with adaptors before it and wrappers behind. The first
    route's arguments have their own names in the pipeline, the others' begin with the route's:
    lr and other_lr in route(matrix=…, other=…).

    Raises:
        EdslError: for a route without a base update, and, when an optimizer is built, for a parameter
            that no route takes, or names and modules that are needed but not known.

    Example:
        >>> import edsl
        >>> pipeline = edsl.grad() | edsl.route(matrix=edsl.muon(lr=0.02), other=edsl.adamw(lr=0.0003))
        >>> [key for key in pipeline.keys if key.endswith("lr")]
        ['lr', 'other_lr']
    """

    name: ClassVar[str] = "route"
    example: ClassVar[str] = "route(matrix=muon, other=adamw)"
    takes_stages: ClassVar[bool] = True
    branches: tuple[tuple[str, Chain], ...] = field((), Branches())

    @classmethod
    def written(cls, patterns: Iterable[Any], kinds: Mapping[str, Any]) -> Route:
        """The stage from what a spec or a call gives: pairs, and stages by kind; raises EdslError as the class does."""
        for kind in kinds:
            if kind not in KINDS:
                hint = nearest(kind, KINDS, "kinds")
                raise FieldError(f"route: unknown kind {kind!r}; {hint}; a name's pattern is a pair ('a.*', …)", kind)
        patterns = tuple(patterns)
        for entry in patterns:
            if isinstance(entry, tuple) and entry and entry[0] in KINDS:
                raise EdslError(f"route: {entry[0]} is a kind, not a pattern of names: write {entry[0]}=…")
        try:
            return cls((*patterns, *kinds.items()))
        except FieldError as error:
            raise EdslError(error.message.replace("route: branches", "route:")) from None

    @classmethod
    def called(cls, *patterns: Any, **kinds: Any) -> Route:
        """route(("blocks.*", muon()), other=adamw()): the stage, as a call writes it."""
        return cls.written(patterns, kinds)

    @property
    def needs_hessian(self) -> bool:
        return any(stage.needs_hessian for _, chain in self.branches for stage in chain.stages)

    @cached_property
    def places(self) -> dict[str, tuple[str, str]]:
        """Every argument's name → (its branch, its name there)."""
        places: dict[str, tuple[str, str]] = {}
        for name, prefix in self.prefixes.items():
            for key, (index, _) in self.pipelines[name].keys.items():
                if index > 0:
                    places[prefix + key] = (name, key)
        return places

    @cached_property
    def prefixes(self) -> dict[str, str]:
        """What the names of each branch's arguments begin with; nothing, those of the first."""
        names = [name for name, _ in self.branches]
        patterns = [name for name in names if name not in KINDS]
        found = {name: f"{name}_" if name in KINDS else f"route{patterns.index(name) + 1}_" for name in names}
        return {**found, names[0]: ""}

    @cached_property
    def pipelines(self) -> dict[str, Pipeline]:
        """Each branch behind the estimator that it implies."""
        from edsl.language.pipeline import Pipeline
        from edsl.language.registry.build import build

        estimator = build(self.estimator, {})
        return {name: Pipeline((estimator, *chain.stages)) for name, chain in self.branches}

    @property
    def routes(self) -> dict[str, tuple[Stage, ...]]:
        return {name: chain.stages for name, chain in self.branches}

    @property
    def betas_by_prefix(self) -> dict[str, tuple[str, ...]]:
        return {prefix: self.pipelines[name].update.betas for name, prefix in self.prefixes.items()}

    def owner_of(self, argument: str) -> tuple[str, int, str]:
        owner, name = self.places[argument]
        return owner, *self.pipelines[owner].keys[name]

    def live_fields(self) -> tuple[str, ...]:
        return ()  # the branches' live in the param groups of their routes

    def argument_names(self) -> tuple[str, ...]:
        return tuple(self.places)

    def replace(self, values: dict[str, Any]) -> Route:
        from edsl.language.pipeline import Chain

        changes: dict[str, dict[str, Any]] = {}
        for argument, value in values.items():
            branch, key = self.places[argument]
            changes.setdefault(branch, {})[key] = value
        changed = {name: Chain(self.pipelines[name].override(**new).stages[1:]) for name, new in changes.items()}
        return Route(tuple((name, changed.get(name, chain)) for name, chain in self.branches))

    def unscheduled(self, number: Callable[[Schedule], float]) -> Route:
        from edsl.language.pipeline import Chain

        pipelines = {name: pipeline.unscheduled(number) for name, pipeline in self.pipelines.items()}
        return Route(tuple((name, Chain(pipeline.stages[1:])) for name, pipeline in pipelines.items()))

    def spared_values(self) -> dict[str, Any]:
        return {}

    def structure(self) -> tuple[Any, ...]:
        return tuple((name, pipeline.structure) for name, pipeline in self.pipelines.items())

    def arguments(self) -> dict[str, Any]:
        return {name: str(chain) for name, chain in self.branches}

    def step(self, x: Value, memory: Any, at: At) -> Any:
        raise EdslError(f"route has several updates: take one of them alone, such as {self.branches[0][1]}")

    def __str__(self) -> str:
        return f"route({', '.join(self._written())})"

    def _written(self) -> Iterator[str]:
        for name, chain in self.branches:
            yield f"{name}={chain}" if name in KINDS else f"({name!r}, {chain})"
