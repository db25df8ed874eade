"""What a stage is: hyper-parameters, a memory, and one step, written as its paper writes it.

A stage is a frozen dataclass with two pure methods. `init(zero)` gives the memory before the first
step, `step(x, memory, at)` maps the incoming quantity to the outgoing one and to the next memory.
Both work on any number-like value: the engine passes tensors, theory passes symbols. `at` is the
only door to whatever the operators of Python do not give.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from edsl.domain import plain
from edsl.errors import FieldError

if TYPE_CHECKING:
    from edsl.pipeline import Chain

Value = Any  # a tensor, a float or a symbol


class At(ABC):
    """Where a step happens: this parameter, at step k, under one backend.

    Attributes:
        theta: the parameter θ_{k−1} that the step will change.
        k: the number of this step, from 1.
        gradient: the estimator's raw gradient, whatever the adaptors made of it since.
        total_norm: the 2-norm of the incoming quantity over all parameters; only for a stage
            with `needs_total_norm`.
        normal: independent standard normal noise in the shape of theta; only for a stage with
            `needs_noise`.
    """

    theta: Value
    k: Value
    gradient: Value
    total_norm: Value
    normal: Value

    @abstractmethod
    def sqrt(self, x: Value) -> Value:
        """√x, element by element."""

    @abstractmethod
    def norm(self, x: Value) -> Value:
        """‖x‖₂ over the whole layer, a scalar."""

    @abstractmethod
    def debias(self, x: Value, beta: Value) -> Value:
        """x / (1 − βᵏ): an EMA that began at zero, freed of that start."""

    @abstractmethod
    def first(self, x: Value, otherwise: Value) -> Value:
        """x at the first step, `otherwise` at every later one."""

    @abstractmethod
    def clamp(self, x: Value, bound: Value) -> Value:
        """x with every element brought into [−bound, bound]."""

    @abstractmethod
    def minimum(self, x: Value, y: Value) -> Value:
        """The smaller of two scalars."""

    @abstractmethod
    def ratio(self, x: Value, y: Value) -> Value:
        """x / y for scalars, and 1 where either is zero."""


class NoMemory(NamedTuple):
    """The memory of a stage that remembers nothing."""


@dataclasses.dataclass(frozen=True)
class Stage:
    """One link of a pipeline; see `Estimator`, `Adaptor` and `BaseUpdate` for the three kinds.

    Raises:
        EdslError: when built with a value outside its field's domain.
    """

    name: ClassVar[str] = ""
    kind: ClassVar[str] = ""
    rank: ClassVar[int] = -1  # the order of kinds in a pipeline
    example: ClassVar[str] = ""  # how to write it, where its name alone is not enough
    needs_noise: ClassVar[bool] = False  # at.normal is read

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            try:
                value = field.metadata["domain"].read(getattr(self, field.name))
            except ValueError as reason:
                raise FieldError(f"{self.name}: {field.name} {reason}", field.name) from None
            object.__setattr__(self, field.name, value)
        self.check()

    @property
    def needs_total_norm(self) -> bool:
        """Whether the step reads at.total_norm, which splits the pipeline before this stage."""
        return False

    @property
    def constant(self) -> tuple[str, ...]:
        """Live fields whose change while training makes the recurrence inexact."""
        return ()

    def check(self) -> None:
        """Raise an EdslError if fields that are good one by one don't go together."""

    def init(self, zero: Value) -> NamedTuple:
        """The memory before the first step; every entry a buffer in the shape of the parameter."""
        return NoMemory()

    def step(self, x: Value, memory: Any, at: At) -> tuple[Value, NamedTuple]:
        raise NotImplementedError(f"{self.name} has no step")

    def live_fields(self) -> tuple[str, ...]:
        """The hyper-parameters that may change while training, in order."""
        return tuple(
            field.name
            for field in dataclasses.fields(self)
            if field.metadata["domain"].live and getattr(self, field.name) is not None
        )

    def bind(self, values: dict[str, Value]) -> Any:
        """The same stage with some fields replaced by number-like values, unchecked."""
        bound = object.__new__(type(self))
        for field in dataclasses.fields(self):
            object.__setattr__(bound, field.name, values.get(field.name, getattr(self, field.name)))
        return bound

    def spared_values(self) -> dict[str, Any]:
        """The values that fields take for parameters left out of decay and layerwise scaling."""
        return {
            field.name: field.metadata["spared"] for field in dataclasses.fields(self) if "spared" in field.metadata
        }

    def argument_names(self) -> tuple[str, ...]:
        """The names of all hyper-parameters, in order."""
        return tuple(field.name for field in dataclasses.fields(self))

    def replace(self, values: dict[str, Any]) -> Stage:
        """The same stage with some arguments replaced, checked."""
        return dataclasses.replace(self, **values)

    def structure(self) -> tuple[Any, ...]:
        """The fields that aren't live, by which one compiled step differs from another."""
        return tuple(
            (field.name, getattr(self, field.name))
            for field in dataclasses.fields(self)
            if not field.metadata["domain"].live
        )

    def __or__(self, other: Stage | Chain) -> Chain:
        from edsl.pipeline import join

        return join(self, other)

    def __str__(self) -> str:
        arguments = ", ".join(f"{key}={plain(value)}" for key, value in self.arguments().items())
        return f"{self.name}({arguments})" if arguments else self.name

    def arguments(self) -> dict[str, Any]:
        """What the canonical text says: every number, and each other field that isn't its default."""
        return {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if getattr(self, field.name) is not None
            and (field.metadata["domain"].live or getattr(self, field.name) != field.default)
        }


@dataclasses.dataclass(frozen=True)
class Estimator(Stage):
    """First of a pipeline: where the gradient comes from, and what it costs.

    It runs before the compiled step and leaves the gradient in `p.grad`; it has no `step`.
    """

    kind: ClassVar[str] = "estimator"
    rank: ClassVar[int] = 0
    forwards: ClassVar[int] = 1  # evaluations of the loss in a step
    backwards: ClassVar[int] = 1  # and of its gradient


@dataclasses.dataclass(frozen=True)
class Adaptor(Stage):
    """Between gradient and update: `step` maps g to u of the same shape."""

    kind: ClassVar[str] = "adaptor"
    rank: ClassVar[int] = 1


@dataclasses.dataclass(frozen=True)
class BaseUpdate(Stage):
    """Last of a pipeline: `step` maps u to Δθ, what is added to the parameter."""

    kind: ClassVar[str] = "base update"
    rank: ClassVar[int] = 2

    @property
    def stands_alone(self) -> bool:
        """Whether no adaptor can stand before it."""
        return False
