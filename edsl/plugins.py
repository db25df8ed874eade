"""Stages that other packages or a user's own file bring.

A package registers a stage under the entry-point group `edsl.stages`, as `name = "module:Class"`. A
file is loaded when it is named, in Python or by `--plugin` on the command line; a spec alone never
imports anything that was not registered.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from functools import lru_cache
from importlib import metadata, util
from pathlib import Path
from typing import Any

from edsl.authored import check_stage, file_of, first_line, line_of
from edsl.errors import EdslError, shown
from edsl.stage import Adaptor, BaseUpdate, Estimator, Stage, Wrapper

GROUP = "edsl.stages"
_KINDS = (Estimator, Adaptor, BaseUpdate, Wrapper)
_loaded: dict[str, type[Stage]] = {}  # by name, from files
_files: set[Path] = set()


@lru_cache
def installed() -> dict[str, str]:
    """The place `module:Class` of each stage that an installed package registers, by name."""
    return {point.name: point.value for point in metadata.entry_points(group=GROUP)}


def loaded() -> dict[str, type[Stage]]:
    """The stages that files brought, by name."""
    return _loaded


def load_plugin(path: Any) -> tuple[str, ...]:
    """Run a Python file and take up the stages that it defines; returns their names.

    The file is the user's own code and runs as such.

    Raises:
        EdslError: when the file can't be run, defines no stage, or one under a name that is taken.
    """
    file = Path(path)
    if not file.is_file():
        raise EdslError(f"plugin {file}: no such file")
    name = f"edsl_plugin_{file.stem}"
    spec = util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise EdslError(f"plugin {file}: expected a Python file, such as my_stage.py")
    module = util.module_from_spec(spec)
    sys.modules[name] = module  # where pickling and dataclasses look for it
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as reason:  # the user's own code may raise anything
        del sys.modules[name]
        raise EdslError(f"plugin {file}{line_of(reason, file)}: {first_line(reason)}") from None
    found = [value for value in vars(module).values() if _is_stage(value) and value.__module__ == name]
    if not found:
        raise EdslError(f"plugin {file}: it defines no stage, a dataclass of a kind such as edsl.stage.Adaptor")
    for cls in found:
        _check_name(cls, file, found)
    _loaded.update({cls.name: cls for cls in found})
    _files.add(file.resolve())
    return tuple(cls.name for cls in found)


def loaded_files() -> tuple[Path, ...]:
    """The files that were loaded, for other processes to load too."""
    return tuple(sorted(_files))


def load_once(paths: Iterable[Any]) -> None:
    """Load the files that this process has not loaded yet; raises EdslError as `load_plugin` does."""
    for path in paths:
        if Path(path).resolve() not in _files:
            load_plugin(path)


def _is_stage(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, _KINDS) and value not in _KINDS


def _check_name(cls: Any, file: Path, found: list[Any]) -> None:
    from edsl.recipes import RECIPES
    from edsl.registry import STAGES

    try:
        check_stage(cls)
    except EdslError as reason:
        raise EdslError(f"plugin {reason}") from None
    before = _loaded.get(cls.name)
    other = "" if before is None or file_of(before) == file_of(cls) else file_of(before)
    if cls.name in STAGES or cls.name in RECIPES or [one.name for one in found].count(cls.name) > 1 or other:
        whose = f" by {other}" if other else ""
        raise EdslError(f"plugin {file}: the name {cls.name!r} is taken{whose}; give {cls.__name__} another")


def checked(name: str, place: str) -> Any:
    """The class at an entry point; raises EdslError when it is no stage of that name."""
    from edsl.registry import load

    try:
        cls = load(place)
    except Exception as reason:  # another package's module may raise anything
        raise EdslError(f"stage {name!r} of {place} can't be loaded: {first_line(reason)}") from None
    if not _is_stage(cls) or cls.name != name:
        raise EdslError(f"{place} is registered as the stage {name!r}, and is {shown(cls)}")
    check_stage(cls)
    return cls
