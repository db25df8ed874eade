"""A race's folder: its configuration, and one line of JSON for each finished trial.

A line is written whole and flushed to the disk before the next trial begins, so a killed race loses
at most the trial in flight; a line cut short by the kill is dropped when the race is resumed.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from edsl.errors import EdslError

CONFIGURATION = "race.json"
TRIALS = "trials.jsonl"


class Record:
    """The folder of one race.

    Raises:
        EdslError: when the folder can't be written, holds another race, or holds this one and
            `resume` is not said.
    """

    def __init__(self, folder: Path, configuration: dict[str, Any], resume: bool) -> None:
        self.folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._open(configuration, resume)
        except OSError as reason:
            raise EdslError(f"can't write results to {folder}: {reason.strerror or reason}") from None

    def _open(self, configuration: dict[str, Any], resume: bool) -> None:
        place = self.folder / CONFIGURATION
        if place.exists():
            try:
                before = json.loads(place.read_text())
            except ValueError:
                raise EdslError(f"{place} is not JSON; name another --out") from None
            if before != configuration:
                raise EdslError(
                    f"{self.folder} holds another race ({_difference(before, configuration)}); name another --out"
                )
            if not resume:
                raise EdslError(f"{self.folder} holds this race already; --resume finishes it, or name another --out")
        elif (self.folder / TRIALS).exists():
            raise EdslError(f"{self.folder} holds {TRIALS} without {CONFIGURATION}; name another --out")
        else:
            whole = place.with_suffix(".tmp")
            whole.write_text(json.dumps(configuration, indent=2, ensure_ascii=False) + "\n")
            whole.replace(place)
        self.finished = self._read()
        (self.folder / TRIALS).touch()

    def _read(self) -> list[dict[str, Any]]:
        place = self.folder / TRIALS
        if not place.exists():
            return []
        lines = place.read_bytes().split(b"\n")
        finished, whole = [], b""
        for number, line in enumerate(lines[:-1], start=1):
            try:
                finished.append(json.loads(line))
            except ValueError:
                raise EdslError(f"{place}, line {number} is not JSON; mend or delete that line") from None
            whole += line + b"\n"
        if lines[-1]:  # cut short by a kill
            place.write_bytes(whole)
        return finished

    def append(self, trial: dict[str, Any]) -> None:
        """Add a finished trial, on the disk when this returns."""
        try:
            with (self.folder / TRIALS).open("a") as file:
                file.write(json.dumps(trial, ensure_ascii=False) + "\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as reason:
            raise EdslError(f"can't write results to {self.folder}: {reason.strerror or reason}") from None
        self.finished.append(trial)


def _difference(before: Any, now: dict[str, Any]) -> str:
    if not isinstance(before, dict):
        return "its configuration can't be read"
    return "; ".join(
        f"{key} {before.get(key)!r} there, {now.get(key)!r} here"
        for key in dict.fromkeys([*before, *now])
        if before.get(key) != now.get(key)
    )
