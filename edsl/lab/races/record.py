"""A race's folder: its configuration, and one line of JSON for each finished trial.

A line is written whole and flushed to the disk before the next trial begins, so a killed race loses
at most the trial in flight; a line cut short by the kill is dropped when the race is resumed.
"""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from edsl.errors import EdslError
from edsl.lab.tasks.own import changed
from edsl.lab.trials.trial import STATUSES, Trial

CONFIGURATION = "race.json"
TRIALS = "trials.jsonl"
_ALWAYS = {field.name for field in fields(Trial) if field.default is MISSING}


class Record:
    """The folder of one race. One that is resumed may have more seeds than it began with.

    Raises:
        EdslError: when the folder can't be written, holds another race, or holds this one and
            `resume` is not said.
    """

    def __init__(self, folder: Path, configuration: dict[str, Any], resume: bool) -> None:
        self.folder = folder
        self._extension: dict[str, Any] | None = None  # what replaces the configuration once the folder is ours
        with self._writing():
            new = [place for place in (folder, *folder.parents) if not place.exists()]
            try:
                folder.mkdir(parents=True, exist_ok=True)
                self._open(configuration, resume)
            except OSError:
                for place in new:  # the innermost first
                    with suppress(OSError):  # it was not made
                        place.rmdir()
                raise

    @contextmanager
    def _writing(self, hint: str = "") -> Iterator[None]:
        try:
            yield
        except OSError as reason:
            raise EdslError(f"can't write results to {self.folder}: {reason.strerror or reason}{hint}") from None

    def _open(self, configuration: dict[str, Any], resume: bool) -> None:
        place = self.folder / CONFIGURATION
        if place.exists():
            before = read_configuration(self.folder)
            extends = resume and _extends(before, configuration)
            if _agreed(before) != _agreed(configuration) and not extends:
                raise EdslError(
                    f"{self.folder} holds another race ({_difference(before, configuration)}); choose another --out"
                )
            if not resume:
                raise EdslError(
                    f"{self.folder} holds this race already; continue it with --resume, or choose another --out"
                )
            self._extension = configuration if extends else None
        elif (self.folder / TRIALS).exists():
            raise EdslError(f"{self.folder} holds {TRIALS} without {CONFIGURATION}; choose another --out")
        else:
            self._write_configuration(configuration)
        (self.folder / TRIALS).touch()
        self.finished = self._read()[0]

    def _write_configuration(self, configuration: dict[str, Any]) -> None:
        text = json.dumps(configuration, indent=2, ensure_ascii=False) + "\n"
        self._write_whole(self.folder / CONFIGURATION, text)

    def _write_whole(self, place: Path, text: str) -> None:
        part = place.with_suffix(".tmp")
        try:
            part.write_text(text)
            part.replace(place)
        except OSError:
            part.unlink(missing_ok=True)
            raise

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder alone; the lock goes with the process, however it ends.

        Raises:
            EdslError: when another process holds it.
        """
        try:
            import fcntl
        except ImportError:  # Windows has no such lock
            yield
            return
        with self._writing():
            held = (self.folder / TRIALS).open("a")
        with held:
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise EdslError(f"another process is running the race in {self.folder}; wait for it") from None
            self.finished, whole = self._read()
            with self._writing():
                os.truncate(held.name, whole)  # drops a line cut short by a kill, and can't lose another
                if self._extension is not None:
                    self._write_configuration(self._extension)
            yield

    def _read(self) -> tuple[list[dict[str, Any]], int]:
        """The finished trials, and how many bytes their lines take."""
        return _read(self.folder / TRIALS)

    def append(self, trial: dict[str, Any]) -> None:
        """Add a finished trial, on the disk when this returns."""
        with (
            self._writing(f"; edsl compare --resume --out {shlex.quote(str(self.folder))} finishes the race"),
            (self.folder / TRIALS).open("a") as file,
        ):
            file.write(json.dumps(trial, ensure_ascii=False) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self.finished.append(trial)


def finished_in(folder: Path) -> list[dict[str, Any]]:
    """The finished trials of a folder; raises EdslError for a line that is none."""
    return _read(folder / TRIALS)[0]


def _read(place: Path) -> tuple[list[dict[str, Any]], int]:
    if not place.exists():
        return [], 0
    lines = place.read_bytes().split(b"\n")
    finished = []
    for number, line in enumerate(lines[:-1], start=1):
        try:
            trial = json.loads(line, parse_constant=_not_json)
        except (ValueError, RecursionError):
            raise EdslError(f"{place}, line {number} is not JSON; fix or delete that line") from None
        if not is_trial(trial):
            raise EdslError(f"{place}, line {number} is not a trial's result; fix or delete that line")
        finished.append(trial)
    return finished, sum(len(line) + 1 for line in lines[:-1])


def read_configuration(folder: Path) -> Any:
    """What race a folder holds; raises EdslError when it holds none."""
    place = folder / CONFIGURATION
    try:
        return json.loads(place.read_text())
    except OSError as reason:
        raise EdslError(
            f"{folder} holds no race: {place.name} can't be read ({reason.strerror}); name a race's --out"
        ) from None
    except (ValueError, RecursionError):
        raise EdslError(f"{place} is not JSON: restore it, or run the race again in another folder") from None


def is_trial(value: Any) -> bool:
    """Whether a line of trials.jsonl is what a trial writes."""
    if not isinstance(value, dict) or not value.keys() >= _ALWAYS:
        return False
    texts = all(isinstance(value[key], str) for key in ("spec", "status", "reason"))
    figures = ("train_loss", "test_loss", "test_accuracy", "step_ms", "optimizer_ms", "first_step_s", "state_bytes")
    numbers = all(value[key] is None or type(value[key]) in (int, float) for key in figures)
    points = all(
        isinstance(value[key], list) and all(isinstance(point, dict) for point in value[key])
        for key in ("checkpoints", "measured")
    )
    return texts and numbers and points and type(value["seed"]) is int and value["status"] in STATUSES


def _not_json(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _agreed(configuration: Any) -> Any:
    """What two configurations of one race agree in: plugins and tasks by their hashes, wherever they lie."""
    if not isinstance(configuration, dict):
        return configuration
    hashes = [plugin["sha256"] for plugin in _listed(configuration, "plugins", "sha256")]
    source = configuration.get("source") or {}
    tuning = {"space": "", "prune": False, **(configuration.get("tuning") or {})}
    own = [source.get(key) for key in ("name", "sha256", "data")]
    looks = configuration.get("looks", [])
    return {**configuration, "plugins": hashes, "source": own, "tuning": tuning, "looks": looks}


def _extends(before: Any, now: dict[str, Any]) -> bool:
    """Whether a race is one that was there before, with more seeds."""
    held = before.get("seeds") if isinstance(before, dict) else None
    more = isinstance(held, int) and held < now.get("seeds", 0)
    return more and _agreed({**before, "seeds": 0}) == _agreed({**now, "seeds": 0})


def _listed(configuration: dict[str, Any], name: str, *keys: str) -> list[dict[str, Any]]:
    """A list of mappings that have these keys, or nothing."""
    found = configuration.get(name)
    whole = isinstance(found, list) and all(isinstance(one, dict) and set(keys) <= one.keys() for one in found)
    return found if whole and found is not None else []


def _difference(before: Any, now: dict[str, Any]) -> str:
    if not isinstance(before, dict):
        return "its configuration can't be read"
    there, here = _flat(before), _flat(now)
    said = [
        f"{key} {there.get(key)!r} in the record, {here.get(key)!r} here"
        for key in dict.fromkeys([*there, *here])
        if there.get(key) != here.get(key)
    ]
    specs = [{e["spec"]: e["name"] for e in _listed(one, "entrants", "spec", "name")} for one in (before, now)]
    for place, ours, others in (("in the record", specs[0], specs[1]), ("here", specs[1], specs[0])):
        names = [name for spec, name in ours.items() if spec not in others]
        if names:
            said.append(f"only {place}: {', '.join(names)}")
    said += [*_plugins_that_differ(before, now), *_source_that_differs(before, now)]
    return "; ".join(said) or "the order or the names of its optimizers"


def _plugins_that_differ(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    there, here = (
        {Path(plugin["path"]).name: plugin["sha256"][:12] for plugin in _listed(one, "plugins", "path", "sha256")}
        for one in (before, now)
    )
    return [
        f"plugin {name} {there.get(name, 'not')} in the record, {here.get(name, 'not')} here"
        for name in dict.fromkeys([*there, *here])
        if there.get(name) != here.get(name)
    ]


def _source_that_differs(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """What changed of a task of one's own."""
    there, here = before.get("source"), now.get("source")
    if not isinstance(there, dict) or not isinstance(here, dict):
        return ["a task of its own on one side only"] if there != here else []
    whose = f"the task {Path(here['path']).name or here['name']}"
    if there.get("sha256") != here["sha256"]:
        return [f"{whose} has changed: {changed(str(there.get('text')), here['text'])}"]
    if there.get("data") != here["data"]:
        return [f"the data of {whose} have changed: sha256 {there.get('data')} in the record, {here['data']} here"]
    return []


def _flat(configuration: dict[str, Any]) -> dict[str, Any]:
    """A configuration without its optimizers, nested values under their own names."""
    flat: dict[str, Any] = {}
    for key, value in configuration.items():
        if isinstance(value, dict) and key != "source":
            flat |= {f"{key}.{name}": part for name, part in value.items()}
        elif key not in ("entrants", "plugins", "source"):
            flat[key] = value
    return flat
