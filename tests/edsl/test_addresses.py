"""Tensors that somebody meddles with between steps: torch's numbers, or one clear error; never a crash."""

import gc
import os
import subprocess
import sys
import weakref
from collections import Counter
from pathlib import Path

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.testing._internal.two_tensor import TwoTensor

import edsl
from edsl.step import addresses

ROOT = Path(__file__).parents[2]
SOUND = {"as torch", "as undisturbed", "a clear error", "impossible"}
SPECS = [("adamw", "compiled"), ("adamw", "eager"), ("adamw", "inductor"), ("muon", "eager"), ("muon", "compiled")]


COUNTS = {"native": 70, "eager": 50, "matrix": 50, "stacks": 20, "inductor": 15}


def verdicts(counts, seed):
    """Of each path one a perturbation; a process that dies takes only its own run with it."""
    words = [f"{path}={count}" for path, count in counts.items()]
    command = [sys.executable, "-m", "tests.support.perturbed", str(seed), *words]
    environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    lines = [line.partition(" ") for line in run.stdout.splitlines()]
    return {path: [said for name, _, said in lines if name == path] for path in counts}


@pytest.fixture(scope="module")
def few():
    return verdicts(COUNTS, seed=1)


@pytest.mark.xdist_group("perturbed")  # one process runs them all
@pytest.mark.parametrize("path", COUNTS)
def test_a_perturbed_training_goes_as_torchs_or_ends_with_one_clear_error(few, path):
    found, count = few[path], COUNTS[path]
    assert len(found) == count
    assert set(found) <= SOUND, sorted(set(found) - SOUND)
    counts = Counter(found)
    assert counts["as torch"] >= count / 4
    assert counts["a clear error"] >= count / 5


@pytest.mark.slow
@pytest.mark.parametrize("path", ["native", "eager", "inductor", "matrix", "stacks"])
@pytest.mark.parametrize("seed", [2, 3])
def test_hundreds_of_perturbed_trainings_go_as_torchs_or_end_with_one_clear_error(path, seed):
    assert set(verdicts({path: 300}, seed)[path]) <= SOUND


def stepped(spec="adamw", mode="compiled", steps=3, shapes=((6, 4), (6, 4))):
    params = [nn.Parameter(torch.randn(shape)) for shape in shapes]
    optimizer = edsl.compile(spec, params, mode=mode)
    for step in range(steps):
        give(params, step)
        optimizer.step()
    return params, optimizer


def give(params, step=0):
    for place, parameter in enumerate(params):
        generator = torch.Generator().manual_seed(100 * step + place)
        parameter.grad = torch.randn(parameter.shape, generator=generator, dtype=torch.float32).to(parameter.dtype)


@pytest.mark.parametrize(("spec", "mode"), SPECS)
def test_a_step_under_another_default_device_or_dtype_is_the_same_step(spec, mode):
    torch.manual_seed(1)
    params, _ = stepped(spec, mode)
    torch.manual_seed(1)
    others = [nn.Parameter(torch.randn(6, 4)) for _ in range(2)]
    try:
        with torch.device("meta"):
            other = edsl.compile(spec, others, mode=mode)
        torch.set_default_dtype(torch.float64)
        for step in range(3):
            with torch.device("cpu"):
                give(others, step)
            with torch.device("meta"):
                other.step()
    finally:
        torch.set_default_dtype(torch.float32)
    for one, two in zip(params, others, strict=True):
        assert torch.allclose(one, two, atol=1e-6)
        assert all(value.device.type == "cpu" for value in other.state[two].values())


@pytest.mark.parametrize(("spec", "mode"), SPECS)
def test_fake_tensors_and_subclasses_with_their_own_operations_are_refused_in_one_line(spec, mode):
    _, optimizer = stepped(spec, mode, steps=2)
    with FakeTensorMode(allow_non_fake_inputs=True), pytest.raises(edsl.EdslError, match="FakeTensorMode"):
        optimizer.step()
    two = nn.Parameter(TwoTensor(torch.ones(6, 4), torch.ones(6, 4)))
    two.grad = TwoTensor(torch.ones(6, 4), torch.ones(6, 4))
    with pytest.raises(edsl.EdslError, match="is a TwoTensor"):
        edsl.compile(spec, [two], mode=mode).step()


