"""Classes of stages from definitions, each made once for a text.

A class depends on its definition and on all rules that it runs: their canonical text is its key. It is kept while
somebody uses it, so that kernels are found again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, make_dataclass
from typing import Any
from weakref import WeakValueDictionary

from edsl.errors import EdslError, FieldError, nearest
from edsl.language.arguments import stands_for
from edsl.language.domain import Domain, Whole
from edsl.language.hyperparameters import GROUP_KEYS
from edsl.language.reductions import asks_of_all
from edsl.language.rules.calls import Call, Variant
from edsl.language.rules.code import folded
from edsl.language.rules.names import combined, ordered
from edsl.language.rules.paths import Path, check_size, paths_of
from edsl.language.rules.shapes import shapes_of
from edsl.language.rules.stage import KINDS, RuleStage
from edsl.language.rules.syntax.canonical import canonical
from edsl.language.rules.syntax.parameters import domain_of, field_of
from edsl.language.rules.syntax.source import Source
from edsl.language.rules.syntax.tree import (
    AS_ROWS,
    Definition,
    Function,
    Name,
    Parameter,
    Several,
    StageCall,
    called,
    walk,
)
from edsl.language.rules.syntax.words import VALUES, WORDS
from edsl.language.schedules.reading import SCHEDULES
from edsl.language.stage import BaseUpdate, Estimator, Stage, Wrapper

MOST_STAGES = 64  # of a rule with all that it runs
TAKEN = GROUP_KEYS | {  # and what other packages write into groups, or a call may be given
    *("mode", "spec", "state_dtype", "reformat", "differentiable", "initial_lr", "max_lr", "min_lr"),
    *("capturable", "foreach", "fused", "model", "self", "step"),
}


@dataclass(frozen=True)
class Outside:
    """The stages that a text does not define.

    Attributes:
        find: a class by its name, None for none. names: all of them, for messages.
    """

    find: Callable[[str], Any]
    names: Callable[[], Iterable[str]]

    def beside(self, made: Mapping[str, Any]) -> Outside:
        """These, and those that a text has defined so far, which come first."""
        return Outside(lambda name: made.get(name) or self.find(name), lambda: [*made, *self.names()])


_made: WeakValueDictionary[tuple[str, str], type[RuleStage]] = WeakValueDictionary()


def classes_of(definitions: Mapping[str, Definition], source: Source, outside: Outside) -> dict[str, type[RuleStage]]:
    """The classes of a text's definitions, by name.

    Raises:
        SpecError: for a rule that calls itself, or what can't be a stage, with a caret.
    """
    check_size({one: {p.name: domain_of(p) for p in one.parameters} for one in definitions.values()}, source)
    made: dict[str, type[RuleStage]] = {}
    for name in _in_order(definitions, source):
        made[name] = _class_of(definitions[name], source, outside.beside(made))
    return made


def _in_order(definitions: Mapping[str, Definition], source: Source) -> list[str]:
    """The names, the called before the callers; raises SpecError for a circle."""
    done: dict[str, None] = {}

    def visit(name: str, above: tuple[str, ...]) -> None:
        if name in above:
            circle = " calls ".join((*above[above.index(name) :], name))
            source.refuse(f"a rule can't run itself: {circle}", definitions[above[-1]])
        if name not in done:
            for one in called(definitions[name]):
                if one in definitions:
                    visit(one, (*above, name))
            done[name] = None

    for name in definitions:
        visit(name, ())
    return list(done)


def _class_of(definition: Definition, source: Source, outside: Outside) -> type[RuleStage]:
    within = {name: _found(name, definition, source, outside) for name in called(definition)}
    try:
        below = combined([*within.values()])
    except EdslError as reason:
        source.refuse(f"{definition.name}: {reason}", definition)
    if definition.name in below:
        source.refuse(f"{definition.name} runs another rule of its own name: give it another", definition)
    definitions = ordered([*below.values(), definition])
    text = canonical(definitions)
    return _made.get((text, definition.name)) or _new_class(definition, definitions, text, source, within)


def _found(name: str, definition: Definition, source: Source, outside: Outside) -> type[Stage]:
    """The class of a stage that a rule runs, which must be one that can run within another."""
    node = next(one for one in walk(*definition.body) if isinstance(one, StageCall) and one.name == name)
    kind = outside.find(name)
    if kind is None:
        if name in SCHEDULES:
            said = f"{name} is a schedule, which stands where a rule is called: {definition.name}(lr={name}(…))"
            source.refuse(said, node)
        hint = nearest(name, [*WORDS, *outside.names()], "words and stages", "edsl list")
        source.refuse(f"unknown function or stage {name}; {hint}", node)
    reason = why_not_within(kind)
    if reason:
        source.refuse(f"{name} can't run within a rule: {reason}", node)
    if issubclass(kind, Wrapper) and definition.kind == "adaptor":
        source.refuse(f"{name} is a wrapper: an adaptor has no step to wrap", node)
    for one in walk(*definition.body):
        if isinstance(one, StageCall) and one.name == name and one.is_direction and not issubclass(kind, BaseUpdate):
            source.refuse(f"direction is of an update, and {name} is {_article(kind)}", one)
    return kind


def _article(kind: type[Stage]) -> str:
    return f"{'an' if kind.kind[0] in 'aeiou' else 'a'} {kind.kind}"


def why_not_within(kind: type[Stage]) -> str:
    """Why a stage can't run within another; "" where it can."""
    if issubclass(kind, Estimator):
        return "it is an estimator, which comes first of a pipeline"
    if kind.takes_stages:
        return "it takes stages: write it in the pipeline"
    if not kind.__module__.startswith("edsl."):
        return "it is not edsl's own, and a text must say all that it runs"
    if kind.name == "guard" or _keeps_weights(kind):
        return "it is about the whole step: write it in the pipeline"
    return ""


