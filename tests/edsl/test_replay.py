"""Steps that repeat the one before: bit for bit what general steps do, and general again whenever anything changes."""

import pytest
import torch
from torch import nn

import edsl
from edsl.engine.replay import Replay

SPECS = [
    "alto",
    "eadamw",
    "adamw",
    "grad | e(start='first') | lars(momentum=0.9)",
    "lion",
    "sgd(lr=0.1, momentum=0.9)",
    "adamw | ema_weights(decay=0.9)",
]


def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(2, 3, 3), nn.Flatten(), nn.Linear(12, 5), nn.Linear(5, 1, bias=False))


@pytest.fixture
def repeated(monkeypatch):
    """The number of steps that were repeated."""
    counted = []
    step = Replay.step
    monkeypatch.setattr(Replay, "step", lambda roster, gradients: counted.append(step(roster, gradients)))
    return counted


def general(built):
    """Take general steps alone: a watched step is one."""
    built.watchers.append(lambda seen: None)
    return built


def set_gradients(net, step, without=()):
    generator = torch.Generator().manual_seed(step)
    for place, parameter in enumerate(net.parameters()):
        drawn = torch.randn(parameter.shape, generator=generator).to(parameter.dtype)
        parameter.grad = None if place in without else drawn


def pair(spec, **options):
    """The same twice: one that may repeat steps, and one that takes general ones."""
    nets = model(), model()
    one, other = (edsl.compile(spec, net, **options) for net in nets)
    return list(zip(nets, (one, general(other)), strict=True))


def everything(net, optimizer):
    states = [optimizer.state[parameter] for parameter in net.parameters()]
    return [*net.parameters()], [value for state in states for value in state.values()]


def assert_same(sides):
    (theta, state), (theta2, state2) = (everything(*side) for side in sides)
    assert len(state) == len(state2)
    for a, b in zip([*theta, *state], [*theta2, *state2], strict=True):
        assert torch.equal(a, b)


def walk(sides, steps, without=()):
    for step in steps:
        for net, optimizer in sides:
            set_gradients(net, step, without)
            optimizer.step()


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("state_dtype", [None, "bfloat16"])
def test_repeated_steps_are_general_ones_bit_for_bit(spec, state_dtype, repeated):
    sides = pair(spec, state_dtype=state_dtype)
    for step in range(8):
        for _, optimizer in sides:
            optimizer.param_groups[0]["lr"] = 0.1 / (step + 1)
        walk(sides, [step])
        assert_same(sides)
    assert len(repeated) == 6  # of one side, after two general steps


def test_groups_with_kernels_steps_and_values_of_their_own_repeat(repeated):
    sides = []
    for wrap in (lambda built: built, general):
        net = model()
        net[2].double()
        whole, halves, rest = net[0].parameters(), net[2].parameters(), net[3].parameters()
        groups = [{"params": list(whole), "lr": 0.3}, {"params": list(halves), "alpha": -1.0}, {"params": list(rest)}]
        sides.append((net, wrap(edsl.compile("alto", groups))))
    walk(sides, range(2), without=(1, 4))  # these are some steps behind from now on
    walk(sides, range(2, 8))
    assert_same(sides)
    optimizer = sides[0][1]
    assert len(repeated) == 4
    assert optimizer.compiled_graphs == 2


def test_a_closure_is_called_once_a_step_and_its_loss_returned(repeated):
    sides = pair("alto")
    calls = 0
    for step in range(6):
        for net, optimizer in sides:

            def closure(net=net, optimizer=optimizer, step=step):
                nonlocal calls
                calls += 1
                optimizer.zero_grad()
                loss = net(torch.full((2, 2, 4, 4), 1.0 + step)).pow(2).sum()
                loss.backward()
                return loss

            net[0].bias.requires_grad_(step != 4)  # step 4 is general again: it has one gradient less
            assert optimizer.step(closure).requires_grad
    assert calls == 12
    assert len(repeated) == 2  # steps 2 and 3
    assert_same(sides)


def change_lr(net, optimizer):
    optimizer.param_groups[0]["lr"] = 0.2


