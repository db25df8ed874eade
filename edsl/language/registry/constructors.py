"""Stages and recipes as functions of their arguments: `edsl.e(alpha=-5)`."""

from __future__ import annotations

import inspect
from typing import Any

from edsl.errors import EdslError, shown
from edsl.language.registry.lookup import is_stage, stage_class


def constructor(name: str) -> Any:
    """A function that builds the stage or recipe of this name from keyword arguments, or None."""
    from edsl.language.caller import warn_user
    from edsl.language.doubts import outside_bounds
    from edsl.language.registry.recipes import RECIPES
    from edsl.language.spec import expand

    if name in RECIPES:

        def build_recipe(*unnamed: Any, **arguments: Any) -> Any:
            _check_named(name, unnamed, is_whole=True)
            pipeline = expand(name, arguments)
            warn_user(outside_bounds(pipeline.stages), (__name__,))
            return pipeline

        build_recipe.__doc__ = f"{RECIPES[name].about}: {RECIPES[name].text}, with any argument of its stages."
        build_recipe.__name__ = build_recipe.__qualname__ = name
        return build_recipe
    if not name.startswith("_") and is_stage(name):
        from edsl.language.registry.build import build

        cls = stage_class(name)
        if cls.takes_stages:
            return cls.called

        def build_stage(*unnamed: Any, **arguments: Any) -> Any:
            _check_named(name, unnamed, is_whole=cls.kind == "base update")
            stage = build(name, arguments)
            warn_user(outside_bounds([stage]), (__name__,))
            return stage

        build_stage.__doc__ = cls.__doc__
        build_stage.__name__ = build_stage.__qualname__ = name
        build_stage.__signature__ = inspect.signature(cls)  # pyright: ignore[reportFunctionMemberAccess]
        return build_stage
    return None


def _check_named(name: str, unnamed: tuple[Any, ...], is_whole: bool) -> None:
    """Raises EdslError for arguments without names, such as parameters, which `edsl.AdamW` takes and `edsl.adamw` not.

    Args:
        is_whole: whether it alone makes an optimizer.
    """
    if unnamed:
        use = f"; edsl.compile(edsl.{name}(), params) is an optimizer" if is_whole else ""
        raise EdslError(f"edsl.{name} takes its arguments by name, got {shown(unnamed[0])} without one{use}")
