"""Text ⇄ Pipeline, by Python's own `ast`, never evaluated.

text     = rule* spec                  rules as in edsl.language.rules.syntax.grammar
spec     = stage ("|" stage)*          parentheses may group
stage    = name | "direction(" stage ")" | name "(" key "=" literal, … ")"
name     = a stage, a recipe, or PACKAGE.X for an optimizer X of another package, such as torch.AdamW
literal  = number | string | True | False | None | tuple of literals | schedule
schedule = form "(" number, key "=" literal, … ")"     such as cosine(0.001, warmup=100); width and depth around it
route    = "route(" (kind "=" branch | "(" string "," branch ")"), … ")"
branch   = stages without an estimator, joined by "|"
"""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterable, Mapping
from typing import Any

from edsl.errors import EdslError, FieldError, OrderError, SpecError, either, nearest, shown
from edsl.language.caller import warn_user
from edsl.language.domain import read_number
from edsl.language.doubts import outside_bounds
from edsl.language.order import check_complete, check_order
from edsl.language.pipeline import Chain, Pipeline
from edsl.language.registry.build import build, build_class
from edsl.language.registry.lookup import is_stage, stage_class, stage_names
from edsl.language.registry.recipes import RECIPES
from edsl.language.registry.stages import FOREIGN, PACKAGES, load
from edsl.language.rules.calls import DIRECTION_SETS
from edsl.language.rules.direction import direction_of
from edsl.language.rules.syntax.tree import Place
from edsl.language.rules.syntax.words import DIRECTION
from edsl.language.rules.texts import has_rules, read_text
from edsl.language.schedules.layerwise import is_plain
from edsl.language.schedules.reading import read_call
from edsl.language.stage import BaseUpdate, Stage

MOST_CHARACTERS = 100_000
MOST_NESTING = 20


def parse(text: str, stages: Iterable[type[Stage]] = ()) -> Pipeline:
    """The pipeline that a spec writes.

    Where the first stage is a base update, an estimator is implied: `grad`, or `hutchinson` for a
    second-order update. A recipe expands to its stages, without its own
    `grad` if other stages precede it.

    Args:
        stages: classes that the text may name in addition to the registered ones.

    Raises:
        SpecError: one message, the text, and a caret under the place.

    Example:
        >>> import edsl
        >>> str(edsl.parse("grad | e | sgd(lr=0.1)"))
        'grad | e(alpha=-5, beta1=0.99) | sgd(lr=0.1, momentum=0, weight_decay=0)'
    """
    pipeline = read(text, stages)
    warn_user(outside_bounds(pipeline.stages), (__name__,))
    return pipeline


def read(text: str, stages: Iterable[type[Stage]] = ()) -> Pipeline:
    """As `parse`, without a warning; raises EdslError for what is no text, and as `parse` does."""
    if not isinstance(text, str):
        order = "; the spec comes first, then the parameters" if hasattr(text, "parameters") else ""
        raise EdslError(f"a spec is a text such as 'grad | e | lamb(lr=0.01)', got {type(text).__name__}{order}")
    own = {stage.name: stage for stage in stages}
    if not has_rules(text):
        return _Reader(text, own).pipeline()
    parts = read_text(text)
    if not parts.line.strip():
        said = "the text ends without a pipeline: add a last line such as grad | {}(lr=0.001)"
        raise parts.source.error(said.format(next(iter(parts.rules), "adamw")), Place(parts.number, 0))
    return _Reader(parts.line, {**own, **parts.rules}).pipeline()


def as_pipeline(spec: Any) -> Pipeline:
    """A pipeline from a text, a pipeline, or a base update alone.

    Raises:
        EdslError: for anything else.
    """
    if isinstance(spec, Pipeline):
        return spec
    if isinstance(spec, Stage):
        spec = Chain((spec,))
    if isinstance(spec, Chain):
        first = spec.stages[0]
        implied = (build(first.estimator, {}),) if isinstance(first, BaseUpdate) else ()
        return Pipeline((*implied, *spec.stages))
    return parse(spec)


