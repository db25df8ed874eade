"""Optimizers of any package in a spec: what may be named, what they may do, alone and behind E."""

import copy
import importlib
import io
import logging
import sys

import fake_package
import pytest
import torch
from problem import gradients, parameters, walk, worst

import edsl
from edsl.costs.memory import memory
from edsl.lab.closure import closure_for
from edsl.lab.races.learning_rate import learning_rates, scaled
from edsl.lab.trials.training import fair_groups
from edsl.language.registry.stages import PACKAGES
from edsl.optim.foreign import packages
from edsl.optim.state import state_bytes

HABITS = ["Writes", "Consumes", "Together", "Hidden", "Free"]
IDENTITY = "grad | e(alpha=0)"


@pytest.fixture(autouse=True)
def fakes(tmp_path, monkeypatch):
    """The package `fakes`, as if it were one of those that a spec may name."""
    fake_package.write(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(PACKAGES, "fakes", ("fakes", "fakes-of-optimizers"))
    yield
    packages.optimizers_of.cache_clear()
    packages.optimizer_class.cache_clear()
    sys.modules.pop("fakes", None)


def fake(name):
    packages.optimizer_class(f"fakes.{name}")  # which imports it without a word
    return getattr(importlib.import_module("fakes"), name)


def model():
    torch.manual_seed(3)
    return torch.nn.Sequential(torch.nn.Linear(4, 6), torch.nn.Tanh(), torch.nn.Linear(6, 3))


class Nowhere:
    """Finds no module of this name, as if none were installed."""

    def __init__(self, name):
        self.name = name

    def find_spec(self, name, *_):
        if name == self.name:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


# What may be named


@pytest.mark.parametrize("package", [name for name in PACKAGES if name != "torch"])
def test_a_package_that_is_not_installed_is_one_line_with_what_to_install(package, monkeypatch):
    packages.optimizers_of.cache_clear()
    packages.optimizer_class.cache_clear()
    for module in (package, PACKAGES[package][0]):
        monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.setattr(sys, "meta_path", [Nowhere(package), *sys.meta_path])
    with pytest.raises(edsl.EdslError) as caught:
        edsl.parse(f"{package}.AdamW(lr=0.1)")
    assert caught.value.message == f"{package} is not installed: pip install {PACKAGES[package][1]}"


def test_a_package_that_does_not_load_says_why(tmp_path):
    (tmp_path / "fakes.py").write_text("import no_such_module")
    with pytest.raises(edsl.EdslError, match="fakes doesn't load: No module named 'no_such_module'"):
        edsl.parse("fakes.Writes")


def test_a_package_is_imported_without_a_word(capfd):
    disabled = logging.root.manager.disable
    edsl.parse("fakes.Writes(lr=0.1)")
    assert capfd.readouterr() == ("", "")
    assert logging.root.manager.disable == disabled


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("writes", "fakes has no optimizer 'writes'; did you mean 'Writes'?"),
        ("Togethr", "did you mean 'Together'?"),
        ("Zzz", "it has 13, such as Writes, Consumes, Together, Hidden"),
        ("secret", "fakes has no optimizer 'secret'"),
        ("_Base", "fakes has no optimizer '_Base'"),
        ("Optimizer", "fakes has no optimizer 'Optimizer'"),
        ("torch", "fakes has no optimizer 'torch'"),
    ],
)
def test_only_a_packages_optimizers_can_be_named(name, said):
    with pytest.raises(edsl.EdslError) as caught:
        edsl.parse(f"fakes.{name}(lr=0.1)")
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("fakes.Writes(rate=1)", "fakes.Writes: unknown argument 'rate'; it has: lr"),
        ("fakes.Writes(kwargs=1)", "fakes.Writes: unknown argument 'kwargs'"),
        ("fakes.Writes(params=1)", "fakes.Writes: unknown argument 'params'"),
        ("fakes.Writes(lr='fast')", "fakes.Writes: lr must be a number, got 'fast'"),
        ("fakes.Requires", "fakes.Requires needs num_data=… and other=…, which has no default"),
        ("fakes.Requires(num_data=3)", "fakes.Requires needs other=…"),
        ("fakes.Around(k=3)", "fakes.Around is built from an object, its optimizer, which a spec can't write"),
        ("fakes.OnGpu", "fakes.OnGpu rejected these arguments: this optimizer needs CUDA"),
        ("grad | e | fakes.Asks", "fakes.Asks evaluates the closure"),
        ("fakes.Writes | caution", "fakes.Writes moves the weights itself"),
        ("route(matrix=fakes.Writes, other=adamw)", "fakes.Writes"),
    ],
)
def test_bad_arguments_are_one_line(spec, said):
    with pytest.raises(edsl.EdslError) as caught:
        edsl.parse(spec)
    assert said in str(caught.value).splitlines()[0]


