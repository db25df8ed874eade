"""A number that differs from layer to layer: a value, or a schedule, times a factor for each parameter.

width   (base / inputs)^exponent of a matrix, 1 of vectors and embeddings; μP's rule for Adam's learning rate, Yang et
        al. 2022, Tensor Programs V, Table 3
depth   by^(L − l) at layer l of 0 … L, the last; layer-wise decay, Clark et al. 2020, ELECTRA, and timm's layer_decay
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from edsl.errors import EdslError, nearest, shown
from edsl.language.schedules.schedule import ArgumentError, Scheduled, plain, read_finite

SCALES = {"width": {"base": None, "exponent": 1.0}, "depth": {"by": None}}  # arguments; None for those to be given


class Layer(NamedTuple):
    """Where a parameter stands in its model.

    Attributes:
        inputs: of a matrix, how many numbers it multiplies each output by; None of vectors and embeddings.
        above: how many layers come after its own; None where that is not known.
    """

    inputs: int | None
    above: int | None


@dataclass(frozen=True)
class Scale:
    """A factor for each layer; see the module.

    Raises:
        ArgumentError: for an unknown or missing argument, or a bad one.
    """

    form: str
    given: tuple[tuple[str, Any], ...]

    def __post_init__(self) -> None:
        known, given = SCALES[self.form], dict(self.given)
        for name in given:
            if name not in known:
                hint = nearest(name, known, "it has")
                raise ArgumentError(f"{self.form}: unknown argument {shown(name)}; {hint}", name)
        for name, default in known.items():
            if name not in given and default is None:
                raise ArgumentError(f"{self.form}: {name}= is missing, as in {EXAMPLES[self.form]}")
        merged = {**known, **given}
        object.__setattr__(self, "given", tuple((name, self._read(name, merged[name])) for name in known))

    def _read(self, name: str, value: Any) -> int | float:
        if name == "base":
            if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < 2**53:
                raise ArgumentError(f"width: base must be a whole number above 0, got {shown(value)}", name)
            return value
        low = 0 if name == "by" else -math.inf
        return read_finite(self.form, name, value, name, low, math.inf)

    def factor(self, layer: Layer) -> float:
        """The factor on the value of a parameter there, ∞ where it is too large for a float."""
        given = dict(self.given)
        try:
            if self.form == "width":
                return 1.0 if layer.inputs is None else (given["base"] / max(layer.inputs, 1)) ** given["exponent"]
            assert layer.above is not None  # who asks has named the parameter
            return given["by"] ** layer.above
        except OverflowError:
            return math.inf  # which no domain holds


EXAMPLES = {"width": "width(0.01, base=256)", "depth": "depth(0.001, by=0.8)"}


class Layerwise(float):
    """A hyper-parameter's value with its factor for each layer; as a float it is the value.

    Attributes:
        inner: a number, one on a schedule, or one that differs from layer to layer by another rule.
    """

    inner: float
    scale: Scale

    def __new__(cls, inner: float, scale: Scale) -> Layerwise:
        inner = inner if not is_plain(inner) else float(inner) + 0.0  # which turns −0 into 0, that has one spelling
        made = super().__new__(cls, inner)
        made.inner, made.scale = inner, scale
        if scale.form in [one.form for one in scales_of(inner)]:
            raise ArgumentError(f"{scale.form} stands twice; give it once")
        return made

    def factor(self, layer: Layer) -> float:
        """The factor on the value of a parameter there, of all its rules."""
        return math.prod(scale.factor(layer) for scale in scales_of(self))

    def at(self, factor: float) -> float:
        """The number, or the number on a schedule, of a layer with this factor."""
        inner = without_scales(self)
        return Scheduled(inner.schedule.times(factor)) if isinstance(inner, Scheduled) else inner * factor

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Layerwise) and (other.inner, other.scale) == (self.inner, self.scale)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash((self.inner, self.scale))

    def __repr__(self) -> str:
        defaults = SCALES[self.scale.form]
        others = [f"{name}={plain(value)}" for name, value in self.scale.given if value != defaults[name]]
        return f"{self.scale.form}({', '.join([plain(self.inner), *others])})"

    def __reduce__(self) -> tuple[Any, ...]:
        return Layerwise, (self.inner, self.scale)


def scales_of(value: Any) -> tuple[Scale, ...]:
    """The rules by which a value differs from layer to layer, the outermost first."""
    found = []
    while isinstance(value, Layerwise):
        found.append(value.scale)
        value = value.inner
    return tuple(found)


def without_scales(value: Any) -> Any:
    """The value alone, or on its schedule: that of a layer whose factor is 1."""
    while isinstance(value, Layerwise):
        value = value.inner
    return value


def is_plain(value: Any) -> bool:
    """Whether a value is neither on a schedule nor different from layer to layer."""
    return not isinstance(value, (Scheduled, Layerwise))


def bare_number(value: Any) -> Any:
    """A value without its schedule and layers; any other as it is."""
    return value if is_plain(value) else float(value)


def scheduled_in(values: Mapping[str, Any]) -> dict[str, Scheduled]:
    """Those of some values that follow a schedule, by their names."""
    bare = {name: without_scales(value) for name, value in values.items()}
    return {name: value for name, value in bare.items() if isinstance(value, Scheduled)}


def layerwise_in(values: Mapping[str, Any]) -> dict[str, Layerwise]:
    """Those of some values that differ from layer to layer, by their names."""
    return {name: value for name, value in values.items() if isinstance(value, Layerwise)}


def carried(before: Any, value: Any) -> Any:
    """A new value for a hyper-parameter: it keeps schedule and layers of the one before, unless it brings its own."""
    if not is_plain(value) or isinstance(value, (bool, str, type(None))):
        return value
    if isinstance(before, Layerwise):
        return Layerwise(_number(carried(before.inner, value)), before.scale)
    return Scheduled(before.schedule.with_value(value)) if isinstance(before, Scheduled) else value


def _number(value: Any) -> float:
    """A value that is no schedule's yet as a float; raises ArgumentError where it is none."""
    if not is_plain(value):
        return value
    return read_finite("layers", "the value", value, "", -math.inf, math.inf)


def check_same_for_all(values: Mapping[str, Any], what: str) -> None:
    """Raises EdslError where a value differs from layer to layer, for what has one value for all."""
    for key, value in layerwise_in(values).items():
        raise EdslError(f"{what} has one value for all layers, got {key}={value}; write that of one layer")
