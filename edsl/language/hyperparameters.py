"""The hyper-parameters of a stage as arguments: read by their domains, bound to values, printed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import lru_cache
from typing import Any, ClassVar

from edsl.errors import FieldError, shown
from edsl.language.domain import plain
from edsl.language.schedules.group import SCALES, TEXTS, TOTAL
from edsl.language.schedules.layerwise import Layerwise, carried, is_plain, scheduled_in, without_scales
from edsl.language.schedules.schedule import ArgumentError, Schedule, Scheduled

GROUP_KEYS = frozenset(  # what param groups and calls hold beside hyper-parameters, which can't be called so
    (
        *("params", "param_names", "pipeline", "stages", "exclude", "maximize", "weights", "route", "nominal_lr"),
        *("calls", "nonfinite_steps", "batch_size", TEXTS, TOTAL, SCALES),
    )
)


@dataclasses.dataclass(frozen=True)
class Hyperparameters:
    """Arguments under a name: each field is a hyper-parameter, declared by `edsl.language.domain.field`.

    Raises:
        EdslError: when built with a value outside its field's domain.
    """

    name: ClassVar[str] = ""
    is_of_layers: ClassVar[bool] = True  # whether values may differ from layer to layer

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            object.__setattr__(self, field.name, self._read(field, getattr(self, field.name)))
        self.check()
        self._prepare()
        for name, value in self.schedules.items():
            for knot in value.schedule.extremes:
                self._check_knot(name, self.revalued({name: knot}))

    @property
    def schedules(self) -> dict[str, Scheduled]:
        """The fields that follow a schedule."""
        return scheduled_in(self.__dict__)

    def unscheduled(self, number: Callable[[Schedule], float]) -> Any:
        """The same with a number where there is a schedule, and that of a layer of factor 1 where layers differ."""
        bare = {name: without_scales(value) for name, value in self.__dict__.items() if not is_plain(value)}
        taken = {name: number(v.schedule) if isinstance(v, Scheduled) else float(v) for name, v in bare.items()}
        return self.bind(taken) if taken else self

    def _prepare(self) -> None:
        """Make what is held beside the fields, once they are read."""

    def _check_knot(self, field: str, there: Any) -> None:
        """Raises FieldError where a field can't go on a schedule's way to what is `there`."""

    def _read(self, field: dataclasses.Field[Any], value: Any) -> Any:
        """A field's value as its domain reads it; raises FieldError."""
        if "domain" not in field.metadata:
            raise FieldError(
                f"{type(self).__name__}: the hyper-parameter {field.name} has no domain: write "
                f"{field.name}: float = field({shown(value)}, Number()), both from edsl.stage",
                field.name,
            )
        if not is_plain(value) and not field.metadata["domain"].live:
            raise FieldError(f"{self.name}: {field.name} is fixed once built and takes no schedule", field.name)
        if isinstance(value, Layerwise) and not self.is_of_layers:
            raise FieldError(
                f"{self.name}: {field.name} is one for all layers, and takes no {value.scale.form}", field.name
            )
        try:
            return field.metadata["domain"].read(value)
        except ValueError as reason:
            said = _as_torch_says(field.name, value)
            raise FieldError(f"{self.name}: {field.name} {reason}{said}", field.name) from None

    def check(self) -> None:
        """Raise an EdslError if fields that are good one by one don't go together."""

    def live_fields(self) -> tuple[str, ...]:
        """The hyper-parameters that may change while training, in order."""
        return tuple(
            field.name
            for field in dataclasses.fields(self)
            if field.metadata["domain"].live and getattr(self, field.name) is not None
        )

    def hidden_fields(self) -> tuple[str, ...]:
        """Live numbers that are no argument, as attributes: those of stages that run within this one."""
        return ()

    def hidden_constants(self) -> tuple[str, ...]:
        """Those of the hidden numbers that don't follow from an argument."""
        return ()

    def domain_of(self, field: str) -> Any:
        """The values that a live number may take."""
        return type(self).__dataclass_fields__[field].metadata["domain"]

    def bind(self, values: dict[str, Any]) -> Any:
        """The same with some fields replaced by number-like values, unchecked."""
        bound = object.__new__(type(self))
        for field in dataclasses.fields(self):
            object.__setattr__(bound, field.name, values.get(field.name, getattr(self, field.name)))
        return bound

    def spared_values(self) -> dict[str, Any]:
        """The values that fields take for parameters left out of decay and layerwise scaling."""
        return {
            field.name: field.metadata["spared"] for field in dataclasses.fields(self) if "spared" in field.metadata
        }

    def without_decay(self) -> Any:
        """The same for parameters left out of decay and layerwise scaling."""
        values = self.spared_values()
        return dataclasses.replace(self, **values) if values else self

    def argument_names(self) -> tuple[str, ...]:
        """The names of all hyper-parameters, in order."""
        return tuple(field.name for field in dataclasses.fields(self))

    def replace(self, values: dict[str, Any]) -> Any:
        """The same with some arguments replaced, checked."""
        try:
            kept = {name: carried(getattr(self, name, None), value) for name, value in values.items()}
        except ArgumentError:  # a value that is no number, of which the domain speaks
            kept = values
        return dataclasses.replace(self, **kept)

    def revalued(self, values: dict[str, Any]) -> Any:
        """The same with some numbers replaced: checked as by `replace`, and several times faster."""
        kind, before = type(self), self.__dict__
        fields, names = kind.__dataclass_fields__, _field_names(kind)
        changed = object.__new__(kind)
        own = changed.__dict__
        has_cached = len(before) > len(names)  # values that a property keeps, of the numbers before
        own.update({name: before[name] for name in names} if has_cached else before)
        for name, value in values.items():
            own[name] = self._read(fields[name], value)
        changed.check()
        return changed

    def structure(self) -> tuple[Any, ...]:
        """The fields that aren't live, by which one compiled step differs from another."""
        return tuple(
            (field.name, getattr(self, field.name))
            for field in dataclasses.fields(self)
            if not field.metadata["domain"].live
        )

    def __str__(self) -> str:
        arguments = ", ".join(f"{key}={plain(value)}" for key, value in self.arguments().items())
        return f"{self.name}({arguments})" if arguments else self.name

    def arguments(self) -> dict[str, Any]:
        """The arguments in the canonical text: every number, and every other field that isn't its default."""
        return {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if getattr(self, field.name) is not None
            and (field.metadata["domain"].live or getattr(self, field.name) != field.default)
        }


@lru_cache
def _field_names(kind: type[Hyperparameters]) -> tuple[str, ...]:
    return tuple(field.name for field in dataclasses.fields(kind))


def _as_torch_says(name: str, value: Any) -> str:
    """torch's own words for a bad learning rate, which training stacks and their tests look for."""
    if name != "lr":
        return ""
    several = max(getattr(value, "shape", ()), default=1) > 1
    return " (Tensor lr must be 1-element)" if several else f" (Invalid learning rate: {shown(value)})"