def test_arguments_print_in_the_order_of_the_signature_and_read_back():
    text = "fakes.Rule(word='x', fused=True, eps=1e-6, betas=(0.5, 0.9), lr=None)"
    pipeline = edsl.parse(text)
    assert pipeline.line == "grad | fakes.Rule(lr=None, betas=(0.5, 0.9), eps=1e-06, fused=True, word='x')"
    assert edsl.parse(str(pipeline)) == pipeline
    assert pipeline.override(eps=1e-4).update.value_of("eps") == 1e-4
    assert pipeline.update.value_of("warmup_lr") == "auto"


# What they may do


@pytest.mark.parametrize("name", HABITS)
def test_behind_e_it_steps_as_it_does_alone(name):
    params, twins = parameters(), parameters()
    theirs = fake(name)(twins)
    if name == "Free":
        theirs.train()
    ours = edsl.compile(f"{IDENTITY} | fakes.{name}", params, mode="eager")
    rows = gradients(6)
    copies = [[g.clone() for g in row] for row in rows]
    assert worst(walk(ours, params, rows), walk(theirs, twins, copies)) == 0


@pytest.mark.parametrize("name", HABITS)
@pytest.mark.parametrize("before", ["e", "guard", "clip(norm=1)"])
def test_behind_a_stage_gradients_stay_as_they_were(name, before):
    params = parameters()
    optimizer = edsl.compile(f"grad | {before} | fakes.{name}", params, mode="eager")
    row = gradients(1)[0]
    for p, g in zip(params, row, strict=True):
        p.grad = g
    values = [g.clone() for g in row]
    optimizer.step()
    assert all(p.grad is g and torch.equal(g, v) for p, g, v in zip(params, row, values, strict=True))


@pytest.mark.parametrize("name", HABITS)
@pytest.mark.parametrize("way", ["file", "pickle"])
def test_behind_e_all_that_it_keeps_resumes_bit_for_bit(name, way):
    rows = gradients(8)
    params = parameters()
    spec = f"grad | e | fakes.{name}"
    optimizer = edsl.compile(spec, params, mode="eager")
    walk(optimizer, params, rows[:4])
    file = io.BytesIO()
    if way == "file":
        torch.save(optimizer.state_dict(), file)
        twins = [torch.nn.Parameter(p.detach().clone()) for p in params]
        twin = edsl.compile(spec, twins, mode="eager")
        file.seek(0)
        twin.load_state_dict(torch.load(file, weights_only=True))
    else:
        twins, twin = copy.deepcopy((params, optimizer))
    undisturbed = walk(optimizer, params, [[g.clone() for g in row] for row in rows[4:]])
    assert worst(walk(twin, twins, rows[4:]), undisturbed) == 0


