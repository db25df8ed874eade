"""The optimizer as torch and its users see it."""

import copy
import pickle

import pytest
import torch
from problem import gradients, parameters, walk, worst
from torch import nn

import edsl


def model() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 1))


def train(net, optimizer, steps=3):
    data = torch.randn(8, 3, generator=torch.Generator().manual_seed(4))
    for _ in range(steps):
        optimizer.zero_grad()
        net(data).square().mean().backward()
        optimizer.step()
    return [p.detach().clone() for p in net.parameters()]


def test_module_named_and_bare_parameters_are_taken():
    net = model()
    for params in (net, net.named_parameters(), list(net.named_parameters()), net.parameters()):
        optimizer = edsl.compile("alto", params)
        assert isinstance(optimizer, torch.optim.Optimizer)
        assert len(optimizer.param_groups[0]["params"]) == 6


def test_class_text_and_pipeline_train_alike():
    trained = []
    for build in (
        lambda p: edsl.ALTO(p, lr=0.05, batch_size=64, mode="eager"),
        lambda p: edsl.ALTO(p, 0.05, alpha=0.5, beta1=0.01, mode="eager"),
        lambda p: edsl.compile("alto(lr=0.05, batch_size=64)", p, mode="eager"),
        lambda p: edsl.compile(edsl.parse("alto(batch_size=64)"), p, mode="eager", lr=0.05),
        lambda p: edsl.compile(edsl.grad() | edsl.e(alpha=0.5, beta1=0.01) | edsl.lamb(lr=0.05), p, mode="eager"),
    ):
        torch.manual_seed(0)
        net = model()
        trained.append(train(net, build(list(net.parameters()))))
    assert all(worst([trained[0]], [other]) == 0 for other in trained[1:])


def test_every_class_is_importable_and_pickles():
    for cls in (
        edsl.ALTO, edsl.ALTOVanilla, edsl.ESGD, edsl.EAdam, edsl.EAdamW, edsl.Lamb, edsl.Adam, edsl.AdamW, edsl.SGD
    ):  # fmt: skip
        net = model()
        optimizer = cls(net.parameters(), lr=0.05, mode="eager")
        train(net, optimizer)
        again = pickle.loads(pickle.dumps(optimizer))
        assert type(again) is cls
        assert again.mode == "eager"
        assert again.pipeline == optimizer.pipeline
        assert str(again) == str(optimizer)


def test_groups_have_hyper_parameters_of_their_own():
    params = [nn.Parameter(torch.ones(2)) for _ in range(3)]
    optimizer = edsl.compile(
        "adam(lr=0.1)",
        [{"params": params[0]}, {"params": params[1], "lr": 0.2, "betas": (0.5, 0.6), "eps": 0.0}],
        mode="eager",
    )
    optimizer.add_param_group({"params": params[2], "lr": 0.3, "eps1": 0.0})
    rows = [[torch.ones(2)] * 3]
    walk(optimizer, params, rows)
    torch.testing.assert_close(torch.stack([p.detach()[0] for p in params]), torch.tensor([0.9, 0.8, 0.7]))
    assert optimizer.param_groups[1]["beta2"] == 0.5
    assert "betas" not in optimizer.param_groups[1]
    assert all(set(optimizer.defaults) <= set(group) for group in optimizer.param_groups)


@pytest.mark.parametrize(
    "group",
    [
        {"lr": -1},
        {"lr": "fast"},
        {"beta2": 1.5},
        {"alpha": 500},
        {"betas": 3},
        {"exclude": ("bias",)},
        {"exclude": "bias"},
    ],
)
def test_bad_group_is_an_edsl_error_and_is_not_added(group):
    optimizer = edsl.compile("alto", [nn.Parameter(torch.ones(2))])
    with pytest.raises(edsl.EdslError):
        optimizer.add_param_group({"params": [nn.Parameter(torch.ones(2))], **group})
    assert len(optimizer.param_groups) == 1


