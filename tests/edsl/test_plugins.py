"""Stages from a user's own file and from other packages; and none by a spec alone."""

import json

import pytest
import torch
from shell import run_anew as run

import edsl
from edsl.language.registry import plugins

SCALE = '''
from dataclasses import dataclass
from typing import ClassVar

from edsl.stage import Number, field
from edsl.stage import Adaptor


@dataclass(frozen=True)
class Scale(Adaptor):
    """u = c g."""

    name: ClassVar[str] = "scale"
    by: float = field(2.0, Number(), "c")

    def step(self, x, memory, at):
        return self.by * x, memory
'''


@pytest.fixture
def write(tmp_path, monkeypatch):
    monkeypatch.setattr(plugins, "_loaded", {})

    def file(text, name="mine.py"):
        path = tmp_path / name
        path.write_text(text)
        return path

    return file


def test_a_file_brings_its_stages(write):
    assert edsl.load_plugin(write(SCALE)) == ("scale",)
    theta = torch.nn.Parameter(torch.zeros(2))
    optimizer = edsl.compile("grad | scale(by=3) | sgd(lr=1.0)", [theta])
    theta.grad = torch.ones(2)
    optimizer.step()
    assert torch.equal(theta, torch.full((2,), -3.0))
    assert edsl.parse(str(optimizer.pipeline)) == optimizer.pipeline
    assert str(edsl.scale(by=4)) == "scale(by=4)"
    edsl.load_plugin(write(SCALE.replace("2.0", "5.0")))  # changed, and loaded again
    assert str(edsl.scale()) == "scale(by=5)"


def test_a_spec_alone_names_no_file_and_no_module(write):
    path = write(SCALE)
    for text in (f"grad | {path.stem} | sgd", "grad | os.system | sgd", "grad | mine.Scale | sgd", "subprocess.run()"):
        with pytest.raises(edsl.EdslError):
            edsl.parse(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1", "no stage found; define a frozen dataclass"),
        ("1/0", "ZeroDivisionError: division by zero"),
        ("import", "SyntaxError"),
        (SCALE.replace('"scale"', '"lamb"'), "the name 'lamb' is taken; give Scale another"),
        (SCALE.replace('"scale"', '"alto"'), "the name 'alto' is taken"),
        (SCALE.replace('"scale"', '"my scale"'), "needs a name such as 'smooth'"),
        (SCALE.replace('name: ClassVar[str] = "scale"', "pass"), "needs a name such as 'smooth'"),
        ("from edsl.updates.sgd import Sgd", "no stage found"),
    ],
)
def test_a_bad_file_is_one_line_and_brings_nothing(write, text, message):
    with pytest.raises(edsl.EdslError, match=message) as raised:
        edsl.load_plugin(write(text))
    assert "\n" not in str(raised.value)
    assert plugins.loaded() == {}


@pytest.mark.parametrize("path", ["/nowhere/mine.py", "/", "text.txt"])
def test_a_file_that_is_none_is_one_line(path):
    with pytest.raises(edsl.EdslError, match=r"^plugin [^\n]*(no such file|a folder; expected a Python file)$"):
        edsl.load_plugin(path)


def test_the_command_line_loads_files_that_are_named(write):
    path = str(write(SCALE))
    code, out, _ = run("--plugin", path, "show", "grad | scale | sgd", "--json")
    assert code == 0
    assert json.loads(out)["stages"][1]["recurrence"] == ["uₖ = c gₖ"]
    code, out, _ = run("--plugin", path, "list", "--json")
    assert json.loads(out)["stages"][-1]["stage"] == "scale"
    code, _, error = run("--plugin", path + "x", "list")
    assert code == 2
    assert error.count("\n") == 1


def package(tmp_path, place):
    """A folder as pip leaves it, with a module and an entry point."""
    (tmp_path / "theirs.py").write_text(SCALE)
    info = tmp_path / "theirs-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[edsl.stages]\nscale = {place}\n")
    return str(tmp_path)


def test_an_installed_package_brings_its_stages(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", package(tmp_path, "theirs:Scale"))
    code, out, error = run("show", "grad | scale(by=3) | sgd", "--json")
    assert code == 0, error
    assert json.loads(out)["spec"].startswith("grad | scale(by=3)")
    code, out, _ = run("list", "--json")
    assert json.loads(out)["stages"][-1]["stage"] == "scale"


@pytest.mark.parametrize("place", ["theirs:Missing", "absent:Scale", "theirs:field", "json:dumps"])
def test_an_entry_point_that_is_no_stage_is_one_message(tmp_path, monkeypatch, place):
    monkeypatch.setenv("PYTHONPATH", package(tmp_path, place))
    code, out, error = run("show", "grad | scale | sgd")
    assert code == 2
    assert out == ""
    assert "scale" in error.splitlines()[0]
    assert "Traceback" not in error
    assert run("show", "alto")[0] == 0, "what is not asked for does no harm"
