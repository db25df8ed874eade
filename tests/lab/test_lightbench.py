"""LightBench's problems as tasks, by a package of the same interface, since the real one needs dozens of others."""

import os
import sys

import pytest
import torch
from shell import run

import edsl
from edsl.lab.executors.driver import run_to_end
from edsl.lab.executors.engines import executor
from edsl.lab.races.build import open_record, race
from edsl.lab.races.suites import SUITES
from edsl.lab.tasks import lightbench
from edsl.lab.tasks.catalogue import task

INIT = """
from pathlib import Path
def available():
    return sorted(p.stem for p in Path(__file__).parent.glob("*.py") if p.stem not in {"__init__", "utils"})
"""
UTILS = """
import torch
class SkipConfig(ValueError):
    pass
def trial(model, data, loss_fn, win_condition, steps, opt, weight_decay, trials=10, *, dtype=None):
    raise AssertionError("its own tuner must not run")
"""
VALLEY = """
import pathlib
from typing import List, Optional
import torch
import typer
from lightbench.utils import SkipConfig, trial

torch.set_float32_matmul_precision("high")

class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.param = torch.nn.Parameter(torch.tensor([-3.0, 2.0]))
        self.register_buffer("calls", torch.zeros(()))
        self.seen, self.count = [], 0
    def forward(self):
        self.calls += 1
        self.count += 1
        self.seen = [*self.seen[-1:], self.param * 2]  # with a graph
        return (self.param * torch.tensor([1.0, 3.0], device=self.param.device)).square().sum()

def main(dtype: List[str] = typer.Option(["float64"]), steps: int = 100, opt: List[str] = typer.Option(["SOAP"]),
         trials: int = 100, config: Optional[str] = None):
    if config is not None and config != "trivial":
        raise SkipConfig("'config' must be 'trivial'.")
    for path in pathlib.Path(".").glob("valley.png"):
        path.unlink()
    print("noise")
    trial(Model().double(), None, None, None, steps, opt, 0, trials=trials, dtype=dtype)
"""
PARITY = """
from typing import Optional
import torch
import typer
from lightbench.utils import trial

configs = {"easy": {"size": 4}, "hard": {"size": 8}}

def main(dtype: str = typer.Option("float32"), size: int = 3, batch: int = 16, steps: int = 10,
         opt: str = typer.Option("SOAP"), config: Optional[str] = None):
    size = configs.get(config, {}).get("size", size)
    dtype = getattr(torch, dtype)
    model = torch.nn.Linear(size, 1).cuda()
    def data():
        inp = torch.randn((batch, size), device="cuda", dtype=dtype)
        return inp, inp.sum(1, keepdim=True)
    trial(model, data, torch.nn.functional.mse_loss, None, steps, opt, 0, dtype=dtype)
"""
PAIR = """
import torch
from lightbench.utils import trial

class Model(torch.nn.Linear):
    def forward(self, x):
        return super().forward(x), x

def main(config=None):
    trial(Model(2, 1), lambda: (torch.ones(4, 2), torch.ones(4)), None, None, 9, "SOAP", 0)
"""
BROKEN = "def main(config=None):\n    raise RuntimeError('no such data')\ndef trial():\n    pass\n"


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package `lightbench`; what is left of it afterwards is nothing."""
    folder = tmp_path / "site" / "lightbench"
    folder.mkdir(parents=True)
    modules = {"__init__": INIT, "utils": UTILS, "valley": VALLEY, "parity": PARITY, "broken": BROKEN, "merge_logs": ""}
    modules |= {"pair": PAIR, "tool": ""}
    for name, text in modules.items():
        (folder / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(folder.parent)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder.parent), os.environ.get("PYTHONPATH", "")]))
    yield folder
    for name in [name for name in sys.modules if name.partition(".")[0] == "lightbench"]:
        del sys.modules[name]
    for cached in (lightbench.lightbench, lightbench._first):
        cached.cache_clear()


def test_problems_are_taken_from_a_modules_main_and_raced(package, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "valley.png").write_text("mine")
    assert lightbench.problems() == ["broken", "pair", "parity", "tool", "valley"]
    for name in ("lightbench:valley", "lightbench:parity:hard"):
        asked = {"task": name, "steps": 20, "out": tmp_path / name.replace(":", "-")}
        first = edsl.compare(["adam(lr=0.05)", "sgd(lr=0.02)"], seeds=1, **asked)
        found = edsl.compare(["adam(lr=0.05)", "sgd(lr=0.02)"], seeds=3, **asked, resume=True)
        assert found.finished[:2] == first.finished
        assert all(row.ok == 3 for row in found.results.rows), [row.reasons for row in found.results.rows]
        assert name in found.report().read_text()
    assert (tmp_path / "valley.png").read_text() == "mine"
    assert "noise" not in capsys.readouterr().out
    assert torch.get_float32_matmul_precision() == "highest"


def test_a_row_is_a_batch_of_the_stream_and_the_loss_the_problems_own(package):
    chosen = task("lightbench:parity:easy")
    data = chosen.data()
    assert [split.inputs.shape for split in data] == [(256, 16, 4), (16, 16, 4), (16, 16, 4)]
    model = chosen.model(None)[1]()
    rows = data.train.inputs[:3]
    expected = [torch.nn.functional.mse_loss(model.model(x), x.sum(1, keepdim=True)) for x in rows]
    assert torch.allclose(chosen.loss(model(rows), data.train.targets[:3]), torch.stack(expected).mean())
    assert not data.train.inputs[0].equal(data.train.inputs[1])
    assert not data.train.inputs[0].equal(data.test.inputs[0])


def test_an_evaluation_leaves_a_model_that_counts_its_calls_as_it_was(package):
    chosen = task("lightbench:valley")
    model = chosen.model(None)[1]()
    rows = chosen.data().train.inputs[:1]
    assert next(model.parameters()).dtype == torch.float32
    model.eval()
    assert chosen.loss(model(rows), rows).item() == pytest.approx(9 + 36)
    assert (model.model.calls, model.model.count, model.model.seen) == (0, 0, [])
    model.train()
    model(rows)
    model.eval()
    model(rows)
    assert (model.model.calls, model.model.count, len(model.model.seen)) == (1, 1, 1)


@pytest.mark.slow
def test_problems_give_the_same_bits_in_processes(package, tmp_path):
    chosen = race("lightbench:parity:easy", ["adam", "sgd"], seeds=2, steps=10)

    def losses(name, runner):
        rows = run_to_end(chosen, open_record(chosen, tmp_path / name, False), lambda _: None, runner).rows
        return [(row.train_loss, row.test_loss) for row in rows]

    assert losses("a", None) == losses("b", executor("local", 2))


def test_what_is_not_there_is_one_line(package):
    for name, message in (
        ("lightbench", "name a problem, such as lightbench:beale; problems: broken, pair, parity, tool, valley"),
        ("lightbench:valey", "unknown problem 'valey'; did you mean 'valley'?"),
        ("lightbench:valley:harder", "unknown difficulty 'harder'; did you mean 'hard'?"),
        ("lightbench:valley:hard", "has no difficulty 'hard': SkipConfig: 'config' must be 'trivial'"),
        ("lightbench:pair", "lightbench:pair can't be raced: TypeError: expected Tensor as element 0"),
        ("lightbench:tool", "lightbench:tool can't be raced: the module has no main that calls a trial"),
        ("lightbench:broken", "lightbench:broken can't be built: RuntimeError: no such data"),
    ):
        with pytest.raises(edsl.EdslError, match=message.partition("'config")[0]) as raised:
            race(name, ["sgd"], seeds=1)
        assert "\n" not in str(raised.value)


def test_without_the_package_the_suite_says_what_to_install(monkeypatch):
    assert len(SUITES["lightbench"].workloads) == 10
    if lightbench_is_here():
        pytest.skip("LightBench is installed")
    code, _, err = run("suite", "lightbench", "sgd", "--dry-run")
    assert (code, err) == (2, "edsl: the tasks of LightBench need it: pip install lightbench\n")


def lightbench_is_here():
    from importlib.util import find_spec

    return find_spec("lightbench") is not None
