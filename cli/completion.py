"""What a shell offers behind the words that are there: stages, recipes, entries of the zoo, packages, tasks, suites."""

from __future__ import annotations

import re
from collections.abc import Iterator

from edsl.errors import EdslError
from edsl.language.registry.lookup import stage_class, stage_names
from edsl.language.registry.recipes import RECIPES
from edsl.language.registry.stages import PACKAGES, load

_LAST = re.compile(r"[\w.]*$")
KINDS = ("estimator", "adaptor", "update", "wrapper", "recipe", "task", "suite")  # what `edsl list` lists
_HOLDS_STAGES = ("route", "direction")

Offer = tuple[str, str]  # a word, and what it is


def specs(incomplete: str) -> list[Offer]:
    """Specs that go on by a stage where one may stand."""
    last = _LAST.findall(incomplete)[0]
    before = incomplete.removesuffix(last)
    return [(before + name, about) for name, about in _stages(last)] if _may_be_stage(before) else []


def tasks(incomplete: str) -> list[Offer]:
    """Tasks, of whose names not all come with data; of a collection its parts."""
    from edsl.lab.tasks.catalogue import PARTS, TASKS
    from edsl.lab.tasks.installed import installed

    parts = {f"{name}:{part}": TASKS[name][1] for name, own in PARTS.items() for part in own}
    own = {name: about for name, (_, about) in TASKS.items() if name not in PARTS}
    others = {name: f"a task of a package, {place}" for name, place in installed().items()}
    return _begun({**own, **parts, **others}, incomplete)


def suites(incomplete: str) -> list[Offer]:
    """Named sets of tasks."""
    from edsl.lab.races.suites import SUITES

    return _begun({name: suite.about for name, suite in SUITES.items()}, incomplete)


def kinds(incomplete: str) -> list[Offer]:
    """Kinds of what has a name."""
    return _begun(dict.fromkeys(KINDS, ""), incomplete)


def words(incomplete: str) -> list[Offer]:
    """Whatever has a name: stages, recipes, packages, tasks, suites."""
    return [*_stages(incomplete), *tasks(incomplete), *suites(incomplete)]


def _begun(offers: dict[str, str], incomplete: str) -> list[Offer]:
    return [(name, about) for name, about in offers.items() if name.startswith(incomplete)]


def entrants(incomplete: str) -> list[Offer]:
    """Tasks and specs: the first word of a race may be either."""
    return [*tasks(incomplete), *specs(incomplete)]


def _may_be_stage(before: str) -> bool:
    """Whether a stage may stand behind a text: at its beginning, behind a |, and where a stage holds stages."""
    rest = before.rstrip()
    if rest and rest[-1] not in "|(=,":
        return False
    opened: list[str] = []  # the names of the calls that are still open
    for name, bracket in re.findall(r"(\w*)\s*([()])", before):
        if bracket == "(":
            opened.append(name)
        elif opened:
            opened.pop()
    holder = opened[-1] if opened else ""
    if rest[-1:] in ("", "|"):
        return holder in ("", *_HOLDS_STAGES)
    return (rest[-1] == "(" and holder in ("", "direction")) or (rest[-1] == "=" and holder == "route")


def _stages(begun: str) -> Iterator[Offer]:
    """What begins so, with what it is."""
    package, dot, begun_class = begun.partition(".")
    if dot:
        yield from _classes(package, begun_class)
        return
    for name in stage_names():
        if name.startswith(begun):
            yield name, _about(name)
    for name, recipe in RECIPES.items():
        if name.startswith(begun):
            yield name, recipe.about
    for name, (_, project) in PACKAGES.items():
        if name.startswith(begun):
            yield f"{name}.", f"an optimizer of the package {project}"


def _about(name: str) -> str:
    try:
        return str(stage_class(name).__doc__).strip().splitlines()[0]
    except EdslError:  # a plugin that can't be loaded
        return ""


def _classes(package: str, begun: str) -> Iterator[Offer]:
    """The optimizers of a package, if it is installed."""
    try:
        known = load("edsl.optim.foreign.packages:optimizers_of")(package) if package in PACKAGES else {}
    except EdslError:
        return
    yield from ((f"{package}.{name}", "") for name in known if name.startswith(begun))
