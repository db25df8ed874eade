"""`torch.X` and `torch_optimizer.X`: an optimizer of another package as base update."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from edsl.errors import EdslError, FieldError, brief, nearest
from edsl.language.context import At, Value
from edsl.language.domain import Number, plain
from edsl.language.registry.stages import load
from edsl.language.stage import BaseUpdate

_PACKAGES = "edsl.optim.packages"  # which knows the classes; it imports torch, as no stage does


@dataclass(frozen=True)
class Foreign(BaseUpdate):
    """An optimizer class of torch.optim or torch_optimizer, stepped on u instead of on the gradient.

    Its own recurrence, state and defaults; it can't be analysed. With E before it, this is
    Zhao et al. 2025, Algorithm 5.

    Args:
        optimizer: "torch.AdamW", "torch_optimizer.Lamb", …
        given: its keyword arguments as (name, value) pairs.

    Raises:
        EdslError: for an unknown optimizer or argument, or a value that the optimizer refuses.

    Example:
        >>> import edsl
        >>> str(edsl.parse("grad | e | torch.AdamW(lr=0.001)"))
        'grad | e(alpha=-5, beta1=0.99) | torch.AdamW(lr=0.001)'
    """

    optimizer: str
    given: tuple[tuple[str, Any], ...]

    def __post_init__(self) -> None:
        names = self.argument_names()
        object.__setattr__(self, "given", tuple((name, _literal(name, value)) for name, value in self.given))
        for name, _ in self.given:
            if name not in names:
                raise FieldError(f"{self.name}: unknown argument {name!r}; {nearest(name, names, 'it has')}", name)
        try:
            self.defaults()
        except Exception as reason:  # another package's constructor may raise anything
            raise EdslError(f"{self.name} rejected these arguments: {brief(reason)}") from None

    @property
    def stands_alone(self) -> bool:
        return self.optimizer == "torch.LBFGS"  # evaluates the closure itself, many times a step

    @property
    def moves_weights(self) -> bool:
        return True

    @property
    def name(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.optimizer

    def defaults(self) -> dict[str, Any]:
        """What its param groups hold, read off an instance with these arguments."""
        return self.build(load(f"{_PACKAGES}:example_parameters")()).defaults

    def build(self, params: Any, tensors: Mapping[str, Any] = MappingProxyType({})) -> Any:
        """The optimizer itself, over these parameters or groups; `tensors` stand for numbers of the same names."""
        return _class(self.optimizer)(params, **{**dict(self.given), **tensors})

    def argument_names(self) -> tuple[str, ...]:
        parameters = inspect.signature(_class(self.optimizer).__init__).parameters
        return tuple(name for name in parameters if name not in ("self", "params"))

    def live_fields(self) -> tuple[str, ...]:
        return ()  # its numbers live in param_groups under the optimizer's own names

    def spared_values(self) -> dict[str, Any]:
        return {}

    def replace(self, values: dict[str, Any]) -> Foreign:
        return Foreign(self.optimizer, tuple({**dict(self.given), **values}.items()))

    def structure(self) -> tuple[Any, ...]:
        return ()

    def arguments(self) -> dict[str, Any]:
        return dict(self.given)

    def step(self, x: Value, memory: Any, at: At) -> Any:
        raise EdslError(f"{self.name} is another package's optimizer: edsl does not know its recurrence")

    def __str__(self) -> str:
        return f"{self.name}({', '.join(f'{key}={plain(value)}' for key, value in self.given)})"


def _literal(name: str, value: Any) -> Any:
    """A value as a spec can write it: numbers from numpy or 0-d tensors as floats, lists as tuples."""
    if isinstance(value, (tuple, list)):
        return tuple(_literal(name, item) for item in value)
    if value is None or isinstance(value, (bool, str, int)):
        return value
    try:
        return Number().read(value)
    except ValueError as reason:
        raise FieldError(f"{name} {reason}", name) from None


def foreign(name: str, given: Mapping[str, Any]) -> Foreign:
    """The stage for a dotted name and its keyword arguments; raises EdslError as Foreign does."""
    _class(name)
    return Foreign(name, tuple(given.items()))


def _class(name: str) -> Any:
    """The class that a dotted name means; raises EdslError where there is none."""
    return load(f"{_PACKAGES}:optimizer_class")(name)
