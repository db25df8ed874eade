"""The house itself: how it installs, who imports whom, and how much a room, a file and a function hold."""

from __future__ import annotations

import ast
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = {"edsl": "edsl", "adapters": "edsl.adapters", "theory": "edsl.theory", "cli": "edsl.cli"}

# From the ground up: a room imports rooms above it in this list of rows and itself, never one below, and none beside
# it in its row. A name stands for a module or for a room with all that is in it; the longest that fits decides.
LAYERS = (
    ("edsl.errors", "edsl.as_json", "edsl.zoo"),
    ("edsl.plotting", "edsl.numerics"),
    ("edsl.language.schedules",),
    ("edsl.language",),
    ("edsl.distributed",),
    ("edsl.estimators", "edsl.updates", "edsl.wrappers", "edsl.adapters"),
    ("edsl.step",),
    ("edsl.groups",),
    ("edsl.codegen",),
    ("edsl.kernels",),
    ("edsl.engine",),
    ("edsl.optim",),
    ("edsl", "edsl.stage", "edsl.costs", "edsl.theory.text"),
    ("edsl.theory.systems",),
    ("edsl.theory.stability",),
    ("edsl.theory.statements", "edsl.theory.certificates"),
    ("edsl.theory.design",),
    ("edsl.theory.equivalence", "edsl.theory.regret"),
    ("edsl.theory",),
    (
        "edsl.lab.closure",
        "edsl.lab.models",
        "edsl.lab.measures",
        "edsl.lab.landscapes.landscapes",
        "edsl.lab.tasks.task",
    ),
    ("edsl.lab.data", "edsl.lab.landscapes"),
    ("edsl.lab.tasks",),
    ("edsl.lab.trials",),
    ("edsl.lab.races",),
    ("edsl.lab.results",),
    ("edsl.lab.executors", "edsl.lab.report"),
    ("edsl.lab.benchmarks",),
    ("edsl.lab", "edsl.lab.claims", "edsl.lab.verify"),
    ("edsl.cli.render",),
    ("edsl.cli",),
)

# Packages beside Python's own, and the only rooms that import them.
EXTERNAL = {
    "torch": (
        *(
            "edsl.numerics",
            "edsl.distributed",
            "edsl.step",
            "edsl.groups",
            "edsl.codegen",
            "edsl.kernels",
            "edsl.engine",
        ),
        *("edsl.optim", "edsl.costs", "edsl.lab", "edsl.cli.landscape", "edsl.cli.templates"),
    ),
    "torch_optimizer": ("edsl.optim",),
    "triton": ("edsl.kernels",),
    "numpy": ("edsl.numerics", "edsl.theory", "edsl.lab"),
    "scipy": ("edsl.theory", "edsl.lab"),
    "sympy": ("edsl.theory",),
    "gymnasium": ("edsl.lab.tasks",),
    "matplotlib": ("edsl.plotting", "edsl.theory.stability", "edsl.lab"),
    "typer": ("edsl.cli.main", "edsl.cli.analysis", "edsl.cli.racing", "edsl.cli.options"),
    "click": ("edsl.cli.main", "edsl.cli.analysis", "edsl.cli.racing", "edsl.cli.options"),
    "rich": ("edsl.cli.render",),
}

MOST_AT_THE_ROOT = 8
MOST_IN_A_ROOM = 12
ANY_NUMBER = ("edsl.updates", "edsl.lab.claims", "edsl.lab.tasks", "edsl.cli", "edsl.cli.render")  # a file a thing
MOST_LINES = {"a file": 400, "a class": 250, "a function": 60}
TOO_LONG_YET = ()


class Import(NamedTuple):
    """One import of one module, wherever it stands."""

    module: str
    imported: str
    line: int

    def __str__(self) -> str:
        return f"{self.module}, line {self.line}: {self.imported}"


@cache
def modules() -> dict[str, Path]:
    found = {}
    for folder, package in FOLDERS.items():
        for path in (ROOT / folder).rglob("*.py"):
            parts = [package, *path.relative_to(ROOT / folder).with_suffix("").parts]
            found[".".join(part for part in parts if part != "__init__")] = path
    return found


def is_for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def at_run_time(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those under TYPE_CHECKING."""
    for child in ast.iter_child_nodes(node):
        if not is_for_types(child):
            yield child
            yield from at_run_time(child)
        else:
            for other in child.orelse:  # pyright: ignore[reportAttributeAccessIssue]
                yield other
                yield from at_run_time(other)


def imports_in(module: str, text: str) -> Iterator[Import]:
    """Every import in every function of a module's text, of submodules by their own names."""
    for node in at_run_time(ast.parse(text)):
        if isinstance(node, ast.Import):
            for name in node.names:
                yield Import(module, name.name, node.lineno)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}, line {node.lineno}: imports are absolute"
            for name in node.names:
                inner = f"{node.module}.{name.name}"
                yield Import(module, inner if inner in modules() else str(node.module), node.lineno)


