"""What is packed: sdist and wheel, their metadata and contents; and what the import of edsl costs."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest
import typer

import edsl
from edsl.cli.main import app

ROOT = Path(__file__).parents[1]


def python(*words, **options):
    return subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False, **options)


def test_import_is_silent_and_brings_nothing_but_edsl_itself():
    program = """
import sys
before = set(sys.modules)
import edsl
new = {name.split(".")[0] for name in set(sys.modules) - before}
print(*sorted(new - {*sys.stdlib_module_names}))
"""
    done = python("-W", "error", "-c", program)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split() == ["edsl"]


def test_import_takes_less_than_50_ms():
    program = "import time; began = time.perf_counter(); import edsl; print(time.perf_counter() - began)"
    assert min(float(python("-c", program).stdout) for _ in range(5)) < 0.05


def test_parsing_needs_no_torch():
    program = "import sys, edsl; edsl.parse('grad | e | lamb(lr=cosine(0.1))'); print('torch' in sys.modules)"
    assert python("-W", "error", "-c", program).stdout == "False\n"


def test_the_version_is_written_in_one_place():
    found = [
        path.relative_to(ROOT).as_posix()
        for path in [*ROOT.glob("*.toml"), *(ROOT / "edsl").rglob("*.py"), *(ROOT / "cli").rglob("*.py")]
        if re.search(rf"\bversion\w* *= *['\"]{re.escape(edsl.__version__)}", path.read_text(), re.IGNORECASE)
        or f'__version__ = "{edsl.__version__}"' in path.read_text()
    ]
    assert found == ["edsl/__init__.py"]
    assert f"version: {edsl.__version__}\n" in (ROOT / "CITATION.cff").read_text()
    assert (ROOT / "CHANGELOG.md").read_text().split("\n## ")[1].startswith(edsl.__version__)


# --- built, installed and run away from the sources -------------------------------------------------


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """sdist, and the wheel that is built from it, of what is committed."""
    pytest.importorskip("build")
    folder = tmp_path_factory.mktemp("built")
    subprocess.run(["git", "clone", "-q", str(ROOT), str(folder / "source")], check=True)
    done = python("-m", "build", "--no-isolation", "--outdir", str(folder / "dist"), str(folder / "source"))
    assert done.returncode == 0, done.stderr[-2000:]
    (sdist,), (wheel,) = (list((folder / "dist").glob(pattern)) for pattern in ("*.tar.gz", "*.whl"))
    return sdist, wheel


@pytest.fixture(scope="module")
def installed(built, tmp_path_factory):
    """The `edsl` of an environment of its own, in which only the wheel is new, and an empty folder."""
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder / "venv", with_pip=True)
    bin_ = folder / "venv" / "bin"
    site = next((folder / "venv" / "lib").glob("python*/site-packages"))
    others = [place for place in sys.path if place.endswith("site-packages")]
    (site / "others.pth").write_text("\n".join(others))
    words = [str(bin_ / "python"), "-m", "pip", "install", "-q", "--no-deps", "--no-index", str(built[1])]
    subprocess.run([*words, "--ignore-installed"], check=True)
    (folder / "empty").mkdir()
    return bin_ / "edsl", folder / "empty"


@pytest.mark.slow
def test_packages_pass_twines_check(built):
    pytest.importorskip("twine")
    done = python("-m", "twine", "check", "--strict", *map(str, built))
    assert done.returncode == 0, done.stdout


@pytest.mark.slow
def test_they_hold_what_is_read_at_run_time_and_no_build(built):
    sdist, wheel = built
    with zipfile.ZipFile(wheel) as packed:
        names = packed.namelist()
        record = next(name for name in names if name.endswith(".dist-info/METADATA"))
        metadata = Parser().parsestr(packed.read(record).decode())
        points = packed.read(record.replace("METADATA", "entry_points.txt")).decode()
    for name in ("py.typed", "__init__.pyi", "kernels/products.cpp", "lab/report/page.html", "zoo/nadam.edsl"):
        assert f"edsl/{name}" in names
    assert {f"edsl/cli/templates/{name}" for name in ("rule.edsl", "stage.py", "test_task.py")} < {*names}
    assert len([name for name in names if name.endswith(".edsl")]) > 30
    assert not [name for name in names if "__pycache__" in name or name.startswith(("tests", "build"))]
    assert (metadata["Name"], metadata["Version"]) == ("edsl-optim", edsl.__version__)
    assert metadata["License-Expression"] == "MIT"
    assert str(metadata.get_payload()).startswith("# edsl")
    assert {"plot", "tune", "ray", "sinks", "integrations", "data", "dev"} <= {*metadata.get_all("Provides-Extra")}
    assert points.strip() == "[console_scripts]\nedsl = edsl.cli.main:main"
    with tarfile.open(sdist) as packed:
        held = {name.partition("/")[2] for name in packed.getnames()}
    assert {"CITATION.cff", "CHANGELOG.md", "LICENSE", "theory/__init__.py", "tests/conftest.py"} < held


@pytest.mark.slow
def test_every_supported_python_that_is_here_compiles_all_files_and_imports(built, tmp_path):
    with zipfile.ZipFile(built[1]) as packed:
        packed.extractall(tmp_path)
    program = "import edsl; assert str(edsl.parse('grad | e | lamb')).startswith('grad')"
    for minor in range(10, 14):
        known = sorted(Path.home().glob(f".pyenv/versions/3.{minor}.*/bin/python"))
        found = str(known[0]) if known else shutil.which(f"python3.{minor}")
        for words in (("-m", "compileall", "-q", "-f", "edsl"), ("-c", program)) if found else ():
            done = subprocess.run([found, "-W", "error", *words], capture_output=True, text=True, cwd=tmp_path)
            assert (done.returncode, done.stderr) == (0, ""), f"3.{minor}: {done.stdout}{done.stderr}"


# Words with which each command does something small; they run one after another, in one folder.
SMOKE = {
    "list": ["list"],
    "show": ["show", "grad | e | lamb"],
    "fmt": ["fmt", "mine.edsl"],
    "new": ["new", "rule", "mine"],
    "plan": ["plan", "alto", "--params", "tiny"],
    "warm": ["warm", "sgd", "--params", "tiny"],
    "doctor": ["doctor"],
    "convert": ["convert", "torch.pt", "edsl.pt"],
    "check-stability": ["check-stability", "-5", "0.99"],
    "certify": ["certify", "sgd(lr=0.1)", "--condition", "10"],
    "design": ["design", "esgd", "--spectrum", "0.1:1"],
    "check-regret": ["check-regret", "--beta2", "0.9", "--beta3", "0.99", "--lr-schedule", "1/sqrt(k)"],
    "explain": ["explain", "grad | e | adam"],
    "equivalent": ["equivalent", "sgd(lr=0.1)", "sgd(lr=0.2)"],
    "verify": ["verify", "sgd(lr=0.1)", "--against", "torch.SGD(lr=0.1)", "--steps", "3"],
    "bench": ["bench", "sgd", "--params", "tiny", "--steps", "3", "--no-first-step"],
    "map": ["map", "esgd", "--out", "map.png"],
    "frequency": ["frequency", "esgd", "--out", "frequency.png"],
    "landscape": ["landscape", "rosenbrock", "adam(lr=0.01)", "--out", "valley.png", "--starts", "2", "--steps", "20"],
    "compare": ["compare", "digits", "sgd", "adamw", "--steps", "3", "--seeds", "3", "--jobs", "1", "--out", "race"],
    "report": ["report", "race"],
    "train": ["train", "sgd", "--task", "digits", "--steps", "3"],
    "suite": ["suite", "small", "--help"],
    "sharpness": ["sharpness", "--help"],
    "reproduce": ["reproduce", "--help"],
    "sweep": ["sweep", "sgd", "--grid", "lr=0.1", "--task", "digits", "--steps", "3", "--seeds", "3", "--dry-run"],
    "ablate": ["ablate", "alto", "--task", "digits", "--steps", "3", "--seeds", "3", "--dry-run"],
}
ANSWERS = {"equivalent": 1}  # exit codes that are answers


@pytest.mark.slow
def test_every_command_runs_from_the_wheel_away_from_the_sources(installed):
    program, folder = installed
    assert {*SMOKE} == {*typer.main.get_command(app).commands}
    environment = {**os.environ, "COLUMNS": "80", "XDG_CACHE_HOME": str(folder)}
    environment.pop("PYTHONPATH", None)
    make = "import torch; p = torch.nn.Parameter(torch.ones(2)); "
    make += "torch.save(torch.optim.AdamW([p]).state_dict(), 'torch.pt')"
    subprocess.run([program.with_name("python"), "-c", make], check=True, cwd=folder)
    where = "import edsl; print(edsl.__file__)"
    said = subprocess.run([program.with_name("python"), "-c", where], capture_output=True, text=True, cwd=folder)
    assert str(program.parents[1]) in said.stdout
    failed = {}
    for name in sorted(SMOKE, key=lambda name: name in ("fmt", "report")):  # which read what others wrote
        done = subprocess.run([program, *SMOKE[name]], capture_output=True, text=True, cwd=folder, env=environment)
        if done.returncode != ANSWERS.get(name, 0) or "Traceback" in done.stderr:
            failed[name] = (done.returncode, done.stderr[-500:])
    assert not failed, json.dumps(failed, indent=2)
    tested = [program.with_name("python"), "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_mine.py"]
    assert subprocess.run(tested, capture_output=True, cwd=folder, env=environment).returncode == 0
