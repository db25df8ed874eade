"""`edsl new`: files to begin with, each with its test."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources, util
from keyword import iskeyword
from pathlib import Path

from edsl.cli.render.page import print_text
from edsl.errors import EdslError, either, shown
from edsl.lab.tasks.catalogue import TASKS
from edsl.language.registry.lookup import stage_names
from edsl.language.registry.recipes import RECIPES
from edsl.language.registry.stages import PACKAGES
from edsl.language.rules.texts import read_rules


@dataclass(frozen=True)
class Kind:
    """A kind of file to begin with.

    Attributes:
        suffix: of the file.
        use: a command that shows it at work.
    """

    suffix: str
    use: str


KINDS: Mapping[str, Kind] = {
    "stage": Kind(".py", "edsl --plugin {path} show 'grad | {name} | sgd'"),
    "rule": Kind(".edsl", "edsl show @{path}"),
    "task": Kind(".py", "edsl compare alto lamb --task {path}"),
}
_TEMPLATES = "edsl.cli.templates"


def new(kind: str, name: str) -> None:
    """Write NAME.py, or NAME.edsl for a rule, and test_NAME.py, which pass as they are; existing files stay.

    Raises:
        EdslError: for an unknown kind, a name that is none or is taken, and files that can't be written.
    """
    if kind not in KINDS:
        raise EdslError(f"edsl new writes a {either(KINDS)}, got {shown(kind)}")
    chosen = KINDS[kind]
    path = Path(name if name.endswith(chosen.suffix) else f"{name}{chosen.suffix}")
    _check_name(kind, path.stem)
    test = path.with_name(f"test_{path.stem}.py")
    texts = {path: _text(f"{kind}{chosen.suffix}", kind, path.stem), test: _text(f"test_{kind}.py", kind, path.stem)}
    if kind == "rule":
        read_rules(texts[path], str(path))  # whose language has words of its own
    for file in texts:
        if os.path.lexists(file):  # Path.exists raises for names that are too long
            raise EdslError(f"{file} exists already; choose another name")
    _write_all(texts)
    print_text(f"{path}: try {chosen.use.format(path=path, name=path.stem)}\n{test}: pytest {test}")


def _check_name(kind: str, name: str) -> None:
    """Raises EdslError for a name that a file of this kind can't have."""
    if not name.isidentifier() or not name.isascii() or iskeyword(name) or name.startswith("_"):
        raise EdslError(f"name a file by letters, digits and _, such as my{kind}, got {shown(name)}")
    taken: dict[str, object] = {**dict.fromkeys(TASKS, "a task")} if kind == "task" else {}
    if kind != "task":
        taken = {**dict.fromkeys(stage_names(), "a stage"), **dict.fromkeys(RECIPES, "a recipe")}
        taken.update(dict.fromkeys(PACKAGES, "a package that specs name"))
    if name in taken:
        raise EdslError(f"{name} is {taken[name]} of edsl already; choose another name")
    if KINDS[kind].suffix == ".py" and _is_module(name):
        raise EdslError(f"{name} is a Python module, which {name}.py would hide; choose another name")


def _is_module(name: str) -> bool:
    """Whether `import NAME` finds something, but for a file here."""
    if name in sys.stdlib_module_names:
        return True
    found = util.find_spec(name)
    return found is not None and (found.origin is None or Path(found.origin).parent != Path.cwd())


def _text(template: str, kind: str, name: str) -> str:
    """A template with its names changed."""
    text = resources.files(_TEMPLATES).joinpath(template).read_text(encoding="utf-8")
    title = "".join(part[:1].upper() + part[1:] for part in name.split("_"))
    return text.replace(f"my_{kind}", name).replace(f"My{kind.title()}", title)


def _write_all(texts: Mapping[Path, str]) -> None:
    """Write all files, or none."""
    written: list[Path] = []
    for path, text in texts.items():
        try:
            with path.open("x", encoding="utf-8") as file:
                written.append(path)
                file.write(text)
        except OSError as reason:
            for done in written:
                done.unlink()
            if isinstance(reason, FileExistsError):
                raise EdslError(f"{path} exists already; choose another name") from None
            raise EdslError(f"can't write {path}: {reason.strerror or reason}") from None
