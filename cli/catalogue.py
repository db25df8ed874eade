"""`edsl list`: the words of the language."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from edsl.cli.render.catalogue import print_catalogue
from edsl.cli.render.page import print_json
from edsl.lab.tasks.catalogue import TASKS
from edsl.language.domain import plain
from edsl.language.registry.lookup import registered_names, stage_class
from edsl.language.registry.recipes import RECIPES


def catalogue(as_json: bool) -> None:
    """Print stages, recipes and tasks."""
    words = {
        "stages": [_stage(name) for name in registered_names()],
        "recipes": [{"recipe": name, "spec": recipe.text, "about": recipe.about} for name, recipe in RECIPES.items()],
        "tasks": [{"task": name, "about": about} for name, (_, about) in TASKS.items()],
        "foreign": "torch.X(…) and torch_optimizer.X(…): any optimizer X of these packages, as a base update",
    }
    if as_json:
        print_json(words)
    else:
        print_catalogue(words)


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