class _Reader:
    """One reading of one text."""

    def __init__(self, text: str, own: dict[str, type[Stage]]) -> None:
        self.text = text
        self.own = own

    def pipeline(self) -> Pipeline:
        links = _links(self.tree())
        stages: list[Stage] = []
        places: list[int] = []
        for node in links:
            found = self.stages_of(node, first=not stages)
            stages.extend(found)
            places.extend([self.column_of(node)] * len(found))
        if isinstance(stages[0], BaseUpdate):
            stages.insert(0, build(stages[0].estimator, {}))
            places.insert(0, places[0])
        try:
            check_order(stages)
            check_complete(stages)
        except OrderError as error:
            raise self.error(error.message, places[error.index]) from None
        return Pipeline(tuple(stages))

    def tree(self) -> ast.expr:
        text = self.text
        if len(text) > MOST_CHARACTERS:
            raise self.error(f"a spec has at most {MOST_CHARACTERS} characters, got {len(text)}", MOST_CHARACTERS)
        if not text.strip():
            raise self.error("the spec is empty; write one such as grad | e | lamb(lr=0.01)", 0)
        self.check_characters()
        body = "".join(" " if character.isspace() else character for character in text)
        self.indent = len(body) - len(body.lstrip())
        self.source = body.strip()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return ast.parse(self.source, mode="eval").body
        except SyntaxError as error:
            place = self.indent + max(0, (error.offset or 1) - 1)
            raise self.error(f"can't read this spec: {str(error.msg)[:60]}", min(place, len(text.rstrip()))) from None
        except (ValueError, MemoryError, RecursionError):
            raise self.error("can't read this spec: it is nested too deeply or holds a bad character", 0) from None

    def check_characters(self) -> None:
        depth, quote, escaped = 0, "", False
        for place, character in enumerate(self.text):
            if not (character.isprintable() or character.isspace()):
                raise self.error(f"a spec has no control characters, got {character!r}", place)
            if quote:  # inside a string, until the same quote without a backslash before it
                quote = "" if character == quote and not escaped else quote
                escaped = character == "\\" and not escaped
                continue
            quote = character if character in "'\"" else ""
            if character == "#":
                raise self.error("a spec has no comments", place)
            depth += (character in "([{") - (character in ")]}")
            if depth > MOST_NESTING:
                raise self.error(f"brackets are nested more than {MOST_NESTING} deep", place)

    def stages_of(self, node: ast.expr, first: bool) -> tuple[Stage, ...]:
        """The stages that one link of the chain stands for."""
        function = node.func if isinstance(node, ast.Call) else node
        name = self.name(function)
        if name == DIRECTION:
            return (self.direction(node),)
        known = name in self.own or name in RECIPES or "." in name or is_stage(name)
        if not known:
            hint = nearest(name, [*self.own, *stage_names(), *RECIPES], "stages and recipes", "edsl list")
            raise self.error(f"unknown stage {shown(name)}; {hint}", self.column_of(function))
        try:
            cls = self.own.get(name) or (None if name in RECIPES or "." in name else stage_class(name))
        except EdslError as error:  # a plugin that can't be loaded
            raise self.error(str(error), self.column_of(function)) from None
        if cls is not None and cls.takes_stages:
            return (self.route(cls, name, node),)
        given, nodes = self.arguments(name, node) if isinstance(node, ast.Call) else ({}, {})
        try:
            if name in self.own:
                return (build_class(self.own[name], given),)
            if name in RECIPES:
                stages = expand(name, given).stages
                return stages if first else self.behind(name, stages)
            if "." in name:
                for key, value in given.items():
                    if not is_plain(value):
                        raise FieldError(f"{name}: another package's optimizer takes no schedule in its text", key)
                return (load(FOREIGN)(name, given),)
            return (build(name, given),)
        except FieldError as error:
            at = nodes.get(error.field, function)
            raise self.error(error.message, self.column_of(at)) from None
        except SpecError:
            raise
        except EdslError as error:
            raise self.error(str(error), self.column_of(function)) from None

    def direction(self, node: ast.expr) -> Stage:
        """An update as an adaptor: direction(soap(beta2=0.9))."""
        inner = node.args[0] if isinstance(node, ast.Call) and len(node.args) == 1 and not node.keywords else None
        if inner is None:
            raise self.error("direction is of one update, as in direction(soap(beta2=0.9))", self.column_of(node))
        function = inner.func if isinstance(inner, ast.Call) else inner
        name = self.name(function)
        given, nodes = self.arguments(name, inner) if isinstance(inner, ast.Call) else ({}, {})
        for key in DIRECTION_SETS:
            if key in given:
                said = f"direction sets {key} itself: the step at lr=1, without decay; leave it out"
                raise self.error(said, self.column_of(nodes[key]))
        try:
            if name not in self.own and not is_stage(name):
                hint = nearest(name, [*self.own, *stage_names()], "stages", "edsl list")
                raise EdslError(f"direction is of an update; {shown(name)} is unknown as one; {hint}")
            return build_class(direction_of(self.own.get(name) or stage_class(name)), given)
        except FieldError as error:
            raise self.error(error.message, self.column_of(nodes.get(error.field, function))) from None
        except EdslError as error:
            raise self.error(str(error), self.column_of(function)) from None

    def behind(self, name: str, stages: tuple[Stage, ...]) -> tuple[Stage, ...]:
        """A recipe's stages where others stand before it, which leaves a gradient's estimator to them."""
        if stages[0].name not in ("grad", "hutchinson"):  # an update says itself when it lacks a Hessian
            raise EdslError(
                f"{name} begins with {stages[0].name}, which must come first; "
                f"write only what follows it: {' | '.join(stage.name for stage in stages[1:])}"
            )
        return stages[1:]

    def route(self, cls: Any, name: str, node: ast.expr) -> Stage:
        """A stage whose arguments are stages: by keyword, or in a pair with a pattern of names."""
        call = node if isinstance(node, ast.Call) else ast.Call(node, [], [])
        pairs, kinds, nodes = [], {}, {}
        for entry in call.args:
            pair = entry.elts if isinstance(entry, ast.Tuple) else []
            if len(pair) != 2 or not isinstance(pair[0], ast.Constant) or not isinstance(pair[0].value, str):
                raise self.error(f"{name}: expected a kind=stages or a pair ('name.*', stages)", self.column_of(entry))
            pairs.append((pair[0].value, self.branch(pair[1])))
        for keyword in call.keywords:
            if keyword.arg is None or keyword.arg in kinds:
                raise self.error(f"{name}: each kind is given once, by its name", self.column_of(keyword))
            kinds[keyword.arg] = self.branch(keyword.value)
            nodes[keyword.arg] = keyword
        try:
            return cls.written(pairs, kinds)
        except FieldError as error:
            raise self.error(error.message, self.column_of(nodes.get(error.field, node))) from None
        except EdslError as error:
            raise self.error(str(error), self.column_of(node)) from None

    def branch(self, node: ast.expr) -> Chain:
        stages: list[Stage] = []
        for link in _links(node):
            stages.extend(self.stages_of(link, first=False))
        try:
            return Chain(tuple(stages))
        except OrderError as error:
            raise self.error(error.message, self.column_of(node)) from None

    def name(self, node: ast.expr) -> str:
        if isinstance(node, ast.Name):
            return node.id
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            package = node.value.id
            if package in PACKAGES:
                return f"{package}.{node.attr}"
            said = f"a dotted name is an optimizer of {either(PACKAGES)}, got {package}.{node.attr}"
            raise self.error(said, self.column_of(node))
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            raise self.error(f"write a stage without quotes, got {shown(node.value)}", self.column_of(node))
        raise self.error(f"expected a stage such as e(alpha=-5), got {_what(node)}", self.column_of(node))

    def arguments(self, name: str, call: ast.Call) -> tuple[dict[str, Any], dict[str, ast.AST]]:
        """Values and places of a call's arguments, by name."""
        if call.args:
            raise self.error(f"{name}: arguments are given by name, as in lr=0.01", self.column_of(call.args[0]))
        values: dict[str, Any] = {}
        nodes: dict[str, ast.AST] = {}
        for keyword in call.keywords:
            if keyword.arg is None:
                raise self.error(f"{name}: arguments are given one by one, without **", self.column_of(keyword))
            if keyword.arg in values:
                raise self.error(f"{name}: {keyword.arg} is given twice", self.column_of(keyword))
            values[keyword.arg] = self.value(keyword.value)
            nodes[keyword.arg] = keyword
        return values, nodes

    def value(self, node: ast.expr) -> Any:
        """A literal, or a number on a schedule or of layers."""
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            return read_call(node, self.literal, lambda said, at: self.error(said, self.column_of(at)))
        return self.literal(node)

    def literal(self, node: ast.expr) -> Any:
        if isinstance(node, ast.Constant) and isinstance(node.value, (bool, int, float, str, type(None))):
            return self.number(node) if isinstance(node.value, float) else node.value
        if isinstance(node, (ast.Tuple, ast.List)):
            return tuple(self.literal(item) for item in node.elts)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.UAdd)):
            number = self.literal(node.operand) if isinstance(node.operand, ast.Constant) else None
            if isinstance(number, (int, float)) and not isinstance(number, bool):
                return -number if isinstance(node.op, ast.USub) else number
        raise self.error(f"a value is a number, a string, True, False or None, got {_what(node)}", self.column_of(node))

    def number(self, node: ast.Constant) -> float:
        try:
            return read_number(self.source.encode()[node.col_offset : node.end_col_offset].decode())
        except EdslError as reason:
            raise self.error(str(reason), self.column_of(node)) from None

    def column_of(self, node: ast.AST) -> int:
        """Where a node begins, in characters of the given text; `ast` counts UTF-8 bytes."""
        offset: int = getattr(node, "col_offset", 0)
        return self.indent + len(self.source.encode()[:offset].decode(errors="replace"))

    def error(self, message: str, place: int) -> SpecError:
        return SpecError(message, self.text, place)


