"""E around another package's optimizer behaves as the wrapped class does, in all that a training stack asks of it.

The reference is the wrapped class itself, stepped on the gradients that the adaptors of this file leave as they
are: with α = 0 E is the identity.
"""

import copy
import inspect
import io

import pytest
import torch
import torch_optimizer
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_optimizer_state_dict,
    set_optimizer_state_dict,
)
from torch.optim import lr_scheduler
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

import edsl

IDENTITY = "grad | e(alpha=0)"
WRAPPED = {
    "torch.AdamW": torch.optim.AdamW,
    "torch.SGD(momentum=0.9)": lambda params, **given: torch.optim.SGD(params, momentum=0.9, **given),
    "torch.NAdam": torch.optim.NAdam,
    "torch.Adagrad": torch.optim.Adagrad,
    "torch.RMSprop(momentum=0.9)": lambda params, **given: torch.optim.RMSprop(params, momentum=0.9, **given),
    "torch.ASGD": torch.optim.ASGD,
    "torch.RAdam": torch.optim.RAdam,
}
every_wrapped = pytest.mark.parametrize("name", WRAPPED)


def models():
    torch.manual_seed(3)
    model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Tanh(), torch.nn.Linear(3, 1))
    return model, copy.deepcopy(model)


def around(name, params, **options):
    return edsl.compile(f"{IDENTITY} | {name}", params, mode="eager", **options)


def train(optimizer, model, steps=3, schedule=None, seed=0, sign=1):
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        optimizer.zero_grad()
        (sign * model(torch.randn(8, 4, generator=generator)).square().mean()).backward()
        optimizer.step()
        if schedule is not None:
            schedule.step()
    return [p.detach().clone() for p in model.parameters()]


def equal(these, those):
    return all(torch.equal(a, b) for a, b in zip(these, those, strict=True))


def halves(model, **given):
    """Two groups, of which the second has these options."""
    return [{"params": list(model[0].parameters())}, {"params": list(model[2].parameters()), **given}]


@every_wrapped
def test_maximize_in_a_group_climbs(name):
    model, twin = models()
    ours, theirs = around(name, halves(model, maximize=True)), WRAPPED[name](halves(twin, maximize=True))
    assert equal(train(ours, model), train(theirs, twin))
    assert [group["maximize"] for group in ours.param_groups] == [False, True]


def test_maximize_for_all_in_the_spec_as_an_option_and_where_the_class_has_none():
    references = train(torch.optim.AdamW((pair := models())[0].parameters(), maximize=True), pair[0])
    for spec, options in (("torch.AdamW(maximize=True)", {}), ("torch.AdamW", {"maximize": True})):
        model, _ = models()
        assert equal(train(around(spec, model, **options), model), references)
    model, twin = models()
    theirs = torch_optimizer.Yogi(twin.parameters())
    expected = train(theirs, twin, sign=-1)
    assert equal(train(around("torch_optimizer.Yogi", model, maximize=True), model), expected)


@pytest.mark.parametrize("shape", [(), (1,)])
@pytest.mark.parametrize("place", ["constructor", "group"])
@every_wrapped
def test_a_tensor_lr_stays_that_tensor_and_a_scheduler_fills_it(name, place, shape):
    model, twin = models()
    optimizers, tensors = [], []
    for build, net in ((lambda params, **given: around(name, params, **given), model), (WRAPPED[name], twin)):
        lr = torch.full(shape, 0.1)
        tensors.append(lr)
        params = list(net.parameters())
        optimizers.append(build(params, lr=lr) if place == "constructor" else build([{"params": params, "lr": lr}]))
    assert optimizers[0].param_groups[0]["lr"] is tensors[0]
    ends = [
        train(optimizer, net, 4, lr_scheduler.StepLR(optimizer, 2, gamma=0.5))
        for optimizer, net in zip(optimizers, (model, twin), strict=True)
    ]
    assert equal(*ends)
    assert optimizers[0].param_groups[0]["lr"] is tensors[0]
    assert torch.equal(*tensors)
    assert tensors[0].item() == pytest.approx(0.025)