def _nodes(path: Path) -> Iterable[Any]:
    return walk(*path.steps, path.value)


def _keeps_weights(kind: Any) -> bool:
    """Whether a stage keeps weights to evaluate with."""
    variants = kind.variants.values() if issubclass(kind, RuleStage) else ()
    return kind.name == "ema_weights" or any(variant.path.weights for variant in variants)


def _new_class(
    definition: Definition,
    definitions: tuple[Definition, ...],
    text: str,
    source: Source,
    within: Mapping[str, type[Stage]],
) -> type[RuleStage]:
    parameters = _with_seed(definition)
    base = KINDS[definition.kind]
    for one in parameters:
        if one.name in TAKEN or hasattr(base, one.name):
            source.refuse(f"a hyper-parameter can't be called {one.name}; choose another name", one)
    return class_with(
        definition,
        definitions,
        text,
        source,
        within,
        domains={one.name: domain_of(one) for one in parameters},
        hyperparameters=[field_of(one) for one in parameters],
        base=base,
        extra={"__doc__": definition.about or f"The rule {definition.name}: `edsl show` prints its recurrence."},
    )


def class_with(
    definition: Definition,
    definitions: tuple[Definition, ...],
    text: str,
    source: Source,
    within: Mapping[str, type[Stage]],
    domains: Mapping[str, Domain],
    hyperparameters: list[tuple[str, Any, Any]],
    base: Any,
    extra: Mapping[str, Any],
) -> type[RuleStage]:
    """The class of a definition, made once for its text.

    Args:
        definitions: all rules that it needs, itself among them where it is one. text: theirs.
        within: the classes of the stages that it runs, by name. extra: attributes of the class.
    """
    known = _made.get((text, definition.name))
    if known is not None:
        return known
    paths = paths_of(definition, domains, source)
    labelled = _labelled(definition, domains, source, within)
    words = frozenset().union(*(path.words for path in paths))
    matrix = any((WORDS.get(word) or VALUES[word]).is_matrix for word in words)
    inner = [call.kind for call in labelled.values()]
    count = 1 + sum(getattr(kind, "count", 1) for kind in inner)
    if count > MOST_STAGES:
        source.refuse(f"{definition.name} is {count} stages with all that it runs, at most {MOST_STAGES}", definition)
    betas = tuple(name for name in domains if name.startswith("beta") and name[4:].isdigit())
    namespace = {
        "__module__": RuleStage.__module__,
        "name": definition.name,
        "rule": definition,
        "text": text,
        "definitions": definitions,
        "source": source,
        "asked": tuple(name for name, _ in paths[0].choice),
        "domains": domains,
        "variants": _variants(paths, labelled, definition, source),
        "programs": {},
        "count": count,
        "is_matrix": matrix or any(kind.is_matrix for kind in inner),
        "takes_vectors": _takes_vectors(definition, matrix, labelled.values(), source),
        "stacks": all(kind.stacks for kind in inner if kind.is_matrix),
        "reads_matrix": any(word in WORDS and WORDS[word].is_matrix and word != "orthogonal" for word in words)
        or any(kind.reads_matrix for kind in inner),
        "needs_probe": any(kind.needs_probe for kind in inner),
        "needs_noise": "normal" in words or any(kind.needs_noise for kind in inner),
        "counts": any(isinstance(domains.get(name), Whole) for path in paths for name in path.values_read),
        **({"betas": betas if len(betas) > 1 else ()} if issubclass(base, BaseUpdate) else {}),
        **extra,
    }
    made: Any = make_dataclass(
        definition.name, hyperparameters, bases=(base,), namespace=namespace, frozen=True, eq=False
    )
    made.__module__ = RuleStage.__module__  # which dataclasses set to their caller's
    _try(made, source)
    _made[text, definition.name] = made
    return made


