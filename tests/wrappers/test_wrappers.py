"""What stands behind the update: where it may stand, and the weights to evaluate with."""

import pytest
import torch
from problem import gradients, parameters, walk

import edsl


def test_evaluation_weights_are_the_average_and_training_goes_on_bit_for_bit():
    params = parameters()
    optimizer = edsl.compile("sgd(lr=0.1) | ema_weights(decay=0.9)", params, mode="eager")
    history = walk(optimizer, params, gradients(6))
    average = [w.clone() for w in history[0]]
    for row in history[1:]:
        average = [0.9 * a + 0.1 * w for a, w in zip(average, row, strict=True)]
    with optimizer.evaluation_weights():
        assert all(torch.allclose(p, a, rtol=1e-12) for p, a in zip(params, average, strict=True))
    assert all(torch.equal(p, w) for p, w in zip(params, history[-1], strict=True))


def test_evaluation_weights_give_the_trained_ones_back_after_an_error():
    params = parameters()
    optimizer = edsl.compile("sgd(lr=0.1) | ema_weights", params, mode="eager")
    (trained,) = walk(optimizer, params, gradients(1))
    with pytest.raises(ZeroDivisionError), optimizer.evaluation_weights():
        raise ZeroDivisionError
    assert all(torch.equal(p, w) for p, w in zip(params, trained, strict=True))


@pytest.mark.parametrize("spec", ["sgd", "sgd | ema_weights", "route(matrix=sgd | ema_weights, other=sgd)"])
def test_evaluation_weights_without_an_average_are_the_trained_ones(spec):
    params = parameters()
    before = [p.detach().clone() for p in params]
    optimizer = edsl.compile(spec, params, mode="eager")
    with optimizer.evaluation_weights():
        assert all(torch.equal(p, b) for p, b in zip(params, before, strict=True))


def test_evaluation_weights_of_half_precision_are_averaged_in_float32():
    theta = torch.nn.Parameter(torch.ones(3, dtype=torch.bfloat16))
    optimizer = edsl.compile("sgd(lr=1e-4) | ema_weights(decay=0.5)", [theta], mode="eager")
    theta.grad = torch.ones_like(theta)
    optimizer.step()
    assert optimizer.state[theta]["ema_weights.average"].dtype == torch.float32
    with optimizer.evaluation_weights():
        assert theta.dtype == torch.bfloat16


def test_no_step_is_taken_inside_evaluation_weights_and_it_is_not_entered_twice():
    params = parameters()
    optimizer = edsl.compile("sgd | ema_weights", params, mode="eager")
    with optimizer.evaluation_weights():
        with pytest.raises(edsl.EdslError, match="inside evaluation_weights"):
            optimizer.step()
        with pytest.raises(edsl.EdslError, match="already active"), optimizer.evaluation_weights():
            pass
    optimizer.step()


def test_caution_drops_what_would_climb_and_keeps_the_mean_step():
    theta = torch.nn.Parameter(torch.zeros(4, dtype=torch.float64))
    optimizer = edsl.compile("sgd(lr=1.0, momentum=0.5) | caution", [theta], mode="eager")
    theta.grad = torch.tensor([1.0, 1.0, 1.0, 1.0], dtype=torch.float64)
    optimizer.step()
    before = theta.detach().clone()
    theta.grad = torch.tensor([-0.1, 1.0, 1.0, 0.0], dtype=torch.float64)
    optimizer.step()
    m = torch.tensor([0.4, 1.5, 1.5, 0.5], dtype=torch.float64)
    agrees = torch.tensor([0.0, 1.0, 1.0, 0.0], dtype=torch.float64)
    assert torch.allclose(theta, before - m * agrees / 0.5)


def test_decay_behind_is_adamws_decay():
    rows = gradients(20)
    ours, theirs = parameters(), parameters()
    behind = walk(edsl.compile("adamw(lr=0.01, weight_decay=0) | decay(rate=0.1)", ours, mode="eager"), ours, rows)
    inside = walk(edsl.compile("adamw(lr=0.01, weight_decay=0.1)", theirs, mode="eager"), theirs, rows)
    assert all(torch.allclose(a, b, rtol=1e-13) for x, y in zip(behind, inside) for a, b in zip(x, y))


def test_decay_follows_a_schedule_of_lr_and_spares_biases():
    model = torch.nn.Linear(2, 1)
    optimizer = edsl.compile("sgd(lr=0.1) | decay(rate=0.5)", model, mode="eager")
    weight, bias = model.weight.detach().clone(), model.bias.detach().clone()
    optimizer.param_groups[0]["lr"] = 0.2
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    assert torch.allclose(model.weight, 0.9 * weight)
    assert torch.equal(model.bias, bias)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("grad | caution | sgd", "caution .wrapper. must follow a base update"),
        ("sgd | caution | e", "e .adaptor. can't follow caution"),
        ("sgd | caution | adam", "can't follow|two base updates"),
        ("torch.SGD(lr=0.1) | caution", "moves the weights itself"),
        ("caution", "no base update"),
        ("grad | e | torch.SGD(lr=0.1) | ema_weights", "moves the weights itself"),
        ("sgd | lookahead(every=0)", "from 1"),
        ("sgd | ema_weights(decay=1)", r"\[0, 1\)"),
    ],
)
def test_a_wrapper_out_of_place_is_one_message_with_a_caret(text, message):
    with pytest.raises(edsl.EdslError, match=message) as raised:
        edsl.parse(text)
    assert str(raised.value).splitlines()[-1].strip() == "^"


def test_wrappers_follow_a_recipe_and_imply_its_estimator():
    assert str(edsl.parse("alto | decay")).endswith("| decay(rate=0.01)")
    assert str(edsl.parse("sgd | decay")).startswith("grad | sgd")
    assert edsl.sgd() | edsl.decay() == edsl.sgd() | edsl.decay()
    optimizer = edsl.compile(edsl.sgd(lr=0.1) | edsl.decay(), parameters(), mode="eager")
    assert str(optimizer.pipeline).startswith("grad | sgd")


def test_evaluation_weights_before_the_first_whole_step_are_the_trained_ones():
    params = parameters()
    optimizer = edsl.compile("grad(accumulate=4) | sgd | ema_weights", params, mode="eager")
    (trained,) = walk(optimizer, params, gradients(1))
    with optimizer.evaluation_weights():
        assert all(torch.equal(p, w) for p, w in zip(params, trained, strict=True))


def test_evaluation_weights_that_can_not_be_entered_change_nothing():
    params = parameters()
    optimizer = edsl.compile("sgd | ema_weights", params, mode="eager")
    (trained,) = walk(optimizer, params, gradients(1))
    params[-1].data = torch.zeros(5, dtype=torch.float64)
    with pytest.raises(edsl.EdslError, match="changed its shape"), optimizer.evaluation_weights():
        pass
    assert torch.equal(params[0], trained[0])


def test_averages_stand_behind_whatever_changes_the_step():
    with pytest.raises(edsl.EdslError, match="put decay before it"):
        edsl.parse("sgd | ema_weights | decay")
    edsl.parse("sgd | decay | ema_weights")