def test_behind_e_its_groups_hold_what_it_counts_and_none_of_edsls_reach_it():
    params = parameters()
    optimizer = edsl.compile("grad | e | fakes.Together", params, mode="eager")
    walk(optimizer, params, gradients(3))
    (group,) = optimizer.param_groups
    assert group["taken"] == 3
    assert int(group["fakes.Together.k"]) == 3
    assert not {"alpha", "beta1", "pipeline", "exclude", "maximize"} & optimizer._inner.param_groups[0].keys()
    optimizer.add_param_group({"params": [torch.nn.Parameter(torch.ones(2))]})
    walk(optimizer, params, gradients(1))
    assert group["taken"] == 4


def test_its_state_is_counted_whole():
    params = parameters()
    size = sum(p.numel() for p in params) * params[0].element_size()
    for name, more in (("Consumes", 0), ("Together", 8 + params[0].element_size() * len(params))):
        optimizer = edsl.compile(f"fakes.{name}", params)
        walk(optimizer, params, gradients(1))
        assert state_bytes(optimizer) == (size if name == "Consumes" else 0) + more


def test_a_class_that_wants_a_closure_trains_alone_and_says_so_behind_e():
    params = parameters()
    alone = edsl.compile("fakes.Evaluates", params)
    before = [p.detach().clone() for p in params]
    alone.step(closure_for(alone.pipeline, alone, lambda: sum(p.square().sum() for p in params)))
    assert worst([[p.detach() for p in params]], [before]) > 0
    optimizer = edsl.compile("grad | e | fakes.Evaluates", params, mode="eager")
    with pytest.raises(edsl.EdslError, match=r"fakes\.Evaluates evaluates the loss itself: it works alone"):
        walk(optimizer, params, gradients(1))


# Two sets of weights


@pytest.mark.parametrize("before", ["", f"{IDENTITY} | "])
def test_it_is_ready_to_train_and_evaluates_with_its_other_weights(before, capfd):
    params, twins = parameters(), parameters()
    theirs = fake("Free")(twins)
    theirs.train()
    ours = edsl.compile(f"{before}fakes.Free", params)
    capfd.readouterr()
    rows = gradients(4)
    for row in rows:
        walk(ours, params, [[g.clone() for g in row]])
        trained = [p.detach().clone() for p in params]
        with edsl.evaluation_weights(ours):
            seen = [p.detach().clone() for p in params]
        assert all(torch.equal(p, q) for p, q in zip(params, trained, strict=True)), "bit for bit"
    walk(theirs, twins, rows)
    theirs.eval()
    capfd.readouterr()
    assert worst([seen], [[p.detach() for p in twins]]) == 0
    assert worst([seen], [trained]) > 1e-3


def test_evaluating_leaves_the_training_as_it_was():
    histories = []
    for looks in (False, True):
        params = parameters()
        optimizer = edsl.compile("grad | e | fakes.Free", params, mode="eager")
        histories.append([])
        for row in gradients(6):
            histories[-1] += walk(optimizer, params, [row])
            if looks:
                with optimizer.evaluation_weights():
                    pass
    assert worst(*histories) == 0


def test_an_optimizer_of_one_set_of_weights_evaluates_with_these():
    params = parameters()
    for optimizer in (torch.optim.SGD(params), edsl.compile("sgd", params, mode="eager")):
        with edsl.evaluation_weights(optimizer):
            pass


# Groups that say which parameters are orthogonalised


def halves(optimizer):
    """Names of the parameters in groups with the flag, and in those without."""
    found = {True: [], False: []}
    for group in optimizer.param_groups:
        found[group["use_muon"]] += group["params"]
    return found


@pytest.mark.parametrize("before", ["", f"{IDENTITY} | "])
def test_flagged_groups_are_those_of_a_route(before):
    net = model()
    optimizer = edsl.compile(f"{before}fakes.Halves(lr=0.05)", net)
    route = edsl.compile("route(matrix=muon, other=adamw)", net, mode="eager")
    matrices = [p for group in route.param_groups if group["route"] == "matrix" for p in group["params"]]
    assert [id(p) for p in halves(optimizer)[True]] == [id(p) for p in matrices] == [id(net[0].weight)]
    assert sorted(group["lr"] for group in optimizer.param_groups) == [0.05, 0.3]


