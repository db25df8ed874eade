"""What an editor says of `edsl.e(...)` is true, however edsl is installed."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path
from typing import Any

import pytest
import stubs
import torch

import edsl

ROOT = Path(__file__).parents[2]

PROGRAM = """\
import numpy as np
import torch

import edsl

params = [torch.zeros(2, requires_grad=True)]
model = torch.nn.Linear(2, 1)

edsl.e(alpha=-5)
edsl.e(alfa=-5)  # wrong
edsl.e(start="frist")  # wrong
edsl.lamb(lr=np.float32(0.1), betas=(0.9, 0.99), eps=1e-6)
edsl.lamb(lr="x")  # wrong
edsl.lamb(0.1)  # wrong
edsl.lion(eps=1e-6)  # wrong
edsl.adan(betas=(0.9, 0.99))  # wrong
edsl.clip(norm=None, value=torch.tensor(1.0))
edsl.route(("blocks.*", edsl.muon()), other=edsl.e() | edsl.adamw())
edsl.route(matrices=edsl.muon())  # wrong

recipe: edsl.Pipeline = edsl.emuon(batch_size=128, other_lr=0.1, other_betas=(0.9, 0.99))
edsl.emuon(other_lr="x")  # wrong
edsl.alto(momentum=0.9)  # wrong

edsl.ALTO(params, 0.01, alpha=-3, mode="eager").step()
edsl.ALTO(model, lr=torch.tensor(0.01))
edsl.ALTO(params, mode="fast")  # wrong
edsl.Lamb(params, alpha=-3)  # wrong
edsl.EMuon(model, other_lr=0.1)
edsl.compile("alto", model, alpha=-3).step()
edsl.compile("alto", model, exclude=3)  # wrong
edsl.load_plugin("stages.py")
edsl.stage_of_a_plugin(gain=2) | edsl.sgd()
"""


def test_stub_is_what_the_stages_and_recipes_say_today():
    assert stubs.STUB.read_text() == stubs.written(), "write it anew: make stubs"


def defined_in_the_stub() -> list[ast.FunctionDef | ast.ClassDef]:
    body = ast.parse(stubs.STUB.read_text()).body
    return [node for node in body if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and node.name[0] != "_"]


def arguments(node: ast.FunctionDef | ast.ClassDef) -> tuple[dict[str, Any], dict[str, Any]]:
    """The keywords that it has a default for, and for each synonym a value that it takes."""
    signature = node.body[-1] if isinstance(node, ast.ClassDef) else node
    assert isinstance(signature, ast.FunctionDef)
    defaults, synonyms = {}, {}
    for argument, default in zip(signature.args.kwonlyargs, signature.args.kw_defaults):
        kind, value = ast.unparse(argument.annotation or ast.Constant(0)), ast.unparse(default or ast.Constant(0))
        if value != "...":
            defaults[argument.arg] = ast.literal_eval(value)
        else:
            synonyms[argument.arg] = (0.5,) * kind.count("_Number") if kind.startswith("tuple") else 0.5
    defaults.pop("batch_size", None)  # None is not given
    return defaults, synonyms


def made(node: ast.FunctionDef | ast.ClassDef, given: dict[str, Any]) -> str:
    """What it makes of these arguments, as text."""
    make = getattr(edsl, node.name)
    if isinstance(node, ast.ClassDef):
        return str(make([torch.zeros(2, 2, requires_grad=True)], **{**given, "mode": "eager"}).pipeline)
    needed = {"clip": {"norm": 1.0}}.get(node.name, {})
    return str(make(**{**given, **needed}))


NODES = [node for node in defined_in_the_stub() if node.name != "route"]


@pytest.mark.parametrize("node", NODES, ids=[node.name for node in NODES])
def test_what_the_stub_lists_is_taken_with_the_default_that_it_tells(node):
    defaults, synonyms = arguments(node)
    assert made(node, defaults) == made(node, {})
    assert not synonyms or made(node, synonyms) != made(node, {})


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("source") / "edsl"
    subprocess.run(["git", "clone", "-q", str(ROOT), str(folder)], check=True)
    return folder


def environment(folder: Path, source: Path, editable: bool) -> Path:
    """The Python of a new environment with edsl as pip would install it, and all else that is here."""
    call = "build_editable(sys.argv[1], {'editable_mode': 'strict'})" if editable else "build_wheel(sys.argv[1])"
    program = f"import sys; from setuptools import build_meta; build_meta.{call}"
    subprocess.run([sys.executable, "-c", program, str(folder)], check=True, cwd=source, capture_output=True)
    venv.create(folder / "venv")
    site = Path(sysconfig.get_path("purelib", vars={"base": str(folder / "venv")}))
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
        wheel.extractall(site)
    here = [path for path in sys.path if path.endswith("site-packages")]
    (site / "zz_rest.pth").write_text("\n".join(here))
    return folder / "venv" / "bin" / "python"


@pytest.mark.parametrize("editable", [False, True], ids=["wheel", "editable"])
def test_pyright_finds_wrong_arguments_and_lets_right_ones_pass(tmp_path, source, editable):
    python = environment(tmp_path, source, editable)
    project = tmp_path / "project"
    project.mkdir()
    (project / "program.py").write_text(PROGRAM)
    (project / "pyrightconfig.json").write_text(json.dumps({"reportUnusedExpression": False}))
    command = [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", str(python), "program.py"]
    run = subprocess.run(command, cwd=project, capture_output=True, text=True)
    found = json.loads(run.stdout)["generalDiagnostics"]
    lines = PROGRAM.splitlines()
    said = {one["range"]["start"]["line"]: one["message"] for one in found}
    assert [lines[line] for line in sorted(said)] == [line for line in lines if re.search("# wrong$", line)], said
