"""Tasks of one's own: from a file, from a package's entry point, or an object made in Python.

A file is run when it is named; a package registers a task under the entry-point group `edsl.tasks`, as
`name = "module:attribute"`.
"""

from __future__ import annotations

import inspect
import os
import re
import sys
from dataclasses import dataclass, field, fields
from functools import lru_cache, partial
from hashlib import sha256
from pathlib import Path
from textwrap import dedent
from types import ModuleType
from typing import Any

from edsl.errors import EdslError, either, first_line, nearest, shown
from edsl.lab.tasks.check import prepared
from edsl.lab.tasks.installed import installed
from edsl.lab.tasks.task import Task
from edsl.language.registry.blame import line_of

_FILE = re.compile(r"(?P<path>.+\.py)(?::(?P<name>\w*))?$", re.DOTALL)


@dataclass(frozen=True)
class Source:
    """Where a task of one's own comes from, with all that another process needs to make it again.

    Attributes:
        path: the file; "" for an object made in Python.
        text: what the file holds, which is what is run; of an object the text of its functions.
        name: of the task in the file.
        place: "module:attribute" of one that is imported; "" for a file that is run.
        made: the object itself, as it was given.
    """

    path: str
    text: str = field(repr=False)
    name: str
    place: str = ""
    made: Task | None = field(default=None, repr=False, compare=False)

    @property
    def sha256(self) -> str:
        return sha256(self.text.encode()).hexdigest()

    @property
    def label(self) -> str:
        """What messages call it."""
        near = os.path.relpath(self.path) if self.path else self.name
        return self.path if near.startswith("..") else near

    def record(self) -> dict[str, str]:
        """As JSON, the hashes of its text and of its data beside."""
        own = {"path": self.path, "name": self.name, "place": self.place, "sha256": self.sha256, "text": self.text}
        return {**own, "data": data_hash(self)}

    def task(self) -> Task:
        """The task; a file is run once in a process."""
        return _made(self)

    def __reduce__(self) -> Any:
        own = (self.path, self.text, self.name, self.place)
        if self.made is None:
            return Source, own
        import cloudpickle  # by which functions of a notebook travel by value

        return _unpickled, (cloudpickle.dumps((*own, self.made)),)


def _unpickled(held: bytes) -> Source:
    import cloudpickle

    return Source(*cloudpickle.loads(held))


def is_file(text: str) -> bool:
    """Whether a task is written as a Python file, FILE.py or FILE.py:NAME."""
    return _FILE.match(text) is not None


def from_file(text: str) -> Task:
    """The task of FILE.py, or FILE.py:NAME where it holds several.

    The file is the user's own code and runs as such.

    Raises:
        EdslError: for a file that can't be read or run, or that holds no such task.
    """
    found = _FILE.match(text)
    assert found is not None  # is_file has seen to it
    path = Path(found["path"])
    source = Source(str(path.resolve()), _text(path), "")
    tasks = _tasks(_module(source))
    name = found["name"] or _only(tasks, path)
    return Source(source.path, source.text, name).task()


def from_package(name: str) -> Task:
    """The task that an installed package registers under this name."""
    return _imported(installed()[name]).task()


def from_object(task: Task) -> Task:
    """A task made in Python, ready to be raced: taken from its file where it is imported from one.

    Raises:
        EdslError: for what is no `edsl.Task`.
    """
    if not isinstance(task, Task):
        raise EdslError(f"task must be an edsl.Task, a task's name or a file such as mytask.py, got {shown(task)}")
    if task.source is not None:
        return task
    modules = {getattr(part, "__module__", "") for part in (task.data, task.loss, *task.builders.values())}
    for module in [sys.modules[name] for name in sorted(map(str, modules - {"__main__"})) if name in sys.modules]:
        name = next((key for key, value in vars(module).items() if value is task), "")
        file = getattr(module, "__file__", None) or ""
        if name and file.endswith(".py"):
            if getattr(module, "__package__", ""):
                return _imported(f"{module.__name__}:{name}").task()
            return Source(str(Path(file).resolve()), _text(Path(file)), name).task()
    return Source("", _described(task), task.name or "task", made=task).task()


