"""The shapes of a rule's values and buffers, inferred: a buffer is as large as what is assigned to it.

A shape is a pair of dimensions, each one number, the rows or the columns: (1, 1) is one number a layer, (r, 1) one a
row, (r, c) one an element. Values that meet are broadcast. Buffers begin as small as can be, and grow until nothing
changes; mistakes are reported on that last round.
"""

from __future__ import annotations

from typing import Any

from edsl.language.rules.paths import Path, values_of
from edsl.language.rules.syntax.source import Source
from edsl.language.rules.syntax.tree import Definition, Function, Literal, Name, StageCall, parts
from edsl.language.rules.syntax.words import WORDS

ONE, ROWS, COLUMNS = "1", "rows", "columns"
Shape = tuple[str, str]
SCALAR, ROW, COLUMN, ELEMENT = (ONE, ONE), (ROWS, ONE), (ONE, COLUMNS), (ROWS, COLUMNS)
_WORDS = {
    SCALAR: "one number a layer",
    ROW: "one number a row",
    COLUMN: "one number a column",
    ELEMENT: "an element",
}


def shapes_of(path: Path, definition: Definition, source: Source) -> dict[str, Shape]:
    """The shape of each buffer; raises SpecError where shapes don't go together."""
    buffers = dict.fromkeys(path.buffers, SCALAR)
    while True:
        inference = _Inference(definition, source, buffers, is_last=False)
        inference.run(path)
        grown = {name: _joined(shape, inference.locals[name]) or shape for name, shape in buffers.items()}
        if grown == buffers:
            break
        buffers = grown
    inference = _Inference(definition, source, buffers, is_last=True)
    made = inference.run(path)
    if made != ELEMENT:
        source.refuse(
            f"{definition.name} returns {in_words(made)}{path.said}: expected a value for each element", path.returned
        )
    return buffers


def in_words(shape: Shape) -> str:
    """A shape in words."""
    return _WORDS.get(shape, f"a matrix of {shape[0]} × {shape[1]}")


def _joined(left: Shape, right: Shape) -> Shape | None:
    """The shape of what two broadcast to; None where they don't."""
    found = [b if a == ONE else a if b in (ONE, a) else "" for a, b in zip(left, right)]
    return (found[0], found[1]) if all(found) else None


class _Inference:
    """One round: the shape of everything, with the buffers as they are assumed to be."""

    def __init__(self, definition: Definition, source: Source, buffers: dict[str, Shape], is_last: bool) -> None:
        self.definition, self.source, self.is_last = definition, source, is_last
        self.locals: dict[str, Shape] = {**buffers, definition.argument: ELEMENT}
        self.values = values_of(definition)

    def run(self, path: Path) -> Shape:
        for step in path.steps:
            made = [self.shape(value) for value in step.values]
            self.locals.update(zip(step.names, made))
        return self.shape(path.value)

    def shape(self, node: Any) -> Shape:
        match node:
            case Literal():
                return SCALAR
            case Name(name) if name in self.locals:
                return self.locals[name]
            case Name(name):
                value = self.values.get(name)
                return ELEMENT if value is not None and value.shape == "element" else SCALAR
            case StageCall(name, of):
                if self.shape(of) != ELEMENT:
                    self.refuse(f"{name} takes a value for each element, got {in_words(self.shape(of))}", of)
                return ELEMENT
            case Function():
                return self.function(node)
        return self.join(node, [self.shape(one) for one in parts(node)])

    def join(self, node: Any, shapes: list[Shape]) -> Shape:
        made = SCALAR
        for shape in shapes:
            found = _joined(made, shape)
            if found is None:
                self.refuse(f"{in_words(made)} and {in_words(shape)} don't go together", node)
            made = found or ELEMENT
        return made

    def function(self, node: Function) -> Shape:
        word = WORDS[node.name]
        shapes = [self.shape(one) for place, one in enumerate(node.arguments) if place not in word.fixed]
        x = shapes[0]
        match word.shape:
            case "of a layer":
                if x != ELEMENT:
                    over = "all layers" if node.name == "total" else "a layer"
                    self.refuse(f"{node.name} is over the elements of {over}, got {in_words(x)}", node)
                return SCALAR
            case "of elements":
                if x != ELEMENT:
                    self.refuse(f"{node.name} has a value for each element, got {in_words(x)}", node)
                return ELEMENT
            case "of scalars":
                if ELEMENT in shapes:
                    self.refuse("ratio is of lengths, and 1 where either is 0; divide elements by /", node)
                return self.join(node, shapes)
            case "of rows":
                if x[1] == ONE:
                    self.refuse(f"{node.name} is over the columns of a matrix, got {in_words(x)}", node)
                return x[0], ONE
            case "of columns":
                if x[0] == ONE:
                    self.refuse(f"{node.name} is over the rows of a matrix, got {in_words(x)}", node)
                return ONE, x[1]
            case "transposed":
                return x[1], x[0]
            case "of a product":
                if x[1] != shapes[1][0]:
                    self.refuse(
                        f"product of {in_words(x)} and {in_words(shapes[1])}: the inner dimensions differ", node
                    )
                return x[0], shapes[1][1]
            case "same":
                if ONE in x:
                    self.refuse(f"{node.name} is of a matrix, got {in_words(x)}", node)
                return x
        return self.join(node, shapes)

    def refuse(self, message: str, node: Any) -> None:
        if self.is_last:
            self.source.refuse(message, node)
