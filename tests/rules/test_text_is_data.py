"""A text of rules is data: read, checked and refused, never executed, whatever it says."""

from __future__ import annotations

import sys
import time
from typing import Any

import pytest

import edsl
from edsl.errors import SpecError
from edsl.language.registry.lookup import stage_class, stage_names
from edsl.language.rules.syntax.source import NO_FILE
from tests.rules.random_rules import RIGHT, text

_seen: list[str] = []
_watching = False
_OURS = ("<rule ", "<string>")  # the code of a rule's step; the classes that Python's own factories make


def _watch(event: str, arguments: Any) -> None:
    if not _watching:
        return
    if event == "exec" and not str(getattr(arguments[0], "co_filename", "")).startswith(_OURS):
        _seen.append(f"{event} {arguments[0]}")
    elif event == "open" and arguments[0] == NO_FILE:
        return  # Python's parser, which wants to quote the line of a mistake
    elif event in ("open", "import") or event.partition(".")[0] in ("os", "subprocess", "socket", "shutil", "ctypes"):
        _seen.append(f"{event} {arguments}")


sys.addaudithook(_watch)


def read(made: str) -> tuple[str, float]:
    """What becomes of a text: its pipeline's line, or the error; and the seconds that it took this process."""
    global _watching
    begun = time.process_time()  # others may keep the machine busy
    _watching = True
    try:
        said = edsl.parse(made).line
    except SpecError as error:
        said = str(error)
        assert said.splitlines()[-1].strip() == "^" or "the text ends without a pipeline" in said, made
    finally:
        _watching = False
    return said, time.process_time() - begun


def check(seeds: range) -> None:
    for name in stage_names():
        stage_class(name)  # whose modules are imported on first use
    for made in RIGHT:
        edsl.parse(made)
    _seen.clear()
    slow, right = {}, 0
    for seed in seeds:
        said, seconds = read(text(seed))
        right += "^" not in said
        if seconds > 1:
            slow[seed] = seconds
    assert not slow
    assert not _seen
    assert 0.02 < right / len(seeds) < 0.9  # neither all right nor all wrong


def test_1000_changed_texts_are_pipelines_or_errors_with_a_caret():
    check(range(1000))


@pytest.mark.slow
def test_10000_changed_texts_are_pipelines_or_errors_with_a_caret():
    check(range(1000, 11000))


def test_what_parses_prints_a_text_that_reads_back_the_same():
    found = 0
    for seed in range(400):
        try:
            pipeline = edsl.parse(text(seed))
        except SpecError:
            continue
        found += 1
        again = edsl.parse(str(pipeline))
        assert again == pipeline
        assert str(again) == str(pipeline)
    assert found > 20