def find_again(held: dict[str, str], whose: str) -> Source:
    """The source that something was recorded with.

    Args:
        whose: what was, for the message: "the race in runs/a".

    Raises:
        EdslError: for a file that is gone or was changed, with what changed, and for an object, which only Python
            code can give again.
    """
    before = Source(held["path"], held["text"], held["name"], held["place"])
    if before.sha256 != held["sha256"]:
        raise EdslError(f"the task of {whose} is damaged: its text and its sha256 differ in race.json")
    if before.place:
        try:
            now = _imported(before.place)
        except EdslError as reason:
            raise EdslError(f"{whose}: {reason}") from None
    elif not before.path:
        raise EdslError(
            f"the task {before.name!r} of {whose} was made in Python: call edsl.compare with it, out= and resume=True, "
            "or result.report()"
        )
    elif not Path(before.path).is_file():
        raise EdslError(
            f"the task {before.label} of {whose} is missing (sha256 {before.sha256[:12]}): restore the file"
        )
    else:
        now = Source(before.path, _text(Path(before.path)), before.name)
    if now.text != before.text:
        raise EdslError(
            f"the task {before.label} has changed since {whose} began: {changed(before.text, now.text)}; restore it, "
            "or choose another --out"
        )
    return now


def changed(before: str, now: str) -> str:
    """The first line that differs between two texts, and how many more do.

    Example:
        >>> from edsl.lab.tasks.own import changed
        >>> changed("a = 1\\nb = 2\\n", "a = 1\\nb = 3\\n")
        'line 2 was `b = 2`, is `b = 3`'
    """
    from difflib import SequenceMatcher

    old, new = before.splitlines(), now.splitlines()
    blocks = [block for block in SequenceMatcher(None, old, new, False).get_opcodes() if block[0] != "equal"]
    if not blocks:
        return "the ends of its lines"
    _, a, b, c, d = blocks[0]
    pairs = zip(old[a].strip(), new[c].strip()) if b > a and d > c else []
    same = next((place for place, (one, other) in enumerate(pairs) if one != other), 0)
    was, is_now = (f"`{_around(lines[0], same)}`" if lines else "not there" for lines in (old[a:b], new[c:d]))
    more = sum(max(b - a, d - c) for _, a, b, c, d in blocks) - 1
    said = f"line {(a if b > a else c) + 1} was {was}, is {is_now}"
    return said + (f", and {more} line{'s' if more > 1 else ''} more" if more else "")


