"""`edsl list`: the words of the language."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from edsl.cli.render.catalogue import print_catalogue, print_zoo
from edsl.cli.render.page import print_json
from edsl.errors import either
from edsl.lab.tasks.catalogue import TASKS
from edsl.language.domain import plain
from edsl.language.registry.lookup import registered_names, stage_class
from edsl.language.registry.recipes import RECIPES
from edsl.language.registry.stages import PACKAGES
from edsl.language.registry.zoo import zoo_names


def catalogue(as_json: bool) -> None:
    """Print stages, recipes and tasks."""
    words = {
        "stages": [_stage(name) for name in registered_names()],
        "recipes": [{"recipe": name, "spec": recipe.text, "about": recipe.about} for name, recipe in RECIPES.items()],
        "tasks": [{"task": name, "about": about} for name, (_, about) in TASKS.items()],
        "zoo": f"edsl list --zoo: the literature's optimizers, {len(zoo_names())} more stages written as rules",
        "foreign": f"PACKAGE.X(…): any optimizer X of {either(PACKAGES)}, as a base update",
    }
    if as_json:
        print_json(words)
    else:
        print_catalogue(words)


def zoo_catalogue(as_json: bool) -> None:
    """Print the entries of the zoo, with their sources."""
    entries = [_entry(name) for name in zoo_names()]
    if as_json:
        print_json({"zoo": entries})
    else:
        print_zoo(entries)


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