def _links(tree: ast.expr) -> list[ast.expr]:
    """The operands of a chain of `|` from left to right, without recursion."""
    links: list[ast.expr] = []
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
            waiting += [node.right, node.left]
        else:
            links.append(node)
    return links


_KINDS = {
    ast.Attribute: "an attribute",
    ast.BinOp: "an arithmetic expression",
    ast.Call: "a call",
    ast.Constant: "a bare value",
    ast.Lambda: "a lambda",
    ast.Name: "a name",
    ast.Starred: "a starred expression",
    ast.Subscript: "a subscript",
    ast.Tuple: "a tuple",
}


def _what(node: ast.expr) -> str:
    if isinstance(node, ast.Name):
        return f"the name {node.id[:40]!r}"
    return _KINDS.get(type(node), "an expression")


def expand(name: str, given: Mapping[str, Any]) -> Any:
    """The pipeline that a recipe expands to.

    Raises:
        FieldError: for an unknown argument or a value outside its domain.
    """
    from edsl.language.arguments import read_arguments
    from edsl.language.doubts import says_betas, settle

    pipeline = parse(RECIPES[name].text)
    arguments = read_arguments(name, given, [*pipeline.keys, "batch_size"], pipeline.betas)
    try:
        expanded = pipeline.override(**arguments.values)
    except FieldError as error:
        raise FieldError(error.message, arguments.given_as.get(error.field, error.field)) from None
    if says_betas(given):
        settle(expanded.stages)
    return expanded