def test_bad_options_are_edsl_errors():
    params = [nn.Parameter(torch.ones(2))]
    for build in (
        lambda: edsl.compile("alto", params, mode="fast"),
        lambda: edsl.compile("alto", params, gamma=3),
        lambda: edsl.compile("alto", params, lr=-3),
        lambda: edsl.compile("torch.AdamW(lr=0.1)", params, exclude=("bias",)),
        lambda: edsl.ALTO(params, batch_size=0),
        lambda: edsl.compile("grad | e | torch.LBFGS(lr=0.1)", params),
    ):
        with pytest.raises(edsl.EdslError):
            build()


def test_closure_runs_once_with_gradients_enabled_and_its_loss_is_returned():
    net = model()
    optimizer = edsl.compile("esgd", net, mode="eager")
    calls = []

    def closure():
        calls.append(torch.is_grad_enabled())
        optimizer.zero_grad()
        loss = net(torch.ones(2, 3)).mean()
        loss.backward()
        return loss

    with torch.no_grad():
        loss = optimizer.step(closure)
    assert calls == [True]
    assert loss.requires_grad
    assert torch.is_grad_enabled()


def test_hooks_run_once_before_and_after():
    params = parameters()
    optimizer = edsl.compile("sgd", params, mode="eager")
    seen = []
    optimizer.register_step_pre_hook(lambda *_: seen.append("pre"))
    optimizer.register_step_post_hook(lambda *_: seen.append("post"))
    walk(optimizer, params, gradients(2))
    assert seen == ["pre", "post"] * 2


def test_bias_and_norm_are_excluded_when_names_are_known_and_not_for_bare_tensors():
    net = model()
    by_type = edsl.compile("alto", net).param_groups[0]["exclude"]
    assert by_type == ("0.bias", "1.weight", "1.bias", "3.bias")
    by_name = edsl.compile("alto", [("bn1.weight", net[1].weight), ("head.weight", net[3].weight)])
    assert by_name.param_groups[0]["exclude"] == ("bn1.weight",)
    assert edsl.compile("alto", net.parameters()).param_groups[0]["exclude"] == ()
    assert edsl.compile("alto", net, exclude=()).param_groups[0]["exclude"] == ()
    assert edsl.compile("alto", net, exclude=("3.*",)).param_groups[0]["exclude"] == ("3.weight", "3.bias")
    with pytest.raises(edsl.EdslError, match="exclude needs names"):
        edsl.compile("alto", net.parameters(), exclude=("bias",))


@pytest.mark.parametrize("mode", ["eager", "compiled"])
def test_excluded_parameter_has_neither_decay_nor_layerwise_factor(mode):
    params = {"weight": nn.Parameter(torch.full((4,), 2.0)), "bias": nn.Parameter(torch.full((4,), 2.0))}
    optimizer = edsl.compile("lamb(lr=0.1, weight_decay=0.5, eps1=0, eps2=0, eps3=0)", params.items(), mode=mode)
    walk(optimizer, list(params.values()), [[torch.ones(4)] * 2])
    torch.testing.assert_close(params["bias"].detach(), torch.full((4,), 1.9))  # Adam's first step is lr
    torch.testing.assert_close(params["weight"].detach(), torch.full((4,), 1.8))  # lr ‖θ‖/‖r‖ r = lr θ


def test_checkpoint_of_another_pipeline_is_an_error_that_names_both():
    params = parameters()
    optimizer, other = edsl.compile("alto", params, mode="eager"), edsl.compile("eadam", params, mode="eager")
    walk(other, params, gradients(1))
    before = copy.deepcopy(optimizer.state_dict())
    with pytest.raises(
        edsl.EdslError, match=r"(?s)this checkpoint is of: grad \| e.*adam\(.*this optimizer is: .*lamb"
    ):
        optimizer.load_state_dict(other.state_dict())
    assert str(optimizer.state_dict()) == str(before)


def spoilt(state_dict, spoil):
    state_dict = copy.deepcopy(state_dict)
    spoil(state_dict)
    return state_dict


