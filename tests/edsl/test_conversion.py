"""Checkpoints of torch.optim go on as edsl's, and edsl's as torch's; what one side can't say is refused by its name."""

import copy
import pickle

import pytest
import torch
from torch import nn

import edsl
from edsl.optim.conversion.counterparts import NAMES
from edsl.optim.conversion.files import convert_file

SHAPES = ((3, 4), (4, 3), (5, 2))
SAME = [
    ("AdamW", {"weight_decay": 0.1, "betas": (0.8, 0.95)}),
    ("AdamW", {"amsgrad": True, "betas": (0.9, 0.99)}),
    ("AdamW", {"maximize": True, "foreach": True}),
    ("AdamW", {"fused": True}),
    ("Adam", {"weight_decay": 0.1, "eps": 1e-6}),
    ("Adam", {"amsgrad": True}),
    ("Adam", {"weight_decay": 0.1, "decoupled_weight_decay": True}),
    ("SGD", {"lr": 0.1}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.1, "maximize": True}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.9}),
    ("RMSprop", {"alpha": 0.9}),
    ("RMSprop", {"momentum": 0.5, "centered": True, "weight_decay": 0.1}),
    ("Muon", {"lr": 0.02, "adjust_lr_fn": "match_rms_adamw", "ns_steps": 4}),
    ("Muon", {"nesterov": False, "weight_decay": 0.0}),
    ("NAdam", {"decoupled_weight_decay": True, "weight_decay": 0.1}),
    ("NAdam", {"momentum_decay": 0.01}),
    ("RAdam", {"lr": 0.01}),
    ("Adamax", {"eps": 1e-6}),
]


@pytest.fixture
def _double():
    torch.set_default_dtype(torch.float64)  # of NAdam's product, which torch keeps in the default dtype
    yield
    torch.set_default_dtype(torch.float32)


def parameters(dtype=torch.float64, shapes=SHAPES):
    generator = torch.Generator().manual_seed(0)
    return [nn.Parameter(torch.randn(shape, generator=generator, dtype=dtype)) for shape in shapes]


def twins(params):
    return [nn.Parameter(p.detach().clone(), requires_grad=p.requires_grad) for p in params]