def test_a_tensor_lr_reaches_another_packages_optimizer_alone():
    lr = torch.tensor(0.1)
    optimizer = edsl.compile("torch.AdamW", torch.nn.Linear(2, 1), lr=lr)
    assert optimizer.param_groups[0]["lr"] is lr


def test_step_hooks_fire_once_in_torchs_order_and_see_the_whole_optimizer():
    seen = []

    def note(what):
        return lambda optimizer, *_: seen.append((what, type(optimizer).__name__))

    handles = [register_optimizer_step_pre_hook(note("global before"))]
    handles += [register_optimizer_step_post_hook(note("global after"))]
    try:
        model, _ = models()
        optimizer = around("torch.AdamW", model)
        optimizer.register_step_pre_hook(note("before"))
        optimizer.register_step_post_hook(note("after"))
        train(optimizer, model, 1)
        train(pickled(optimizer, model), model, 1)  # which builds the wrapped one anew
    finally:
        for handle in handles:
            handle.remove()
    own = ["global before", "before", "after", "global after"]
    assert seen == [(what, "ForeignOptimizer") for what in [*own, "global before", "global after"]]


def pickled(optimizer, model):
    file = io.BytesIO()
    torch.save((optimizer, model), file)
    file.seek(0)
    twin, _ = torch.load(file, weights_only=False)
    for group, other in zip(twin.param_groups, optimizer.param_groups, strict=True):
        group["params"] = other["params"]
    twin.state.clear()
    return twin


def test_a_class_that_notes_its_groups_when_it_is_built_finds_them():
    model, twin = models()
    ends = []
    for build, net in ((around, model), (lambda _, groups: torch_optimizer.AdaBound(groups), twin)):
        optimizer = build("torch_optimizer.AdaBound", halves(net, lr=0.05))
        schedule = lr_scheduler.LambdaLR(optimizer, lambda k: 1 / (5 - min(k, 4)))
        ends.append(train(optimizer, net, 6, schedule))
    assert equal(*ends)


def test_parameters_that_the_class_refuses_are_refused_when_it_is_built():
    with pytest.raises(ValueError, match="Muon only supports 2D"):
        around("torch.Muon", torch.nn.Linear(2, 2))


@every_wrapped
def test_state_is_tensors_by_name_of_the_same_shapes_as_the_wrapped_class_has(name):
    model, twin = models()
    ours, theirs = around(name, model), WRAPPED[name](twin.parameters())
    train(ours, model)
    train(theirs, twin)
    prefix = name.partition("(")[0]
    for p, q in zip(model.parameters(), twin.parameters(), strict=True):
        own = {key.removeprefix(f"{prefix}."): value for key, value in ours.state[p].items() if key != "e.mean"}
        assert set(own) == {"step", *theirs.state[q]}
        for key, value in theirs.state[q].items():
            assert isinstance(own[key], torch.Tensor)
            assert own[key].shape == value.shape
            assert torch.equal(own[key], value) or key == "step"
        assert float(own["step"]) == 3
        assert all(value.shape in ((), p.shape) for value in ours.state[p].values())


@pytest.mark.parametrize("flat", [False, True])
@every_wrapped
def test_torchs_distributed_state_dict_saves_and_loads_it(name, flat):
    options = StateDictOptions(flatten_optimizer_state_dict=flat)
    model, twin = models()
    optimizer = around(name, model)
    train(optimizer, model)
    saved = get_optimizer_state_dict(model, optimizer, options=options)
    if not flat:
        verify(model, optimizer, saved)
    twin.load_state_dict(model.state_dict())
    fresh = around(name, twin)
    set_optimizer_state_dict(twin, fresh, copy.deepcopy(saved), options=options)
    assert equal(train(optimizer, model, seed=1), train(fresh, twin, seed=1))