@pytest.mark.parametrize(
    "spoil",
    [
        lambda d: d.pop("state"),
        lambda d: d["param_groups"][0].pop("lr"),
        lambda d: d["param_groups"][0].pop("pipeline"),
        lambda d: d["param_groups"][0].update(pipeline="rubbish"),
        lambda d: d["state"][0].pop("e.mean"),
        lambda d: d["state"][0].update({"lamb.m": torch.zeros(2)}),
        lambda d: d["state"][0].update({"step": "three"}),
    ],
)
def test_checkpoint_that_is_not_whole_is_an_error_and_changes_nothing(spoil):
    params = parameters()
    optimizer = edsl.compile("alto", params, mode="eager")
    walk(optimizer, params, gradients(2))
    good = copy.deepcopy(optimizer.state_dict())
    with pytest.raises(edsl.EdslError):
        optimizer.load_state_dict(spoilt(good, spoil))
    assert str(optimizer.state_dict()) == str(good)


def test_checkpoint_takes_its_hyper_parameters_along():
    params = parameters()
    saved = edsl.compile("alto(lr=0.5, alpha=-2)", params, mode="eager")
    walk(saved, params, gradients(1))
    optimizer = edsl.compile("alto", params, mode="eager")
    optimizer.load_state_dict(state_dict=saved.state_dict())
    assert (optimizer.param_groups[0]["lr"], optimizer.param_groups[0]["alpha"]) == (0.5, -2)
    history = walk(optimizer, params, gradients(1))
    assert history


def test_load_hooks_of_the_user_are_honoured():
    params = parameters()
    optimizer = edsl.compile("alto", params, mode="eager")
    walk(optimizer, params, gradients(1))
    saved = optimizer.state_dict()

    def double(_, state_dict):
        state_dict = copy.deepcopy(state_dict)
        for state in state_dict["state"].values():
            state["lamb.m"] *= 2
        return state_dict

    twin = edsl.compile("alto", params, mode="eager")
    twin.register_load_state_dict_pre_hook(double)
    twin.load_state_dict(saved)
    assert torch.equal(twin.state[params[0]]["lamb.m"], 2 * optimizer.state[params[0]]["lamb.m"])


def test_state_keys_do_not_depend_on_position():
    params = parameters()
    plain, clipped = (
        edsl.compile("alto", params, mode="eager"),
        edsl.compile("grad | clip(value=1) | alto", params, mode="eager"),
    )
    walk(plain, params, gradients(1))
    walk(clipped, params, gradients(1))
    assert list(plain.state[params[0]]) == list(clipped.state[params[0]]) == ["step", "e.mean", "lamb.m", "lamb.v"]


@pytest.mark.parametrize("scheduler", ["StepLR", "CosineAnnealingLR", "OneCycleLR", "LambdaLR", "ReduceLROnPlateau"])
def test_schedulers_of_torch_drive_lr(scheduler):
    params = parameters()
    optimizer = edsl.compile("alto(lr=0.1)", params, mode="eager")
    options = {
        "StepLR": {"step_size": 1},
        "CosineAnnealingLR": {"T_max": 5},
        "OneCycleLR": {"max_lr": 0.2, "total_steps": 7, "cycle_momentum": False},
        "LambdaLR": {"lr_lambda": lambda step: 1 / (1 + step)},
        "ReduceLROnPlateau": {"patience": 0},
    }
    schedule = getattr(torch.optim.lr_scheduler, scheduler)(optimizer, **options[scheduler])
    rates = set()
    for row in gradients(5):
        walk(optimizer, params, [row])
        schedule.step(1.0) if scheduler == "ReduceLROnPlateau" else schedule.step()
        rates.add(optimizer.param_groups[0]["lr"])
    assert len(rates) > 2


def test_one_cycle_cycles_the_momentum_of_sgd():
    params = parameters()
    optimizer = edsl.compile("esgd(lr=0.1)", params, mode="eager")
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.2, total_steps=10)
    seen = set()
    for row in gradients(5):
        walk(optimizer, params, [row])
        schedule.step()
        seen.add(optimizer.param_groups[0]["momentum"])
    assert len(seen) > 2