def _takes_vectors(definition: Definition, is_matrix: bool, within: Iterable[Call], source: Source) -> bool:
    """Whether a vector is a row to a rule of matrices, as it says, or as all matrix stages that it runs do.

    Raises:
        SpecError: for one that says so where it can't, or where that says nothing.
    """
    matrices = [call for call in within if call.kind.is_matrix]
    refusing = next((call for call in matrices if not call.kind.takes_vectors), None)
    if definition.takes_vectors and refusing is not None:
        source.refuse(
            f"{definition.name} can't take {AS_ROWS}: {refusing.kind.name} takes matrices alone", refusing.node
        )
    if definition.takes_vectors and not is_matrix and not matrices:
        said = f"{definition.name} asks about no row or column, so it takes vectors as they are: leave out {AS_ROWS}"
        source.refuse(said, definition)
    return refusing is None and (definition.takes_vectors or not is_matrix)


def _variants(
    paths: Sequence[Path], labelled: Mapping[int, Call], definition: Definition, source: Source
) -> dict[tuple[Any, ...], Variant]:
    """A rule for each choice of its switches."""
    found = {}
    for path in paths:
        calls = tuple(labelled[id(node)] for node in path.calls)
        found[tuple(value for _, value in path.choice)] = Variant(path, shapes_of(path, definition, source), calls)
    return found


def _with_seed(definition: Definition) -> tuple[Parameter, ...]:
    """A rule's hyper-parameters, with a seed where it draws noise."""
    draws = any(isinstance(node, Name) and node.name == "normal" for node in walk(*definition.body))
    if not draws or any(one.name == "seed" for one in definition.parameters):
        return definition.parameters
    return (*definition.parameters, Parameter("seed", "whole", (), 0, place=definition.place))


def _labelled(
    definition: Definition, domains: Mapping[str, Domain], source: Source, within: Mapping[str, type[Stage]]
) -> dict[int, Call]:
    """The stages that a rule runs by the identity of their nodes, each with a label of its own."""
    found: dict[int, Call] = {}
    taken: set[str] = set()
    for node in walk(*definition.body):
        if not isinstance(node, StageCall):
            continue
        label, n = node.name, 1
        while label in taken:
            n += 1
            label = f"{node.name}_{n}"
        taken.add(label)
        kind = within[node.name]
        found[id(node)] = Call(label, kind, _arguments(node, kind, domains, source), node)
    return found


def _arguments(node: StageCall, kind: Any, domains: Mapping[str, Domain], source: Source) -> dict[str, Any]:
    """A stage's arguments by its fields' names."""
    known = [field.name for field in fields(kind)]
    found: dict[str, Any] = {}
    for name, value in node.arguments:
        targets = (name,) if name in known else stands_for(name, {"": getattr(kind, "betas", ())})
        values = value.values if isinstance(value, Several) else (value,)
        if not targets or not all(target in known for target in targets):
            source.refuse(f"{node.name}: unknown argument {name}; {nearest(name, known, 'it has')}", value)
        if len(values) != len(targets):
            source.refuse(f"{node.name}: {name} must be {len(targets)} value{'s'[: len(targets) > 1]}", value)
        for target, one in zip(targets, values):
            if target in found:
                source.refuse(f"{node.name}: {target} is given twice", one)
            if node.is_direction and target in ("lr", "weight_decay"):
                source.refuse(f"direction sets {target} itself: −Δθ at lr=1, without decay; leave it out", one)
            found[target] = one
    for value in found.values():
        for one in walk(value):
            if isinstance(one, Name) and one.name not in domains:
                hint = nearest(one.name, domains, "hyper-parameters") if domains else "this rule has none"
                source.refuse(f"an argument of {node.name} is of numbers and hyper-parameters; {hint}", one)
            if not isinstance(one, Name) and type(one).__name__ in ("Function", "StageCall"):
                source.refuse(f"an argument of {node.name} is of numbers and hyper-parameters alone", one)
    return found


def _try(kind: Any, source: Source) -> None:
    """Build the stages within for each choice of its switches, and it itself for the first.

    Raises:
        SpecError: for one that can't be built.
    """
    for node in walk(*kind.rule.body):
        folded(node, source)
    for choice, variant in kind.variants.items():
        given = dict(zip(kind.asked, choice))
        asking: Any = next(
            (one for one in _nodes(variant.path) if isinstance(one, Function) and one.name == "total"), None
        )
        refreshing = ""
        for call in variant.calls:
            try:
                stage = call.built(lambda name, given=given: given.get(name, getattr(kind, name)))
            except FieldError as reason:
                source.refuse(reason.message, call.arguments.get(reason.field, call.node))
            except EdslError as reason:
                source.refuse(str(reason), call.node)
            refreshing = stage.name if stage.refresh_every else refreshing
            asking = call.node if stage.needs_total_norm or asks_of_all(stage) else asking
        if refreshing and asking:
            said = f"{kind.name} asks for a total and runs {refreshing}, which refreshes: write two rules, one for each"
            source.refuse(said, asking)
    try:
        kind()
    except FieldError as reason:
        source.refuse(reason.message, kind.rule)
