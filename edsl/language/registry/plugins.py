"""Stages that other packages or a user's own file bring.

A package registers a stage under the entry-point group `edsl.stages`, as `name = "module:Class"`. A
file is loaded when it is named, in Python or by `--plugin` on the command line; a spec alone never
imports anything that was not registered.
"""

from __future__ import annotations

import dataclasses
import inspect
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import unified_diff
from functools import lru_cache
from hashlib import sha256
from importlib import metadata, util
from pathlib import Path
from typing import Any

from edsl.errors import EdslError, first_line, shown
from edsl.language.registry.blame import file_of, line_of
from edsl.language.stage import Adaptor, BaseUpdate, Estimator, Stage, Wrapper, check_authored

GROUP = "edsl.stages"
_KINDS = (Estimator, Adaptor, BaseUpdate, Wrapper)
_loaded: dict[str, type[Stage]] = {}  # by name, from files
_plugins: dict[type[Stage], Plugin] = {}  # what brought each class


@lru_cache
def installed() -> dict[str, str]:
    """The place `module:Class` of each stage that an installed package registers, by name."""
    return {point.name: point.value for point in metadata.entry_points(group=GROUP)}


def loaded() -> dict[str, type[Stage]]:
    """The stages that files brought, by name."""
    return _loaded


@dataclass(frozen=True)
class Plugin:
    """A file with stages: its path, its text, and the hash of its text.

    Attributes:
        place: the entry point `module:Class` of an installed package's, which is imported; "" for a file that is run.
    """

    path: str
    text: str = dataclasses.field(repr=False)
    place: str = ""

    @property
    def sha256(self) -> str:
        return sha256(self.text.encode()).hexdigest()

    def record(self) -> dict[str, str]:
        """As JSON, its hash beside."""
        return {"path": self.path, "sha256": self.sha256, "text": self.text, "place": self.place}

    @classmethod
    def read(cls, path: Any) -> Plugin:
        """What a file holds now; raises EdslError when it can't be read."""
        file = Path(path)
        try:
            return cls(str(file.resolve()), file.read_bytes().decode())
        except OSError as reason:
            if file.is_dir():
                said = "a folder; expected a Python file"
            else:
                said = reason.strerror if file.exists() else "no such file"
            raise EdslError(f"plugin {file}: {said}") from None
        except UnicodeDecodeError:
            raise EdslError(f"plugin {file}: expected Python text in UTF-8") from None


def load_plugin(path: Any) -> tuple[str, ...]:
    """Run a Python file and take up the stages that it defines; returns their names.

    The file is the user's own code and runs as such.

    Raises:
        EdslError: when the file can't be run, defines no stage, or one under a name that is taken.
    """
    return _load(Plugin.read(path), Path(path))


def _load(plugin: Plugin, file: Path) -> tuple[str, ...]:
    """Run a plugin's text, the same that its hash is of, and take up its stages."""
    name = f"edsl_plugin_{file.stem}"
    spec = util.spec_from_file_location(name, plugin.path)
    if spec is None:
        raise EdslError(f"plugin {file}: expected a Python file, such as my_stage.py")
    module = util.module_from_spec(spec)
    sys.modules[name] = module  # where pickling and dataclasses look for it
    try:
        exec(compile(plugin.text, plugin.path, "exec", dont_inherit=True), vars(module))
    except (Exception, SystemExit) as reason:  # the user's own code may raise anything
        del sys.modules[name]
        raise EdslError(f"plugin {file}{line_of(reason, file)}: {first_line(reason)}") from None
    found = [value for value in vars(module).values() if _is_stage(value) and value.__module__ == name]
    if not found:
        raise EdslError(
            f"plugin {file}: no stage found; define a frozen dataclass that subclasses edsl.stage.Adaptor, BaseUpdate, "
            "Estimator or Wrapper"
        )
    for cls in found:
        _check_name(cls, file, found)
    _loaded.update({cls.name: cls for cls in found})
    _plugins.update(dict.fromkeys(found, plugin))
    return tuple(cls.name for cls in found)


def plugins_of(stages: Iterable[Stage]) -> tuple[Plugin, ...]:
    """The files that brought these stages, each once: the user's, and modules of installed packages."""
    found = [_plugins.get(type(stage)) or _installed_of(type(stage)) for stage in stages]
    return tuple(dict.fromkeys(plugin for plugin in found if plugin is not None))


