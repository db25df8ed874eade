"""The optimizer as torch and its users see it."""

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


def test_state_keys_do_not_depend_on_position():
    params = parameters()
    plain, clipped = (
        edsl.compile("alto", params, mode="eager"),
        edsl.compile("grad | clip(value=1) | alto", params, mode="eager"),
    )
    walk(plain, params, gradients(1))
    walk(clipped, params, gradients(1))
    assert list(plain.state[params[0]]) == list(clipped.state[params[0]]) == ["step", "e.mean", "lamb.m", "lamb.v"]