def change_several_values(net, optimizer):
    optimizer.param_groups[0].update(alpha=-1.0, weight_decay=0.3)


def exclude_nothing(net, optimizer):
    optimizer.param_groups[0]["exclude"] = ()


def maximize(net, optimizer):
    optimizer.param_groups[0]["maximize"] = True


def move_a_parameter(net, optimizer):
    net[2].weight.data = net[2].weight.data * 2


def transpose_a_parameter(net, optimizer):
    square = torch.arange(25.0).view(5, 5)
    net[2].weight.data = square.t()[:, :4].repeat(1, 3)[:, :12].t().contiguous().t()


def relayout_a_parameter(net, optimizer):
    net[0].weight.data = net[0].weight.data.contiguous(memory_format=torch.channels_last)


def replace_a_buffer(net, optimizer):
    state = optimizer.state[net[2].weight]
    state["lamb.m"] = state["lamb.m"] + 1


def move_a_buffer(net, optimizer):
    state = optimizer.state[net[2].weight]
    state["lamb.m"].data = state["lamb.m"].data + 1


def replace_a_state(net, optimizer):
    optimizer.state[net[2].weight] = {name: value.clone() for name, value in optimizer.state[net[2].weight].items()}


def forget_a_state(net, optimizer):
    del optimizer.state[net[2].weight]


def add_to_a_state(net, optimizer):
    optimizer.state[net[2].weight]["mine"] = 3


def turn_back_a_step(net, optimizer):
    optimizer.state[net[2].weight]["step"].fill_(1)


def load_a_checkpoint(net, optimizer):
    optimizer.load_state_dict(optimizer.state_dict())


def drop_a_parameter(net, optimizer):
    optimizer.param_groups[0]["params"].pop()


def swap_parameters(net, optimizer):
    listed = optimizer.param_groups[0]["params"]
    listed[0], listed[1] = listed[1], listed[0]


def add_a_group(net, optimizer):
    net.append(nn.Linear(1, 2, bias=False))
    nn.init.ones_(net[-1].weight)
    optimizer.add_param_group({"params": [("last", net[-1].weight)], "lr": 0.5})


def take_steps_elsewhere(net, optimizer):
    with optimizer.evaluation_weights():
        net(torch.ones(1, 2, 4, 4))


CHANGES = [
    change_lr,
    change_several_values,
    exclude_nothing,
    maximize,
    move_a_parameter,
    transpose_a_parameter,
    relayout_a_parameter,
    replace_a_buffer,
    move_a_buffer,
    replace_a_state,
    forget_a_state,
    add_to_a_state,
    turn_back_a_step,
    load_a_checkpoint,
    drop_a_parameter,
    swap_parameters,
    add_a_group,
    take_steps_elsewhere,
]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_whatever_changes_between_steps_is_seen(change):
    sides = pair("alto")
    walk(sides, range(4))
    assert sides[0][1].engine.can_replay
    for net, optimizer in sides:
        change(net, optimizer)
    walk(sides, range(4, 9))
    (theta, _), (theta2, _) = (everything(*side) for side in sides)
    for a, b in zip(theta, theta2, strict=True):
        assert torch.equal(a, b)


def transposed(gradient):
    return gradient.t().contiguous().t()


def negative(gradient):
    return torch._neg_view(gradient)


@pytest.mark.parametrize("how", [transposed, negative, None], ids=["transposed", "negative", "missing"])
def test_a_gradient_that_lies_otherwise_or_is_missing_is_seen(how):
    sides = pair("alto")
    for step in range(8):
        for net, optimizer in sides:
            set_gradients(net, step)
            if step in (4, 6):
                net[2].weight.grad = how(net[2].weight.grad) if how else None
            optimizer.step()
        assert_same(sides)


def test_a_sparse_gradient_after_repeated_steps_is_refused_and_nothing_moves():
    ((net, optimizer), _) = pair("alto")
    for step in range(4):
        set_gradients(net, step)
        optimizer.step()
    set_gradients(net, 4)
    net[2].weight.grad = net[2].weight.grad.to_sparse()
    before = [parameter.detach().clone() for parameter in net.parameters()]
    with pytest.raises(edsl.EdslError, match="sparse gradient"):
        optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(before, net.parameters(), strict=True))