def _installed_of(cls: type[Stage]) -> Plugin | None:
    """The module of a class that a package registered, or None for edsl's own and for Python's without source."""
    from edsl.language.registry.stages import STAGES

    place = installed().get(cls.name, "") if cls.name not in STAGES else ""
    file = inspect.getsourcefile(cls) if place else None
    return None if file is None else dataclasses.replace(Plugin.read(file), place=place)


def load_once(paths: Iterable[Any]) -> tuple[Plugin, ...]:
    """Load the files that this process has not loaded yet; all of them, as they were loaded."""
    found = []
    for path in paths:
        place = str(Path(path).resolve())
        if place not in {plugin.path for plugin in _current()}:
            load_plugin(path)
        found += [plugin for plugin in _current() if plugin.path == place]
    return tuple(dict.fromkeys(found))


def _current() -> list[Plugin]:
    """The plugins whose stages are in use."""
    return [_plugins[cls] for cls in _loaded.values() if cls in _plugins]


def load_held(plugins: Iterable[Plugin]) -> None:
    """Load texts whose stages this process has not loaded, or has of another text, as a worker does of its race."""
    for plugin in plugins:
        if not plugin.place and plugin not in _current():
            _load(plugin, Path(plugin.path))


def find_again(plugins: Iterable[Plugin], whose: str) -> None:
    """Load plugins that something was made with, from where they lay, unless the same text is loaded already.

    Args:
        whose: what was made with them, for the message: "the race in runs/a".

    Raises:
        EdslError: for a file that is gone, or holds another text now, with the lines that differ.
    """
    for plugin in plugins:
        if not plugin.place and plugin.sha256 in {one.sha256 for one in _current()}:
            continue
        now = _now(plugin, whose)
        if now.sha256 != plugin.sha256:
            raise EdslError(
                f"plugin {plugin.path} has changed since {whose} began: sha256 {plugin.sha256[:12]} then, "
                f"{now.sha256[:12]} now; restore the old file, or start over in another folder\n"
                f"{difference(plugin.text, now.text)}"
            )
        if not plugin.place:
            _load(now, Path(plugin.path))


def _now(plugin: Plugin, whose: str) -> Plugin:
    """What a plugin's file, or the module of its entry point, holds now; raises EdslError where it is gone."""
    if plugin.place:
        names = {place: name for name, place in installed().items()}
        file = inspect.getsourcefile(checked(names[plugin.place], plugin.place)) if plugin.place in names else None
        if file is None:
            raise EdslError(f"the package of {plugin.place}, a stage of {whose}, is not installed: install it again")
        return Plugin.read(file)
    if not Path(plugin.path).is_file():
        raise EdslError(
            f"plugin {plugin.path} of {whose} is missing (sha256 {plugin.sha256[:12]}); restore it, or pass a copy "
            "with --plugin"
        )
    return Plugin.read(plugin.path)


def difference(before: str, now: str, most: int = 8) -> str:
    """The lines that differ between two texts, − of the first and + of the second."""
    lines = list(unified_diff(before.splitlines(), now.splitlines(), lineterm="", n=0))
    changed = [line for line in lines[2:] if not line.startswith("@@")]
    more = [f"… and {len(changed) - most} lines more"] if len(changed) > most else []
    return "\n".join(f"    {line}" for line in [*changed[:most], *more])


def _is_stage(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, _KINDS) and value not in _KINDS


def _check_name(cls: Any, file: Path, found: list[Any]) -> None:
    from edsl.language.registry.recipes import RECIPES
    from edsl.language.registry.stages import STAGES

    try:
        check_authored(cls)
    except EdslError as reason:
        raise EdslError(f"plugin {reason}") from None
    before = _loaded.get(cls.name)
    other = "" if before is None or file_of(before) == file_of(cls) else file_of(before)
    if cls.name in STAGES or cls.name in RECIPES or [one.name for one in found].count(cls.name) > 1 or other:
        whose = f" by {other}" if other else ""
        raise EdslError(f"plugin {file}: the name {cls.name!r} is taken{whose}; give {cls.__name__} another")


def checked(name: str, place: str) -> Any:
    """The class at an entry point; raises EdslError when it is no stage of that name."""
    from edsl.language.registry.stages import load

    try:
        cls = load(place)
    except Exception as reason:  # another package's module may raise anything
        raise EdslError(f"stage {name!r} of {place} can't be loaded: {first_line(reason)}") from None
    if not _is_stage(cls) or cls.name != name:
        raise EdslError(f"{place} is registered as the stage {name!r}, and is {shown(cls)}")
    check_authored(cls)
    return cls