def walk(optimizer, params, steps, seed):
    """Steps on gradients that a seed draws, for all that need one."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        for parameter in params:
            drawn = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
            parameter.grad = drawn if parameter.requires_grad else None
        optimizer.step()


def apart(params, others):
    return max(
        float(((a - b).abs() / a.abs().clamp(min=1)).max().detach()) for a, b in zip(params, others, strict=True)
    )


def taken_on(saved, params, mode="eager"):
    """The edsl optimizer that goes on with a converted checkpoint."""
    optimizer = edsl.compile(saved["param_groups"][0]["pipeline"], params, exclude=(), mode=mode)
    optimizer.load_state_dict(saved)
    return optimizer


def refusal(checkpoint, **options):
    with pytest.raises(edsl.EdslError) as refused:
        edsl.convert(checkpoint, **options)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def torchs(name, params=None, steps=3, **options):
    params = params or parameters()
    optimizer = getattr(torch.optim, name)(params, **options)
    walk(optimizer, params, steps, seed=1)
    return optimizer


def edsls(spec, steps=3, params=None, **options):
    params = params or parameters()
    optimizer = edsl.compile(spec, params, mode="eager", **options)
    walk(optimizer, params, steps, seed=1)
    return optimizer


# --- there and back --------------------------------------------------------------------------------


@pytest.mark.usefixtures("_double")
@pytest.mark.parametrize(("name", "options"), SAME, ids=lambda value: str(value))
def test_steps_after_conversion_are_torchs_within_1e_12_and_back(name, options):
    params = parameters()
    theirs = torchs(name, params, 5, **options)
    others = twins(params)
    ours = taken_on(edsl.convert(copy.deepcopy(theirs.state_dict())), others)
    walk(theirs, params, 5, seed=2)
    walk(ours, others, 5, seed=2)
    assert apart(params, others) <= 1e-12

    thirds = twins(others)
    again = getattr(torch.optim, name)(thirds, lr=0.5)
    again.load_state_dict(edsl.convert(ours.state_dict()))
    walk(again, thirds, 5, seed=3)
    walk(ours, others, 5, seed=3)
    walk(theirs, params, 5, seed=3)
    assert apart(thirds, others) <= 1e-12
    assert apart(thirds, params) <= 1e-12


def test_every_counterpart_is_compared():
    assert {name for name, _ in SAME} == {*NAMES}


@pytest.mark.parametrize("name", ["AdamW", "RMSprop"])
def test_float32_agrees_to_its_rounding_in_native_code(name):
    params = parameters(torch.float32)
    theirs = torchs(name, params, 5, lr=0.01)
    others = twins(params)
    ours = taken_on(edsl.convert(copy.deepcopy(theirs.state_dict())), others, mode="compiled")
    walk(theirs, params, 5, seed=2)
    walk(ours, others, 5, seed=2)
    assert apart(params, others) <= 1e-6
    assert {path.taken for found in ours.paths().values() for path in found} == {"C++"}


def test_groups_frozen_parameters_missing_state_and_tensor_rates_go_on():
    params = parameters()
    params[1].requires_grad_(False)
    groups = [
        {"params": params[:2], "lr": torch.tensor(0.02, dtype=torch.float64), "weight_decay": 0.0},
        {"params": params[2:], "betas": (0.8, 0.9), "eps": 1e-4},
    ]
    theirs = torch.optim.AdamW(groups, lr=0.01, weight_decay=0.1)
    params[2].requires_grad_(False)  # it is unfrozen later, without state
    walk(theirs, params, 4, seed=1)
    saved = edsl.convert(copy.deepcopy(theirs.state_dict()))
    assert [*saved["state"]] == [0]
    others = twins(params)
    made = [{"params": others[:2]}, {"params": others[2:]}]
    ours = taken_on(saved, made)
    assert [group["weight_decay"] for group in ours.param_groups] == [0, 0.1]
    for one in (params, others):
        one[2].requires_grad_(True)
    walk(theirs, params, 4, seed=2)
    walk(ours, others, 4, seed=2)
    assert apart(params, others) <= 1e-12


@pytest.mark.parametrize(("name", "decays"), [("SGD", (0.0, 0.9)), ("SGD", (0.9, 0.0)), ("RMSprop", (0.0, 0.5))])
def test_groups_with_and_without_momentum_go_on_and_back(name, decays):
    params = parameters()
    groups = [{"params": params[:1], "momentum": decays[0]}, {"params": params[1:], "momentum": decays[1]}]
    theirs = getattr(torch.optim, name)(groups, lr=0.01)
    walk(theirs, params, 4, seed=1)
    others = twins(params)
    saved = edsl.convert(copy.deepcopy(theirs.state_dict()))
    ours = taken_on(saved, [{"params": others[:1]}, {"params": others[1:]}])
    walk(theirs, params, 4, seed=2)
    walk(ours, others, 4, seed=2)
    assert apart(params, others) <= 1e-12
    back = edsl.convert(ours)
    walk(theirs, params, 4, seed=3)
    walk(back, others, 4, seed=3)
    assert apart(params, others) <= 1e-12


def test_a_scheduler_goes_on_with_its_own_state_dict():
    params = parameters()
    theirs = torchs("SGD", params, 0, lr=0.1, momentum=0.9)
    rates = torch.optim.lr_scheduler.CosineAnnealingLR(theirs, 10)
    for step in range(4):
        walk(theirs, params, 1, seed=step)
        rates.step()
    others = twins(params)
    ours = taken_on(edsl.convert(copy.deepcopy(theirs.state_dict())), others)
    assert ours.param_groups[0]["initial_lr"] == 0.1
    own = torch.optim.lr_scheduler.CosineAnnealingLR(ours, 10)
    own.load_state_dict(rates.state_dict())
    ours.load_state_dict(edsl.convert(copy.deepcopy(theirs.state_dict())))  # as torch says: the optimizer's after it
    for step in range(4, 8):
        for optimizer, mine, rate in ((theirs, params, rates), (ours, others, own)):
            walk(optimizer, mine, 1, seed=step)
            rate.step()
    assert ours.param_groups[0]["lr"] == theirs.param_groups[0]["lr"]
    assert apart(params, others) <= 1e-12


@pytest.mark.parametrize("count", [3, 3.0, torch.tensor(3.0), torch.tensor(3)])
def test_steps_may_be_numbers_or_tensors_of_any_kind(count):
    saved = torchs("Adam").state_dict()
    for state in saved["state"].values():
        state["step"] = count
    assert [int(state["step"]) for state in edsl.convert(saved)["state"].values()] == [3] * 3


def test_an_older_torchs_checkpoint_goes_on_once_it_is_named():
    saved = torchs("AdamW").state_dict()
    for key in ("decoupled_weight_decay", "fused", "differentiable", "maximize", "foreach", "capturable"):
        del saved["param_groups"][0][key]
    assert "which may be of Adam or of AdamW: say which" in refusal(saved)
    named = edsl.convert(saved, optimizer="AdamW")["param_groups"][0]["pipeline"]
    assert named.startswith("grad | adamw(")
    assert edsl.convert(saved, optimizer="Adam")["param_groups"][0]["pipeline"].startswith("grad | adam(")


@pytest.mark.parametrize(("name", "key"), [("SGD", "sgd.m"), ("Muon", "muon.m")])
def test_steps_are_given_where_torch_counts_none(name, key):
    options = {"momentum": 0.9} if name == "SGD" else {}
    saved = edsl.convert(torchs(name, **options).state_dict(), steps=7)
    assert [(int(state["step"]), key in state) for state in saved["state"].values()] == [(7, True)] * 3


# --- optimizers themselves -------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["AdamW", "Muon"])
def test_an_optimizer_stands_for_another_over_the_same_parameters_and_leaves_it_alone(name):
    params = parameters()
    theirs = torchs(name, params, 4, lr=0.01)
    before = copy.deepcopy(theirs.state_dict())
    references = twins(params)
    reference = getattr(torch.optim, name)(references)
    reference.load_state_dict(copy.deepcopy(before))
    ours = edsl.convert(theirs)
    assert [id(p) for p in ours.param_groups[0]["params"]] == [id(p) for p in params]
    walk(ours, params, 3, seed=2)
    back = edsl.convert(ours)
    assert type(back) is getattr(torch.optim, name)
    walk(back, params, 3, seed=3)
    walk(reference, references, 3, seed=2)
    walk(reference, references, 3, seed=3)
    assert apart(params, references) <= 1e-12
    for number, state in theirs.state_dict()["state"].items():
        assert all(torch.equal(state[key], before["state"][number][key]) for key in state)


def test_what_edsl_excludes_from_decay_is_a_group_without_decay_in_torch():
    model = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4)).double()
    ours = edsl.compile("adamw(lr=0.01, weight_decay=0.3)", model, mode="eager")
    walk(ours, [*model.parameters()], 3, seed=1)
    twin = copy.deepcopy(model)
    saved = edsl.convert(ours.state_dict())
    decays = {name: group["weight_decay"] for group in saved["param_groups"] for name in group["param_names"]}
    assert decays == {"0.weight": 0.3, "0.bias": 0.0, "1.weight": 0.0, "1.bias": 0.0}
    named = dict(twin.named_parameters())
    theirs = torch.optim.AdamW([{"params": [(n, named[n]) for n in g["param_names"]]} for g in saved["param_groups"]])
    theirs.load_state_dict(saved)
    walk(ours, [*model.parameters()], 3, seed=2)
    walk(theirs, [*twin.parameters()], 3, seed=2)
    assert apart([*model.parameters()], [*twin.parameters()]) <= 1e-12
    assert len(edsl.convert(ours).param_groups) == 2


def test_muons_matrices_are_known_to_be_whole_by_the_optimizer_alone():
    ours = edsls("muon(lr=0.02, polynomials='jordan', precision='bfloat16')")
    assert "split='auto' is not torch.optim.Muon" in refusal(ours.state_dict())
    assert type(edsl.convert(ours)) is torch.optim.Muon
    cut = edsls("muon(polynomials='jordan', precision='bfloat16', heads=2)", params=parameters(shapes=((4, 3),)))
    assert "heads=2" in refusal(cut)
    cut = edsls("muon(polynomials='jordan', precision='bfloat16', split=(2, 2))", params=parameters(shapes=((4, 3),)))
    assert "cuts some of these parameters into several matrices, as torch.optim.Muon can't" in refusal(cut)


# --- what is refused -------------------------------------------------------------------------------

OF_TORCH = [
    (
        "SGD",
        {"momentum": 0.9, "dampening": 0.3},
        "no update of edsl takes the steps of torch.optim.SGD with dampening=0.3",
    ),
    ("Adam", {"amsgrad": True, "weight_decay": 0.1}, "torch.optim.Adam with amsgrad=True"),
    ("NAdam", {"weight_decay": 0.1}, "torch.optim.NAdam with decoupled_weight_decay=False"),
    ("RAdam", {"weight_decay": 0.1}, "torch.optim.RAdam with decoupled_weight_decay=False"),
    ("Adamax", {"weight_decay": 0.1}, "torch.optim.Adamax with weight_decay=0.1"),
    ("Muon", {"ns_coefficients": (3.0, -4.0, 2.0)}, "torch.optim.Muon with ns_coefficients=(3.0, -4.0, 2.0)"),
    ("AdamW", {"differentiable": True}, "torch.optim.AdamW with differentiable=True"),
    ("Adagrad", {}, "torch.optim.Adagrad has no counterpart here; those that have one: AdamW, Adam"),
    ("Adadelta", {}, "torch.optim.Adadelta has no counterpart"),
    ("Adafactor", {}, "torch.optim.Adafactor has no counterpart"),
    ("Rprop", {}, "torch.optim.Rprop has no counterpart"),
    ("ASGD", {}, "torch.optim.ASGD has no counterpart"),
    ("SparseAdam", {}, "this checkpoint is of none of torch.optim's AdamW, Adam, SGD"),
]


@pytest.mark.parametrize(("name", "options", "said"), OF_TORCH, ids=lambda value: str(value)[:40])
def test_an_option_of_torchs_that_no_update_has_is_refused_by_name(name, options, said):
    optimizer = getattr(torch.optim, name)(parameters(), **options)
    assert said in refusal(optimizer.state_dict())


OF_EDSL = [
    ("alto", "torch.optim has no e: grad | e"),
    ("lamb", "lamb has no counterpart in torch.optim; those that have one: adamw"),
    ("adamw | ema_weights", "torch.optim has no ema_weights"),
    ("grad(accumulate=2) | adamw", "torch.optim has no grad(accumulate=2)"),
    ("route(matrix=muon, other=adamw)", "torch.optim has no routes"),
    ("muon", "muon with polynomials='minimax' is not torch.optim.Muon, which is polynomials='jordan'"),
    ("radam", "radam with threshold=4 is not torch.optim.RAdam, which is threshold=5"),
    ("amsgrad", "amsgrad with bias_correction=False is not torch.optim.AdamW"),
    ("adamax(weight_decay=0.1)", "adamax with weight_decay=0.1 is not torch.optim.Adamax"),
    ("adamw(lr=constant(0.01, warmup=10))", "lr follows constant(0.01, warmup=10) by itself"),
]


@pytest.mark.parametrize(("spec", "said"), OF_EDSL)
def test_a_pipeline_that_torch_has_not_is_refused_by_name(spec, said):
    assert said in refusal(edsls(spec, steps=1).state_dict())


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda saved: saved.pop("state"), "not an optimizer's state_dict"),
        (lambda saved: saved["param_groups"].clear(), "its 'param_groups' are empty"),
        (lambda saved: saved["param_groups"][0].pop("lr"), "param group 0 has no lr"),
        (
            lambda saved: saved["param_groups"][0].update(betas=0.9),
            "betas of param group 0 must be two numbers, got 0.9",
        ),
        (lambda saved: saved["param_groups"][0].update(lr=-1), "lr must lie in [0, ∞), got -1"),
        (lambda saved: saved["param_groups"][0].update(lr_scale=2), "hold lr_scale, which torch.optim.AdamW has not"),
        (lambda saved: saved["state"][1].pop("exp_avg"), "the state of parameter 1 has no exp_avg"),
        (lambda saved: saved["state"][1].pop("step"), "the state of parameter 1 has no step"),
        (lambda saved: saved["state"][1].update(step=-1), "a step must be a whole number ≥ 0, got -1"),
        (lambda saved: saved["state"][1].update(step=torch.ones(2)), "a step must be a whole number ≥ 0, got tensor"),
        (lambda saved: saved["state"][1].update(exp_avg_var=0), "its states hold exp_avg_var"),
        (lambda saved: saved["state"].update({9: {}}), "its states don't belong to the parameters"),
    ],
)
def test_a_malformed_checkpoint_is_one_line(edit, said):
    saved = copy.deepcopy(torchs("AdamW").state_dict())
    edit(saved)
    assert said in refusal(saved)


def test_groups_that_no_one_pipeline_has_are_refused():
    params = parameters()
    groups = [{"params": params[:1], "nesterov": True}, {"params": params[1:]}]
    optimizer = torch.optim.SGD(groups, lr=0.1, momentum=0.9)
    assert "its param groups can't share one pipeline" in refusal(optimizer.state_dict())


def test_a_strangers_optimizer_is_not_taken_for_torchs_until_it_is_named():
    class Mine(torch.optim.AdamW):
        pass

    mine = Mine(parameters(), lr=0.01)
    assert "Mine is none of torch.optim's own AdamW" in refusal(mine)
    assert isinstance(edsl.convert(mine, optimizer="AdamW"), edsl.PipelineOptimizer)
    assert "torch.optim.Adafactor has no counterpart here" in refusal(mine, optimizer="Adafactor")
    assert "steps must be a whole number" in refusal(mine, optimizer="AdamW", steps=-1)


# --- files -----------------------------------------------------------------------------------------


def test_a_file_is_converted_in_its_place_and_loads_with_weights_only(tmp_path):
    params = parameters()
    theirs = torchs("AdamW", params)
    held = {"model": {"w": params[0].detach()}, "optimizer_states": [theirs.state_dict()], "epoch": 3}
    torch.save(held, tmp_path / "a.pt")
    found = convert_file(tmp_path / "a.pt", tmp_path / "b.pt")
    assert (found.place, found.to, found.parameters, found.with_state) == ("optimizer_states.0", "edsl", 3, 3)
    new = torch.load(tmp_path / "b.pt", weights_only=True)
    assert new["epoch"] == 3
    assert torch.equal(new["model"]["w"], params[0])
    taken_on(new["optimizer_states"][0], twins(params))
    again = convert_file(tmp_path / "b.pt", tmp_path / "c.pt")
    assert (again.to, again.optimizer) == ("torch", "torch.optim.AdamW")
    torch.optim.AdamW(twins(params)).load_state_dict(
        torch.load(tmp_path / "c.pt", weights_only=True)["optimizer_states"][0]
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.pt", "b.pt", "c.pt"]


def test_a_file_that_can_not_be_converted_is_one_line_and_leaves_nothing(tmp_path):
    saved = torchs("AdamW").state_dict()
    torch.save(saved, tmp_path / "a.pt")
    torch.save({"one": saved, "two": saved}, tmp_path / "two.pt")
    torch.save({"weights": torch.ones(2)}, tmp_path / "none.pt")
    (tmp_path / "code.pt").write_bytes(pickle.dumps(Exception("x")))
    (tmp_path / "text.pt").write_text("hello")
    torch.save({**saved, "param_groups": [{**saved["param_groups"][0], "params": [[0], 1, 2]}]}, tmp_path / "odd.pt")
    here = sorted(path.name for path in tmp_path.iterdir())
    for source, target, options, said in (
        ("a.pt", "two.pt", {}, "two.pt exists already; choose another name"),
        ("a.pt", "no/where.pt", {}, "can't write"),
        ("a.pt", 300 * "n", {}, "can't write"),
        ("odd.pt", "new.pt", {}, "params must be numbers or names of parameters, got [0]"),
        ("gone.pt", "new.pt", {}, "there is no file"),
        ("two.pt", "new.pt", {}, "holds several optimizers: choose one by --at, of one, two"),
        ("two.pt", "new.pt", {"place": "three"}, "holds no optimizer's state_dict at three; it has: one, two"),
        ("none.pt", "new.pt", {}, "holds no optimizer's state_dict"),
        ("code.pt", "new.pt", {}, "code.pt"),
        ("text.pt", "new.pt", {}, "text.pt is no file of torch.save"),
        (".", "new.pt", {}, "is a folder"),
    ):
        with pytest.raises(edsl.EdslError) as refused:
            convert_file(tmp_path / source, tmp_path / target, **options)
        assert said in str(refused.value)
        assert "\n" not in str(refused.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == here