def test_a_value_out_of_its_domain_is_refused_and_nothing_moves():
    ((net, optimizer), _) = pair("alto")
    for step in range(4):
        set_gradients(net, step)
        optimizer.step()
    optimizer.param_groups[0]["beta1"] = 1.5
    before = [parameter.detach().clone() for parameter in net.parameters()]
    with pytest.raises(edsl.EdslError, match="beta1"):
        optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(before, net.parameters(), strict=True))


@pytest.mark.parametrize(
    "spec",
    [
        "grad(accumulate=2) | alto",
        "grad | clip(norm=1) | alto",
        "grad | noise | sgd(lr=0.1)",
        "route(matrix=muon, other=adamw)",
        "sam | alto",
    ],
)
def test_what_a_single_kernel_does_not_do_takes_general_steps(spec):
    net = model()
    optimizer = edsl.compile(spec, net)

    def closure():
        optimizer.zero_grad()
        loss = net(torch.ones(1, 2, 4, 4)).pow(2).sum()
        loss.backward()
        return loss

    for _ in range(4):
        optimizer.step(closure)
    assert not optimizer.engine.can_replay


def test_guarded_steps_still_look_at_every_gradient():
    net = model()
    optimizer = edsl.compile("grad | guard | alto", net)
    for step in range(4):
        set_gradients(net, step)
        optimizer.step()
    before = net[2].weight.detach().clone()
    net[2].weight.grad[0, 0] = float("nan")
    optimizer.step()
    assert torch.equal(before, net[2].weight)


def test_gradients_are_let_go_after_a_repeated_step():
    import weakref

    ((net, optimizer), _) = pair("alto")
    for step in range(5):
        set_gradients(net, step)
        optimizer.step()
    seen = weakref.ref(net[2].weight.grad)
    optimizer.zero_grad()
    assert seen() is None


def test_a_write_by_a_repeated_step_is_seen_by_autograd():
    ((net, optimizer), _) = pair("alto")
    for step in range(4):
        set_gradients(net, step)
        optimizer.step()
    loss = net(torch.ones(1, 2, 4, 4)).sum()
    set_gradients(net, 4)
    optimizer.step()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


@pytest.mark.parametrize("mode", ["compiled", "eager"])
@pytest.mark.parametrize("before", [1, 2, 5])
def test_a_buffer_replaced_by_hand_is_the_one_that_steps(mode, before):
    parameter = nn.Parameter(torch.ones(4, dtype=torch.float64))
    optimizer = edsl.compile("sgd(lr=0.1, momentum=0.9)", [parameter], mode=mode)
    for _ in range(before):
        parameter.grad = torch.ones_like(parameter)
        optimizer.step()
    mine = torch.zeros(4, dtype=torch.float64)
    optimizer.state[parameter]["sgd.m"] = mine
    for _ in range(3):
        parameter.grad = torch.ones_like(parameter)
        optimizer.step()
    assert torch.allclose(mine, torch.full_like(mine, 1 + 0.9 + 0.81))


def test_state_cast_after_one_step_goes_on_in_its_dtype():
    parameter = nn.Parameter(torch.ones(1000))
    optimizer = edsl.compile("adamw(lr=0.1)", [parameter])
    for step in range(4):
        parameter.grad = torch.ones_like(parameter)
        optimizer.step()
        if step == 0:
            for value in optimizer.state[parameter].values():
                if value.dim():
                    value.data = value.data.bfloat16()
    assert torch.allclose(parameter, torch.full_like(parameter, 0.597), atol=0.02)


def test_state_of_somebody_else_without_storage_is_left_alone(repeated):
    net = model()
    optimizer = edsl.compile("alto", net)
    for step in range(6):
        set_gradients(net, step)
        if step == 4:
            optimizer.state[next(net.parameters())]["mask"] = torch.eye(2).to_sparse()
        optimizer.step()
    assert len(repeated) == 2