@pytest.mark.parametrize(("spec", "mode"), SPECS)
def test_a_binarized_layers_zero_gradient_steps_as_zeros_do(spec, mode):
    params, optimizer = stepped(spec, mode, steps=2)
    twins, twin = stepped(spec, mode, steps=0)
    for one, two in zip(params, twins, strict=True):
        two.data.copy_(one)
    twin.load_state_dict(optimizer.state_dict())
    for _ in range(2):
        for parameter in params:
            parameter.grad = None
            torch.sgn(parameter).sum().backward()
        for parameter in twins:
            parameter.grad = torch.zeros(6, 4)
        optimizer.step()
        twin.step()
    assert all(torch.equal(one, two) for one, two in zip(params, twins, strict=True))


@pytest.mark.parametrize("taken", [2**24 - 2, 2**31 - 2, 2**53 - 4])
@pytest.mark.parametrize(("spec", "mode"), [("adamw", "compiled"), ("adamw", "eager"), ("muon", "eager")])
def test_steps_are_counted_beyond_what_a_float_can_count(spec, mode, taken):
    params, optimizer = stepped(spec, mode)
    for parameter in params:
        optimizer.state[parameter]["step"].fill_(taken)
    for step in range(4):
        give(params, step)
        optimizer.step()
    assert [int(optimizer.state[parameter]["step"]) for parameter in params] == [taken + 4] * 2


def test_a_checkpoint_with_float_steps_goes_on_counting_whole_ones():
    _, optimizer = stepped()
    saved = optimizer.state_dict()
    for state in saved["state"].values():
        state["step"] = state["step"].float()
    twins, twin = stepped(steps=0)
    twin.load_state_dict(saved)
    assert all(twin.state[p]["step"].dtype is torch.int64 and int(twin.state[p]["step"]) == 3 for p in twins)


def test_lookahead_goes_on_syncing_beyond_two_to_the_24():
    params, optimizer = stepped("sgd(lr=0.1) | lookahead(every=4)")
    for parameter in params:
        optimizer.state[parameter]["step"].fill_(2**24 + 1)
    slow = next(name for name in optimizer.state[params[0]] if name.startswith("lookahead"))
    before = optimizer.state[params[0]][slow].clone()
    for step in range(4):
        give(params, step)
        optimizer.step()
    assert not torch.equal(before, optimizer.state[params[0]][slow])


@pytest.mark.parametrize(("spec", "mode"), SPECS)
def test_parameters_that_share_memory_step_one_after_another_as_torchs(spec, mode):
    options = {"spec": "sgd(lr=0.1, momentum=0.5)"} if spec == "adamw" else {"spec": spec}
    whole = torch.randn(9, 4)
    copied = whole.clone()
    params = [nn.Parameter(whole[:6]), nn.Parameter(whole[3:])]
    optimizer = edsl.compile(options["spec"], params, mode=mode)
    apart = [nn.Parameter(copied[:6].clone()), nn.Parameter(copied[3:].clone())]
    alone = edsl.compile(options["spec"], apart, mode=mode)  # told of what the other wrote, by hand
    for step in range(4):
        give(params, step)
        optimizer.step()
        grads = [parameter.grad for parameter in params]
        for place, (begin, end) in enumerate([(0, 6), (3, 9)]):
            apart[place].data.copy_(copied[begin:end])
            apart[place].grad, apart[1 - place].grad = grads[place], None
            alone.step()
            copied[begin:end] = apart[place].detach()
    assert torch.allclose(whole, copied, atol=1e-6)


def test_what_is_lazily_negated_is_read_with_its_sign():
    params, optimizer = stepped()
    twins, twin = stepped(steps=0)
    for one, two in zip(params, twins, strict=True):
        two.data.copy_(one)
    twin.load_state_dict(optimizer.state_dict())
    state = twin.state[twins[0]]
    state["adamw.m"] = torch._neg_view(-state["adamw.m"])
    for both, made in ((params, optimizer), (twins, twin)):
        give(both, 7)
        made.step()
    assert torch.equal(params[0], twins[0])


