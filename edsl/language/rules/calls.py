"""The stages that a rule runs, and what it is for one choice of its switches."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from edsl.errors import EdslError
from edsl.language.rules.paths import Path
from edsl.language.rules.shapes import COLUMNS, ELEMENT, ROWS, SCALAR, Shape
from edsl.language.rules.syntax.tree import Binary, Literal, Name, Negative, Several, StageCall, walk

DIRECTION_SETS = {"lr": 1.0, "weight_decay": 0.0}  # what a direction sets: Δθ at lr 1, without decay


@dataclass(frozen=True)
class Call:
    """A stage that a rule runs.

    Attributes:
        label: its name within the rule, adam_2 for the second adam of the text.
        kind: its class.
        arguments: by its fields, expressions of the rule's hyper-parameters.
        node: where it stands.
    """

    label: str
    kind: Any
    arguments: Mapping[str, Any]
    node: StageCall

    @property
    def names(self) -> frozenset[str]:
        """The hyper-parameters of the rule that it depends on."""
        return frozenset(one.name for one in walk(*self.arguments.values()) if isinstance(one, Name))

    def given(self, value_of: Callable[[str], Any]) -> dict[str, Any]:
        """Its arguments, with the rule's hyper-parameters as `value_of` has them."""
        fixed = (
            set(DIRECTION_SETS) & {one.name for one in dataclasses.fields(self.kind)} if self.node.is_direction else ()
        )
        found = {name: evaluated(value, value_of) for name, value in self.arguments.items()}
        read = {name: _as_field(self.kind, name, value) for name, value in found.items()}
        return {**read, **{name: DIRECTION_SETS[name] for name in fixed}}

    def built(self, value_of: Callable[[str], Any]) -> Any:
        """The stage; raises EdslError as its class does, or where its arguments are no numbers."""
        try:
            return self.kind(**self.given(value_of))
        except ArithmeticError:
            raise EdslError(f"{self.label}: an argument is no finite number") from None


def evaluated(node: Any, value_of: Callable[[str], Any]) -> Any:
    """An argument of a stage within: of numbers, or of letters."""
    match node:
        case Literal(value):
            return value
        case Name(name):
            return value_of(name)
        case Negative(of):
            return -evaluated(of, value_of)
        case Several(values):
            return tuple(evaluated(one, value_of) for one in values)
        case Binary(sign, left, right):
            a, b = evaluated(left, value_of), evaluated(right, value_of)
            match sign:
                case "+":
                    return a + b
                case "-":
                    return a - b
                case "*":
                    return a * b
                case "/":
                    return a / b
            return a ** (float(b) if isinstance(b, int) else b)
    raise TypeError(f"no argument: {node!r}")


def _as_field(kind: Any, name: str, value: Any) -> Any:
    """A literal float as the integer that a field of whole numbers reads."""
    live = kind.__dataclass_fields__[name].metadata["domain"].live
    return int(value) if not live and isinstance(value, float) and value == math.floor(value) else value


@dataclass(frozen=True)
class Variant:
    """A rule for one choice of its switches: its path, its buffers' shapes, and the calls that it makes."""

    path: Path
    shapes: Mapping[str, Shape]
    calls: tuple[Call, ...]

    @property
    def scalars(self) -> tuple[str, ...]:
        """The buffers of one number a layer."""
        return tuple(name for name, shape in self.shapes.items() if shape == SCALAR)

    def buffer_shapes(self, rows: int, columns: int) -> dict[str, tuple[int, ...]]:
        """The buffers of rows or columns, with their shapes."""
        sizes = {ROWS: rows, COLUMNS: columns}
        own = {name: shape for name, shape in self.shapes.items() if shape not in (ELEMENT, SCALAR)}
        return {name: (sizes.get(height, 1), sizes.get(width, 1)) for name, (height, width) in own.items()}