def verify(model, optimizer, saved):
    """As torch's own tests compare a state dict with what torch.distributed.checkpoint makes of it."""
    plain = optimizer.state_dict()
    places = {p: place for place, p in enumerate(p for group in optimizer.param_groups for p in group["params"])}
    names = {places[p]: name for name, p in model.named_parameters()}
    assert len(plain["state"]) == len(saved["state"])
    for number, state in plain["state"].items():
        other = saved["state"][names[number]]
        assert state.keys() == other.keys()
        for key, value in state.items():
            assert isinstance(other[key], torch.Tensor)
            assert torch.equal(value, other[key])


@pytest.mark.parametrize("name", [*WRAPPED, "torch_optimizer.Lamb", "torch_optimizer.AggMo", "torch_optimizer.Yogi"])
@pytest.mark.parametrize("way", ["numbers", "nested", "half"])
def test_checkpoints_of_any_age_go_on_bit_for_bit(name, way):
    model, _ = models()
    if way == "half":
        model = model.to(torch.bfloat16).float()  # values that bfloat16 holds
    optimizer = around(name, model)
    train(optimizer, model)
    saved = copy.deepcopy(optimizer.state_dict())
    twin = copy.deepcopy(model)
    for state in saved["state"].values():
        if way == "numbers":
            state["step"] = 3
        if way == "nested":
            prefix = f"{optimizer.pipeline.update.name}."
            nested = {key.removeprefix(prefix): state.pop(key) for key in list(state) if key.startswith(prefix)}
            state[prefix[:-1]] = {**nested, "step": state["step"].clone()}
    for group in saved["param_groups"]:
        for key in ("maximize", "foreach", "capturable", "differentiable", "fused", "exclude"):
            group.pop(key, None)
    before = copy.deepcopy(saved)
    fresh = around(name, twin)
    fresh.load_state_dict(saved)
    assert fresh.param_groups[0].keys() == optimizer.param_groups[0].keys()
    assert str(before) == str(saved), "a checkpoint is left as it was"
    assert equal(train(optimizer, model, seed=1), train(fresh, twin, seed=1))


@pytest.mark.parametrize("spec", ["alto", "grad(accumulate=2) | guard | adamw", "emuon"])
def test_edsls_own_checkpoints_take_numbers_for_steps_and_defaults_for_options(spec):
    model, twin = models()
    optimizer, fresh = edsl.compile(spec, model, mode="eager"), edsl.compile(spec, twin, mode="eager")
    train(optimizer, model, 4)
    twin.load_state_dict(model.state_dict())
    saved = copy.deepcopy(optimizer.state_dict())
    for number, state in enumerate(saved["state"].values()):
        state["step"] = (int if number % 2 else float)(state["step"])
    for group in saved["param_groups"]:
        for key in ("maximize", "calls", "nonfinite_steps"):
            group.pop(key, None)
    fresh.load_state_dict(saved)
    assert fresh.param_groups[0].keys() == optimizer.param_groups[0].keys()
    assert equal(train(optimizer, model, 4, seed=1), train(fresh, twin, 4, seed=1))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda saved: saved["state"][0].update(step=2.5), "a step must be a whole number"),
        (lambda saved: saved["state"][0].update(step=True), "has no step"),
        (lambda saved: saved["state"][0].pop("torch.AdamW.exp_avg"), None),
        (lambda saved: [saved["state"][0].pop(f"torch.AdamW.{k}") for k in ("exp_avg", "exp_avg_sq")], "none of torch"),
        (lambda saved: saved["param_groups"][0].pop("lr"), "its param group has no lr"),
        (lambda saved: saved["param_groups"][0].update(maximize="no"), "maximize must be True or False, got 'no'"),
    ],
)
def test_what_a_checkpoint_must_have_is_still_asked_for(damage, message):
    model, twin = models()
    optimizer = around("torch.AdamW", model)
    train(optimizer, model)
    saved = copy.deepcopy(optimizer.state_dict())
    damage(saved)
    fresh = around("torch.AdamW", twin)
    if message is None:
        return
    with pytest.raises(edsl.EdslError, match=message):
        fresh.load_state_dict(saved)
    assert not fresh.state


