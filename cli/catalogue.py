"""`edsl list`: what has a name, whole, by kind, or one in detail."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields
from typing import Any

from edsl.cli.completion import KINDS
from edsl.cli.details import detail
from edsl.cli.render.catalogue import print_catalogue, print_zoo
from edsl.cli.render.details import print_detail
from edsl.cli.render.page import print_json, print_note
from edsl.errors import EdslError, either, nearest, shown
from edsl.lab.races.suites import SUITES
from edsl.lab.tasks.catalogue import TASKS
from edsl.lab.tasks.installed import installed
from edsl.language.domain import plain
from edsl.language.registry.lookup import registered_names, stage_class
from edsl.language.registry.recipes import RECIPES
from edsl.language.registry.stages import PACKAGES
from edsl.language.registry.zoo import zoo_names

_OF_STAGES = {"update": "base update"}  # a kind's own name, where it differs


def catalogue(name: str | None, kind: str | None, zoo: bool, as_json: bool) -> None:
    """Print one in detail, the zoo, one kind, or all."""
    asked = [said for said, given in (("NAME", name), ("--kind", kind), ("--zoo", zoo)) if given]
    if len(asked) > 1:
        raise EdslError(f"edsl list shows one thing: give {either(asked)}, not both")
    found: dict[str, Any]
    show: Callable[[Any], None]
    if name is not None:
        found, show = detail(name), print_detail
    elif zoo:
        found, show = {"zoo": [_entry(one) for one in zoo_names()]}, print_zoo
    else:
        found, show = _words() if kind is None else _of_kind(kind), print_catalogue
    if as_json:
        print_json(found)
    else:
        show(found)


def _words() -> dict[str, Any]:
    return {
        "stages": [_stage(name) for name in _loadable(registered_names())],
        **{f"{kind}s": _listed(kind) for kind in ("recipe", "task", "suite")},
        "zoo": f"edsl list --zoo: the literature's optimizers, {len(zoo_names())} more stages written as rules",
        "foreign": f"PACKAGE.X(…): any optimizer X of {either(PACKAGES)}, as a base update",
        "detail": "edsl list NAME: one of these in detail",
    }


def _of_kind(kind: str) -> dict[str, Any]:
    if kind not in KINDS:
        raise EdslError(f"unknown kind {shown(kind)}; {nearest(kind, KINDS, 'kinds')}")
    if kind in ("recipe", "task", "suite"):
        return {f"{kind}s": _listed(kind)}
    said = _OF_STAGES.get(kind, kind)
    names = [name for name in _loadable(registered_names()) if stage_class(name).kind == said]
    entries = [name for name in zoo_names() if stage_class(name).kind == said]
    found: dict[str, Any] = {"stages": [_stage(name) for name in names]}
    if entries:
        found["zoo"] = f"and of the zoo (edsl list --zoo): {', '.join(entries)}"
    if kind == "update":
        found["foreign"] = f"and PACKAGE.X(…): any optimizer X of {either(PACKAGES)}"
    return found


def _loadable(names: Iterable[str]) -> Iterator[str]:
    """Names of stages without those of other packages that can't be loaded, which are told."""
    for name in names:
        try:
            stage_class(name)
        except EdslError as reason:
            print_note(f"left out: {reason}")
        else:
            yield name


def _listed(kind: str) -> list[dict[str, str]]:
    """Recipes, tasks or suites, with what they are."""
    if kind == "recipe":
        return [{"recipe": name, "spec": recipe.text, "about": recipe.about} for name, recipe in RECIPES.items()]
    if kind == "suite":
        return [{"suite": name, "about": suite.about} for name, suite in SUITES.items()]
    own = [{"task": name, "about": about} for name, (_, about) in TASKS.items()]
    return own + [{"task": name, "about": f"of a package, {place}"} for name, place in installed().items()]


def _entry(name: str) -> dict[str, str]:
    cls = stage_class(name)
    about, source = about_and_source(cls.__doc__)
    return {"entry": name, "kind": cls.kind, "about": about, "source": source}


def about_and_source(doc: str | None) -> tuple[str, str]:
    """The first line of an entry's docstring, and the rest, which begins with its source, as one line."""
    about, *rest = (doc or "").strip().split("\n\n")
    return about, " ".join(" ".join(rest).split())


def _stage(name: str) -> dict[str, Any]:
    cls = stage_class(name)
    return {
        "stage": name,
        "kind": cls.kind,
        "about": cls.__doc__.splitlines()[0],
        "betas": [name for name in getattr(cls, "betas", ()) if name in {field.name for field in fields(cls)}],
        "arguments": {
            field.name: {"default": plain(field.default), "domain": str(field.metadata["domain"])}
            for field in fields(cls)
        },
    }
