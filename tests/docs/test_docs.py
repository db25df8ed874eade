"""What README, docs and docstrings show is what happens."""

import contextlib
import doctest
import importlib
import io
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCKS = [
    (f"{page.relative_to(ROOT)}:{number}", block)
    for page in PAGES
    for number, block in enumerate(re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL))
]
ROOMS = {"edsl": ROOT / "edsl", **{f"edsl.{folder}": ROOT / folder for folder in ("adapters", "theory", "cli")}}
MODULES = [
    ".".join((room, *path.relative_to(folder).with_suffix("").parts))
    for room, folder in ROOMS.items()
    for path in sorted(folder.rglob("*.py"))
    if "templates" not in path.parts  # what `edsl new` copies
]


@pytest.mark.parametrize(("name", "block"), BLOCKS, ids=[name for name, _ in BLOCKS])
def test_block_runs_and_prints_what_its_comments_say(name, block, monkeypatch):
    out = io.StringIO()
    module = ModuleType("docs_block")  # one that the compiler can import, as a user's own would be
    monkeypatch.setitem(sys.modules, "docs_block", module)
    with contextlib.redirect_stdout(out):
        exec(compile(block, name, "exec"), vars(module))
    printed = out.getvalue().rstrip("\n").splitlines()
    said = [line[2:].rstrip() for line in block.splitlines() if line.startswith("# ")]
    assert [line.rstrip() for line in printed] == said


@pytest.mark.parametrize("name", [name.removesuffix(".__init__") for name in MODULES])
def test_docstring_examples_hold(name):
    module = importlib.import_module(name)
    assert module.__doc__, "every file says what it is"
    assert doctest.testmod(module).failed == 0


def test_spec_of_the_demo_is_in_the_readme():
    demo = re.search(r"\tedsl compare .*|\$\(BIN\)/(edsl compare .*)", (ROOT / "Makefile").read_text())
    assert demo is not None
    assert demo.group(1) in (ROOT / "README.md").read_text()