def class_of(name):
    return getattr(torch.optim, name.partition("(")[0].partition(".")[2])


FLAGS = [
    (name, flag)
    for name in WRAPPED
    for flag in ("foreach", "capturable", "differentiable", "fused")
    if flag in inspect.signature(class_of(name).__init__).parameters
]


@pytest.mark.parametrize(("name", "flag"), FLAGS)
def test_a_flag_is_taken_as_the_class_takes_it_or_refused_in_one_line(name, flag):
    spec = f"{name[:-1]}, {flag}=True)" if name.endswith(")") else f"{name}({flag}=True)"
    model, twin = models()
    if flag == "differentiable":
        with pytest.raises(edsl.EdslError, match="differentiable=True is not supported"):
            around(spec, model)
        return
    theirs = WRAPPED[name](twin.parameters(), **{flag: True})
    ours = around(spec, model)
    try:
        expected = train(theirs, twin)
    except (AssertionError, RuntimeError) as reason:  # as capturable on a CPU
        with pytest.raises(type(reason)):
            train(ours, model)
        return
    assert equal(train(ours, model), expected)


def test_another_packages_optimizer_alone_tells_its_pipeline():
    optimizer = edsl.compile("torch.NAdam(lr=0.01)", torch.nn.Linear(2, 1))
    assert type(optimizer) is torch.optim.NAdam
    assert optimizer.pipeline == edsl.parse("torch.NAdam(lr=0.01)")


@every_wrapped
def test_schedulers_copies_added_groups_and_missing_gradients_follow_the_wrapped_class(name):
    model, twin = models()
    ends = []
    for build, net in ((lambda params: around(name, params), model), (WRAPPED[name], twin)):
        optimizer = build([{"params": list(net[0].parameters())}])
        train(optimizer, net, 2)
        if name != "torch.Adagrad":  # which makes no state for groups that are added
            optimizer.add_param_group({"params": list(net[2].parameters()), "lr": 0.05})
        net, optimizer = copy.deepcopy((net, optimizer))
        schedule = lr_scheduler.ExponentialLR(optimizer, 0.5)
        train(optimizer, net, 2, schedule)
        net[0].bias.requires_grad_(False)
        net[0].bias.grad = None
        train(optimizer, net, 1)
        net[0].bias.requires_grad_(True)
        ends.append(train(optimizer, net, 2, schedule))
    assert equal(*ends)


@pytest.mark.parametrize(
    ("spec", "cycled"),
    [
        ("esgd", "momentum"),
        ("muon", "momentum"),
        (f"{IDENTITY} | torch.AdamW", "betas"),
        (f"{IDENTITY} | torch.SGD(momentum=0.9)", "momentum"),
        ("sgd", "momentum"),
        ("alto", None),
        ("lion", None),
    ],
)
def test_one_cycle_cycles_momentum_or_wants_to_be_told_that_there_is_none(spec, cycled):
    params = [torch.nn.Parameter(torch.ones(3, 2))]
    optimizer = edsl.compile(spec, params, mode="eager")
    given = {}
    if cycled is None:
        with pytest.raises(ValueError, match="cycle_momentum"):
            lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=10)
        given = {"cycle_momentum": False}
    schedule = lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=10, **given)
    seen = set()
    for _ in range(9):
        params[0].grad = torch.ones(3, 2)
        optimizer.step()
        schedule.step()
        seen.add(str(optimizer.param_groups[0].get(cycled)))
    assert len(seen) > 3 or cycled is None
