"""A spec is data: whatever its text, it runs nothing and names nothing beyond what is registered."""

import builtins
import contextlib
import copy
import importlib

import pytest
import torch
from problem import gradients, parameters, walk

import edsl

HOSTILE = [
    "os.system('touch hacked')",
    "grad | os.system('touch hacked')",
    "__import__('os').system('touch hacked')",
    "grad | __import__('os')",
    "torch.os",
    "torch.load('hacked')",
    "torch.hub",
    "torch.optim.AdamW",
    "torch.optimizer.Optimizer",
    "torch.Optimizer",
    "torch.lr_scheduler",
    "torch.lr_scheduler.StepLR",
    "torch._multi_tensor",
    "torch.sys.exit()",
    "torch.__class__",
    "torch.AdamW.__init__",
    "torch.AdamW.__subclasses__()",
    "torch.AdamW().step",
    "torch.AdamW(lr=__import__('os').system('touch hacked'))",
    "torch.AdamW(lr=(lambda: 1)())",
    "torch.AdamW(lr=open('hacked', 'w'))",
    "torch.AdamW(**{'lr': 1})",
    "torch.AdamW(*[1])",
    "torch_optimizer.sys",
    "torch_optimizer.get('AdamW')",
    "torch_optimizer.lamb.Lamb",
    "torch_optimizer.lamb.os",
    "torch_optimizer.__builtins__",
    "schedulefree.os",
    "schedulefree.adamw_schedulefree",
    "schedulefree.AdamWScheduleFree.__init__",
    "heavyball.utils.os",
    "bitsandbytes.optim.AdamW",
    "numpy.load('hacked')",
    "pickle.loads(b'x')",
    "subprocess.run('touch hacked')",
    "edsl.load_plugin('hacked.py')",
    "edsl.language.registry.plugins.load_plugin('hacked.py')",
    "this",
    "antigravity",
    "grad | antigravity.AntiGravity",
    "a.b:C",
    "edsl.updates.lamb:Lamb",
    "sgd(lr=f'{1}')",
    "sgd(lr=[x for x in (1,)])",
    "sgd(lr=1) if True else sgd",
    "(hacked := sgd)",
    "sgd; import os",
    "sgd\nimport os",
    "route(matrix=os.system('touch hacked'), other=sgd)",
    "route(('*', __import__('os')), other=sgd)",
    "eval('sgd')",
    "exec('import os')",
    "getattr(torch, 'AdamW')",
    "globals()",
    "sgd.__class__.__mro__",
    "''.join",
]
MAY_BE_IMPORTED = {"edsl", "torch", "torch_optimizer", "schedulefree", "difflib", "inspect"}
MAY_BE_IMPORTED |= {"hypothesis"}  # by its own hooks


@pytest.fixture
def imported(monkeypatch, tmp_path):
    """The modules that are asked for from here on, in an empty folder with a module to be tempted by."""
    for good in ("grad | e | route(matrix=muon, other=adamw)", "torch.AdamW(lr=0.1)", "torch_optimizer.Lamb(lr=0.1)"):
        edsl.parse(good)
    with contextlib.suppress(edsl.EdslError):  # it may not be installed
        edsl.parse("schedulefree.AdamWScheduleFree")
    with pytest.raises(edsl.EdslError):
        edsl.parse("nothing_of_the_kind")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "hacked.py").write_text("raise AssertionError('a spec ran a file')\n")
    names = []
    real_import, real_module = builtins.__import__, importlib.import_module

    def seen(name, *rest, **options):
        names.append(name)
        return real_import(name, *rest, **options)

    def seen_module(name, *rest):
        names.append(name)
        return real_module(name, *rest)

    monkeypatch.setattr(builtins, "__import__", seen)
    monkeypatch.setattr(importlib, "import_module", seen_module)
    return names


@pytest.mark.parametrize("text", HOSTILE)
def test_a_hostile_text_is_an_edsl_error_that_imports_and_runs_nothing(text, imported, tmp_path):
    with pytest.raises(edsl.EdslError):
        edsl.parse(text)
    assert {name.partition(".")[0] for name in imported} <= MAY_BE_IMPORTED
    assert [place.name for place in tmp_path.iterdir()] == ["hacked.py"]


@pytest.mark.parametrize("text", HOSTILE)
def test_a_hostile_text_in_a_checkpoint_is_an_edsl_error_that_changes_nothing(text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    params = parameters()
    optimizer = edsl.compile("alto", params, mode="eager")
    walk(optimizer, params, gradients(1))
    saved = copy.deepcopy(optimizer.state_dict())
    saved["param_groups"][0]["pipeline"] = text
    before = str(optimizer.state_dict())
    with pytest.raises(edsl.EdslError):
        optimizer.load_state_dict(saved)
    assert str(optimizer.state_dict()) == before
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["AdamW", "SGD", "LBFGS", "Muon"])
def test_what_a_dotted_name_may_mean_is_an_optimizer_of_its_package(name):
    from edsl.optim.foreign.packages import optimizer_class

    assert optimizer_class(f"torch.{name}") is getattr(torch.optim, name)