@cache
def all_imports() -> tuple[Import, ...]:
    return tuple(one for module, path in modules().items() for one in imports_in(module, path.read_text()))


def floor(module: str) -> tuple[int, str]:
    """The row of LAYERS that a module belongs to, and its name there."""
    rows = {name: row for row, names in enumerate(LAYERS) for name in names}
    while module not in rows:
        module = module.rpartition(".")[0]
    return rows[module], module


def climbs(one: Import) -> bool:
    """Whether an import goes upwards, or sideways to another room of its row."""
    (own, room), (other, target) = floor(one.module), floor(one.imported)
    return other > own or (other == own and room != target)


def is_foreign_here(one: Import) -> bool:
    rooms = EXTERNAL.get(one.imported.split(".")[0])
    return rooms is not None and not any(f"{one.module}.".startswith(f"{room}.") for room in rooms)


def wrong(imports: Iterator[Import] | tuple[Import, ...]) -> list[str]:
    return [
        str(one) for one in imports if (climbs(one) if one.imported.split(".")[0] == "edsl" else is_foreign_here(one))
    ]


def test_wheel_holds_all_packages_under_edsl_and_nothing_beside(tmp_path):
    program = "from setuptools import build_meta; build_meta.build_wheel(__import__('sys').argv[1])"
    source = tmp_path / "source"
    subprocess.run(["git", "clone", "-q", str(ROOT), str(source)], check=True)
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True, cwd=source, capture_output=True)
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        names = wheel.namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"edsl"}
    tracked = subprocess.run(["git", "ls-files", *FOLDERS], cwd=ROOT, capture_output=True, text=True, check=True)
    for path in tracked.stdout.split():
        assert (path if path.startswith("edsl/") else f"edsl/{path}") in names


@pytest.mark.parametrize("package", ["adapters", "theory", "cli"])
def test_second_copy_of_a_mapped_package_is_refused(package):
    run = subprocess.run([sys.executable, "-c", f"import {package}"], capture_output=True, text=True, cwd=ROOT)
    assert run.returncode != 0
    assert f"import this package as edsl.{package}" in run.stderr


def test_imports_point_downwards_only():
    assert not wrong(all_imports())


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("edsl.wrappers.decay", "import torch"),
        ("edsl.adapters.guard", "    import torch.nn"),
        ("edsl.language.spec", "    from edsl.updates.route import Route"),
        ("edsl.step.plan", "    from edsl.engine import engine"),
        ("edsl.theory.text.notation", "from torch import Tensor"),
        ("edsl.updates.lamb", "from edsl.adapters.exploration import Exploration"),
        ("edsl.lab.races.race", "import rich"),
        ("edsl.cli.compare", "    import typer"),
    ],
)
def test_an_arrow_upwards_is_seen_wherever_it_stands(module, line):
    assert not wrong(imports_in(module, modules()[module].read_text()))
    planted = f"def planted():\n{line}\n" if line.startswith(" ") else f"{line}\n"
    assert len(wrong(imports_in(module, f"{modules()[module].read_text()}\n\n{planted}"))) == 1


def test_no_modules_import_each_other_in_a_circle():
    below = {module: set[str]() for module in modules()}
    for one in all_imports():
        if one.imported in below and one.imported != one.module:
            below[one.module].add(one.imported)
    while free := [module for module, needed in below.items() if not needed & below.keys()]:
        for module in free:
            del below[module]
    assert not {module: sorted(needed & below.keys()) for module, needed in below.items()}


def test_the_root_and_its_rooms_are_small():
    root = [path.name for path in (ROOT / "edsl").iterdir() if path.is_file()]
    assert len(root) <= MOST_AT_THE_ROOT, root
    for folder in {path.parent for path in modules().values()} - {ROOT / "edsl"}:
        first = (ROOT / folder / "__init__.py").read_text().splitlines()[0]
        name = next(module for module, path in modules().items() if path == folder / "__init__.py")
        assert first.startswith('"""'), folder
        assert "mports" in first, f"{folder}: its first line says what the room may import"
        files = [path.name for path in folder.glob("*.py") if path.name != "__init__.py"]
        assert name in ANY_NUMBER or len(files) <= MOST_IN_A_ROOM, f"{folder}: {len(files)} files"


def sizes() -> Iterator[tuple[str, str, int]]:
    """What has how many lines: files, classes, functions."""
    for module, path in modules().items():
        text = path.read_text()
        yield "a file", module, len(text.splitlines())
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
                kind = "a class" if isinstance(node, ast.ClassDef) else "a function"
                yield kind, f"{module}.{node.name}", (node.end_lineno or 0) - node.lineno + 1


def test_nothing_is_too_long():
    found = {what: f"{kind} of {lines} lines: {what}" for kind, what, lines in sizes() if lines > MOST_LINES[kind]}
    assert not [said for what, said in found.items() if what not in TOO_LONG_YET]
