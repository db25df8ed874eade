"""The house itself: how it installs, and who imports whom."""

import ast
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def test_wheel_holds_all_packages_under_edsl_and_nothing_beside(tmp_path):
    program = "from setuptools import build_meta; build_meta.build_wheel(__import__('sys').argv[1])"
    source = tmp_path / "source"
    subprocess.run(["git", "clone", "-q", str(ROOT), str(source)], check=True)
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True, cwd=source, capture_output=True)
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        names = wheel.namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"edsl"}
    for module in ("adapters/exploration", "theory/notation", "cli/main", "lab/tasks/digits", "updates/lamb"):
        assert f"edsl/{module}.py" in names


@pytest.mark.parametrize("package", ["adapters", "theory", "cli"])
def test_second_copy_of_a_mapped_package_is_refused(package):
    run = subprocess.run([sys.executable, "-c", f"import {package}"], capture_output=True, text=True, cwd=ROOT)
    assert run.returncode != 0
    assert f"import this package as edsl.{package}" in run.stderr


def imports(path: Path, top_level_only: bool) -> set[str]:
    tree = ast.parse(path.read_text())
    nodes = tree.body if top_level_only else list(ast.walk(tree))
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


def test_core_imports_no_sibling_at_import_time():
    for path in (ROOT / "edsl").rglob("*.py"):
        for module in imports(path, top_level_only=True):
            assert not module.startswith(("edsl.adapters", "edsl.theory", "edsl.cli")), path
    for path in (ROOT / "edsl").glob("*.py"):
        assert not any(module.startswith("edsl.lab") for module in imports(path, top_level_only=False)), path


def test_theory_and_stages_never_import_torch():
    stages = [*(ROOT / "edsl/updates").glob("*.py"), *(ROOT / "edsl/estimators").glob("*.py")]
    stages += [ROOT / "adapters" / f"{name}.py" for name in ("exploration", "clip", "noise")]
    for path in [
        *(ROOT / "theory").glob("*.py"),
        *stages,
        ROOT / "edsl/language/stage.py",
        ROOT / "edsl/language/spec.py",
    ]:
        assert not any(module.split(".")[0] == "torch" for module in imports(path, top_level_only=False)), path


def test_typer_declares_commands_and_options_only_and_rich_renders_only():
    for folder in ("edsl", "adapters", "theory", "cli"):
        for path in (ROOT / folder).rglob("*.py"):
            used = {module.split(".")[0] for module in imports(path, top_level_only=False)}
            assert "typer" not in used or path in (ROOT / "cli/main.py", ROOT / "cli/options.py")
            assert "rich" not in used or path.parent == ROOT / "cli/render"
