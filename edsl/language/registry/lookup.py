"""The stage of a name: one of edsl's own, a rule of a file, a plugin's, or an entry of the zoo, in this order."""

from __future__ import annotations

from typing import Any

from edsl.errors import EdslError, nearest
from edsl.language.registry.stages import ENTRY, STAGES, load
from edsl.language.registry.zoo import zoo_names
from edsl.language.rules.names import loaded_rules


def stage_names() -> list[str]:
    """The names of all stages, the zoo's last."""
    return list(dict.fromkeys([*registered_names(), *zoo_names()]))


def registered_names() -> list[str]:
    """The names of all stages but the zoo's, plugins' last."""
    from edsl.language.registry.plugins import installed, loaded

    return list(dict.fromkeys([*STAGES, *loaded_rules(), *loaded(), *installed()]))


def is_stage(name: str) -> bool:
    """Whether a stage of this name is known; no plugin or entry of the zoo is loaded for it."""
    return name in STAGES or name in stage_names()


def stage_class(name: str) -> Any:
    """The class of a registered stage.

    Raises:
        EdslError: for an unknown name, with the nearest known one, or a plugin that can't be loaded.
    """
    if name in STAGES:
        return load(STAGES[name])
    from edsl.language.registry.plugins import checked, installed, loaded

    if name in loaded_rules():
        return loaded_rules()[name]
    if name in loaded():
        return loaded()[name]
    if name in installed():
        return checked(name, installed()[name])
    if name in zoo_names():
        return load(ENTRY)(name)
    from edsl.language.registry.recipes import RECIPES

    raise EdslError(f"unknown stage {name!r}; {nearest(name, [*stage_names(), *RECIPES], 'stages and recipes')}")
