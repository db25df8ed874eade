"""`torch.X`, `pytorch_optimizer.X`, …: an optimizer of another package as base update."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from edsl.errors import EdslError, FieldError, brief, nearest, shown
from edsl.language.context import At, Value
from edsl.language.domain import Number, plain
from edsl.language.registry.stages import load
from edsl.language.stage import BaseUpdate

_ROOM = "edsl.optim.foreign"  # which knows the classes; it imports torch, as no stage does


@dataclass(frozen=True)
class Foreign(BaseUpdate):
    """An optimizer class of another package, stepped on u instead of on the gradient.

    Its own recurrence, state and defaults; it can't be analysed. With E before it, this is
    Zhao et al. 2025, Algorithm 5.

    Args:
        optimizer: "torch.AdamW", "pytorch_optimizer.Lamb", …
        given: its keyword arguments as (name, value) pairs, kept in the order of its signature.

    Raises:
        EdslError: for an unknown optimizer or argument, one that is missing, or a value that the optimizer refuses.

    Example:
        >>> import edsl
        >>> str(edsl.parse("grad | e | torch.AdamW(eps=1e-6, lr=0.001)"))
        'grad | e(alpha=-5, beta1=0.99) | torch.AdamW(lr=0.001, eps=1e-06)'
    """

    optimizer: str
    given: tuple[tuple[str, Any], ...]

    def __post_init__(self) -> None:
        takes, given = self._takes(), dict(self.given)
        for name in given:
            if name not in takes:
                raise FieldError(f"{self.name}: unknown argument {name!r}; {nearest(name, takes, 'it has')}", name)
        read = ((name, _literal(name, given[name])) for name in takes if name in given)
        object.__setattr__(self, "given", tuple(read))
        self._check_kinds()
        try:
            self.defaults()
        except Exception as reason:  # another package's constructor may raise anything
            raise EdslError(f"{self.name} rejected these arguments: {brief(reason)}") from None

    def _check_kinds(self) -> None:
        """Raises EdslError for an argument that is missing, or that no text can give, or a word for a number."""
        given = dict(self.given)
        first, *_ = (name for name, _ in self._signature())
        lacking = [name for name, parameter in self._takes().items() if parameter.default is parameter.empty]
        lacking = [name for name in lacking if name not in given]
        if first != "params" or any(name in _OBJECTS for name in lacking):
            needed = first if first != "params" else next(name for name in lacking if name in _OBJECTS)
            raise EdslError(f"{self.name} is built from an object, its {needed}, which a spec can't write")
        if lacking:
            raise EdslError(f"{self.name} needs {' and '.join(f'{name}=…' for name in lacking)}, which has no default")
        for name, value in self.given:
            usual = self._takes()[name].default
            if type(usual) in (int, float) and isinstance(value, str):
                raise FieldError(f"{self.name}: {name} must be a number, got {shown(value)}", name)

    @property
    def stands_alone(self) -> bool:
        """Whether its step asks for the closure, and so evaluates it as often and where it likes."""
        closure = inspect.signature(_class(self.optimizer).step).parameters.get("closure")
        return closure is not None and closure.default is closure.empty

    @property
    def moves_weights(self) -> bool:
        return True

    @property
    def name(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.optimizer

    def defaults(self) -> dict[str, Any]:
        """What its param groups hold, read off an instance with these arguments."""
        return load(f"{_ROOM}.build:defaults")(self)

    def build(self, params: Any, tensors: Mapping[str, Any] = MappingProxyType({})) -> Any:
        """The optimizer itself, over these parameters or groups; `tensors` stand for numbers of the same names."""
        build, taken = (load(f"{_ROOM}.build:{name}") for name in ("build", "parameters_for"))
        return build(self, taken(self, params), tensors)

    def argument_names(self) -> tuple[str, ...]:
        return tuple(self._takes())

    def value_of(self, name: str) -> Any:
        """What an argument is, given or by default; None for one that it hasn't."""
        default = self._takes()[name].default if name in self._takes() else None
        return dict(self.given).get(name, default)

    def _takes(self) -> dict[str, inspect.Parameter]:
        """What a spec may give: all that has a name, but for the first, the parameters."""
        unnamed = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD, inspect.Parameter.POSITIONAL_ONLY)
        _, *others = self._signature()
        return {name: parameter for name, parameter in others if parameter.kind not in unnamed}

    def _signature(self) -> Iterator[tuple[str, inspect.Parameter]]:
        """The constructor's arguments behind `self`."""
        parameters = iter(inspect.signature(_class(self.optimizer).__init__).parameters.items())
        next(parameters)
        return parameters

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


_OBJECTS = ("base_optimizer", "defaults", "model", "optimizer", "rho_scheduler")  # arguments that no literal is


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
    return load(f"{_ROOM}.packages:optimizer_class")(name)