def test_of_bare_tensors_matrices_are_flagged_and_groups_that_say_it_stay():
    params = parameters()
    optimizer = edsl.compile("fakes.Halves", params)
    assert all(p.dim() >= 2 for p in halves(optimizer)[True])
    assert all(p.dim() < 2 for p in halves(optimizer)[False])
    own = edsl.compile("fakes.Halves", [{"params": params, "use_muon": False, "lr": 3.0}])
    assert [(group["use_muon"], group["lr"]) for group in own.param_groups] == [(False, 3.0)]


def test_behind_e_flagged_groups_step_and_resume_as_alone():
    histories = []
    for before in ("", f"{IDENTITY} | "):
        params = parameters()
        optimizer = edsl.compile(f"{before}fakes.Halves(weight_decay=0.1)", params)
        walk(optimizer, params, gradients(2))
        twins = [torch.nn.Parameter(p.detach().clone()) for p in params]
        twin = edsl.compile(f"{before}fakes.Halves(weight_decay=0.1)", twins)
        twin.load_state_dict(optimizer.state_dict())
        histories.append(walk(twin, twins, gradients(4)))
    assert worst(*histories) == 0


def test_in_a_race_nobody_decays_what_another_leaves_out():
    net = model()
    groups = fair_groups(edsl.parse("fakes.Halves(weight_decay=0.1)"), net)
    found = [(group["use_muon"], group.get("weight_decay"), len(group["params"])) for group in groups]
    assert found == [(True, None, 1), (False, None, 1), (False, 0.0, 2)]
    behind = edsl.compile("grad | e | fakes.Halves(weight_decay=0.1)", groups)
    assert [(group["lr"], group["weight_decay"]) for group in behind.param_groups] == [
        (0.02, 0.1),
        (0.3, 0.1),
        (0.3, 0),
    ]
    groups = fair_groups(edsl.parse("fakes.Free(weight_decay=0.1)"), net)
    assert [(group.get("weight_decay"), len(group["params"])) for group in groups] == [(None, 2), (0.0, 2)]


# What is asked of them


def test_learning_rates_are_the_numbers_among_those_that_are_called_so():
    assert learning_rates(edsl.parse("fakes.Halves(lr=0.5)")) == {"lr": 0.5, "other_lr": 0.3}
    assert scaled(edsl.parse("fakes.Halves(lr=0.5)"), 10).line == "grad | fakes.Halves(lr=5, other_lr=3)"
    with pytest.raises(edsl.EdslError, match=r"fakes\.Rule has no learning rate to tune"):
        learning_rates(edsl.parse("fakes.Rule"))
    assert learning_rates(edsl.parse("fakes.Rule(lr=1)")) == {"lr": 1.0}


@pytest.mark.parametrize(
    ("name", "state"), [("Writes", 4), ("Consumes", 4), ("Numbers", 4), ("Asks", 0), ("Evaluates", 0), ("Halves", 0)]
)
def test_plan_knows_what_it_keeps_without_allocating_it(name, state):
    shapes = {"layer.weight": (1000, 2000), "layer.bias": (1000,)}
    found = memory(f"fakes.{name}", shapes)
    assert found.state == (None if name == "Evaluates" else state * found.parameters)


@pytest.mark.parametrize("name", ["Writes", "Consumes", "Together", "Free", "Halves"])
def test_schedulers_reach_it(name):
    for before in ("", "grad | e | "):
        params = parameters()
        optimizer = edsl.compile(f"{before}fakes.{name}", params)
        schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.0)
        walk(optimizer, params, gradients(1))
        schedule.step()
        weights = [p.detach().clone() for p in params]
        walk(optimizer, params, gradients(1))
        if name == "Free":
            assert all(group["lr"] == 0 for group in optimizer.param_groups)  # its average moves on
        else:
            assert worst([[p.detach() for p in params]], [weights]) == 0