@pytest.mark.parametrize(("spec", "mode"), [*SPECS, ("grad | e | torch.AdamW(lr=0.01)", "compiled")])
def test_replaced_and_removed_parameters_are_freed_at_once(spec, mode):
    params, optimizer = stepped(spec, mode, steps=4)
    gc.collect()
    gc.disable()
    try:
        old = params.pop()
        state = optimizer.state.pop(old)
        seen = [weakref.ref(one) for one in (old, old.grad, *state.values())]
        optimizer.param_groups[0]["params"] = list(params)
        del old, state
        assert [one() for one in seen] == [None] * len(seen)
    finally:
        gc.enable()
    give(params, 5)
    optimizer.step()


@pytest.mark.parametrize(("spec", "mode"), [*SPECS, ("grad | e | torch.AdamW(lr=0.01)", "compiled")])
def test_offloaded_state_and_swapped_data_are_freed_at_once(spec, mode):
    params, optimizer = stepped(spec, mode, steps=4)
    state = optimizer.state[params[0]]
    name = list(state)[-1]
    buffer, storage = weakref.ref(state[name]), weakref.ref(params[0].untyped_storage())
    state[name] = state[name].clone()
    params[0].data = params[0].data.clone()
    gc.collect()
    assert buffer() is None
    assert storage() is None


@pytest.mark.parametrize(
    ("spec", "key"), [("adamw", "lr"), ("muon", "momentum"), ("grad | e | torch.AdamW(lr=0.01)", "beta1")]
)
def test_a_failed_step_holds_no_tensors(spec, key):
    params, optimizer = stepped(spec, "eager", steps=2)
    optimizer.param_groups[0][key] = -1.0
    with pytest.raises(edsl.EdslError, match=key):
        optimizer.step()
    optimizer.param_groups[0][key] = 0.1
    seen = [weakref.ref(parameter.grad) for parameter in params]
    optimizer.zero_grad()
    assert [one() for one in seen] == [None, None]


def test_forms_are_known_again_without_torchs_guards_too(monkeypatch):
    tensors = [torch.ones(3, 2), nn.Parameter(torch.ones(4)), torch.ones(2, dtype=torch.float64)]
    others = [
        [tensors[0].t(), *tensors[1:]],
        [tensors[0][:2], *tensors[1:]],
        [torch._neg_view(tensors[0]), *tensors[1:]],
        [torch._efficientzerotensor((3, 2)), *tensors[1:]],
        [tensors[0].double(), *tensors[1:]],
        [tensors[0].to("meta"), *tensors[1:]],
        [TwoTensor(tensors[0], tensors[0]), *tensors[1:]],
        [None, *tensors[1:]],
        tensors[:2],
    ]
    by_guards = addresses.recognizer(tensors)
    monkeypatch.setattr(torch._C, "_dynamo", None)
    by_hand = addresses.recognizer(tensors)
    for known in (by_guards, by_hand):
        assert known(tensors)
        assert known([torch.zeros(3, 2), *tensors[1:]])
        assert [known(other) for other in others] == [False] * len(others)


def test_memory_that_is_shared_is_found_whoever_begins_first():
    extents = [[addresses.Extent(0, 40, "")], [addresses.Extent(20, 60, "")], [addresses.Extent(100, 120, "")]]
    memory = addresses.MemoryMap(extents, ["a", "b", "c"])
    assert memory.shared == {0, 1}
    assert memory.first_inside([60, 90], [99, 99]) is None
    assert memory.first_inside([61, 90], [70, 100]) == 1
    assert memory.first_inside([119], [200]) == 0
    assert memory.first_inside([70], [200]) == 0  # over all of one
    own = [[addresses.Extent(0, 40, ""), addresses.Extent(39, 60, "adamw.m")]]
    with pytest.raises(edsl.EdslError, match=r"a and the state adamw\.m of a share memory"):
        addresses.MemoryMap(own, ["a"])