def _around(line: str, place: int, most: int = 44) -> str:
    """What of a line is about a place, in so many characters."""
    line = line.strip()
    first = max(0, min(place - most // 2, len(line) - most))
    return f"{'…' * (first > 0)}{line[first : first + most]}{'…' * (first + most < len(line))}"


@lru_cache(maxsize=8)
def _made(source: Source) -> Task:
    if source.made is not None:
        return prepared(source.made, source)
    if source.place:
        return prepared(_checked(_loaded(source.place), source), source)
    tasks = vars(_module(Source(source.path, source.text, "")))
    if source.name not in tasks:
        names = [name for name, value in tasks.items() if isinstance(value, Task)]
        raise EdslError(f"task {source.label}: it has no {source.name!r}; {nearest(source.name, names, 'its tasks')}")
    return prepared(_checked(tasks[source.name], source), source)


@lru_cache(maxsize=8)
def _module(source: Source) -> ModuleType:
    """A file's text, run as a module; what it imports from its own folder is found."""
    file = Path(source.path)
    name = f"edsl_task_{file.stem}"
    module = ModuleType(name)
    module.__file__ = source.path
    sys.modules[name] = module  # where pickling and dataclasses look for it
    if str(file.parent) not in sys.path:
        sys.path.append(str(file.parent))
    try:
        exec(compile(source.text, source.path, "exec", dont_inherit=True), vars(module))
    except (Exception, SystemExit) as reason:  # the user's own code may raise anything
        raise EdslError(f"task {source.label}{line_of(reason, file)}: {first_line(reason)}") from None
    return module


def _tasks(module: ModuleType) -> dict[str, Task]:
    """The tasks that a module holds, each under its first name."""
    found: dict[str, Task] = {}
    for name, value in vars(module).items():
        if isinstance(value, Task) and not any(value is other for other in found.values()):
            found[name] = value
    return found


def _only(tasks: dict[str, Task], path: Path) -> str:
    if not tasks:
        raise EdslError(
            f"task {path}: no edsl.Task found; make one, such as task = edsl.Task(data=…, models=…, loss=…), or begin "
            "with: edsl new task NAME"
        )
    if len(tasks) > 1:
        raise EdslError(f"task {path}: it holds {len(tasks)} tasks; name one: {path}:{either(tasks)}")
    return next(iter(tasks))


def _checked(value: Any, source: Source) -> Task:
    if not isinstance(value, Task):
        raise EdslError(f"task {source.label}: {source.name or source.place} must be an edsl.Task, got {shown(value)}")
    return value


def _imported(place: str) -> Source:
    """The source of a task that is imported."""
    _loaded(place)
    file = inspect.getsourcefile(sys.modules[place.partition(":")[0]])
    text = "" if file is None else _text(Path(file))
    return Source(file or "", text, place.partition(":")[2], place)


def _loaded(place: str) -> Any:
    """What a place `module:attribute` names, imported."""
    from edsl.language.registry.stages import load

    try:
        return load(place)
    except Exception as reason:  # another package's module may raise anything
        raise EdslError(f"task {place} can't be loaded: {first_line(reason)}") from None


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode()
    except OSError as reason:
        said = "a folder; expected a Python file" if path.is_dir() else reason.strerror
        raise EdslError(f"task {path}: {said if path.exists() else 'no such file'}") from None
    except UnicodeDecodeError:
        raise EdslError(f"task {path}: expected Python text in UTF-8") from None


def _described(task: Task) -> str:
    """What an object is, as text: its values, and the source of its functions with the plain values they refer to."""
    lines = []
    for part in fields(task):
        value = getattr(task, part.name)
        if part.name not in ("source", "data") or callable(value):
            lines.append(f"{part.name}: {_as_text(value)}")
    return "\n".join(lines)


def _as_text(value: Any) -> str:
    if isinstance(value, dict):
        return "\n".join(f"{key}: {_as_text(part)}" for key, part in value.items())
    if not callable(value):
        return repr(value)
    if isinstance(value, partial):
        return f"{_as_text(value.func)} {value.args} {value.keywords}"
    try:
        text = dedent(inspect.getsource(value))
        seen = inspect.getclosurevars(value) if inspect.isfunction(value) else None
    except (OSError, TypeError):  # written at a prompt, or in C
        return str(getattr(value, "__qualname__", type(value).__name__))
    names = {} if seen is None else {**seen.globals, **seen.nonlocals}
    plain = {name: held for name, held in names.items() if isinstance(held, (int, float, str, bool, tuple))}
    return text + "".join(f"{name} = {held!r}\n" for name, held in sorted(plain.items()))


@lru_cache(maxsize=8)
def data_hash(source: Source) -> str:
    """What changes when any number of a task's data does; of rows that are made when asked for, the first 64."""
    import torch

    from edsl.lab.data.rows import Rows

    found = sha256()

    def take(part: Any) -> None:
        if isinstance(part, Rows):
            for name, column in part.items():
                found.update(name.encode())
                take(column)
        elif isinstance(part, torch.Tensor):
            found.update(f"{part.dtype}{tuple(part.shape)}".encode())
            found.update(part.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
        else:
            found.update(str(len(part)).encode())
            first = part[:64]
            if isinstance(first, (Rows, torch.Tensor)):
                take(first)

    for split in source.task().data():
        for part in split:
            take(part)
    return found.hexdigest()[:16]
