"""State in the CPU's memory: the same steps, and no copy that comes too late or too early.

Without a GPU a CPU stands for it, with copies that are made at the last moment that their marks allow.
"""

from contextlib import suppress

import pytest
import torch
from small_networks import batches, equal, network, same_state, train
from torch import nn

import edsl
from edsl.engine.offload import engine as offload_engine
from edsl.engine.offload.staging import ARENAS
from edsl.engine.offload.transfers import Transfers
from edsl.errors import EdslError, EdslWarning

SPECS = ["eadamw", "alto | ema_weights", "emuon(steps=2)", "esoap(every=2)"]


class LateTransfers(Transfers):
    """Copies that are made when somebody waits for them, and no sooner."""

    made = 0

    def __init__(self, device):
        self.device = device
        self.queues = {"in": [], "out": []}
        self.done = set()

    def bring(self, pairs, after):
        return self.queue("in", pairs, after)

    def put(self, pairs, after):
        return self.queue("out", pairs, after)

    def queue(self, way, pairs, after):
        LateTransfers.made += 1
        mark = (way, LateTransfers.made)
        self.queues[way].append((mark, list(pairs), [one for one in after if one is not None]))
        return mark

    def mark(self):
        return None  # arithmetic is done at once

    def wait(self, mark):
        while mark is not None and mark not in self.done:
            own, pairs, after = self.queues[mark[0]].pop(0)
            for other in after:
                self.wait(other)
            for to, source in pairs:
                to.copy_(source)
            self.done.add(own)

    def finish(self):
        for queue in self.queues.values():
            while queue:
                self.wait(queue[0][0])

    def far(self, like):
        return torch.full_like(like, float("nan"))


@pytest.fixture
def late(monkeypatch):
    monkeypatch.setattr(offload_engine.OffloadedEngine, "device", "cpu")
    monkeypatch.setattr(offload_engine.OffloadedEngine, "transfers", LateTransfers)
    monkeypatch.setattr(offload_engine.OffloadedEngine, "window", 700)  # a layer or two of a small network


def devices():
    gpu = pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"))
    return pytest.mark.parametrize("device", ["cpu", gpu])


@pytest.fixture
def place(request, device):
    if device == "cpu":
        request.getfixturevalue("late")
    return torch.device(device)


@devices()
@pytest.mark.parametrize("make", [edsl.compile, edsl.attach])
@pytest.mark.parametrize("spec", SPECS)
def test_steps_with_state_elsewhere_are_the_same_bit_for_bit(spec, make, place):
    ends, states = [], []
    for offload in (True, False):
        model = network(depth=4).to(place)
        optimizer = make(spec, model, mode="eager" if place.type == "cpu" else "compiled", offload=offload)
        inputs = [x.to(place) for x in batches(5)]
        for alone in (model[-2].bias, model[0].weight):  # the last of all steps comes first in the next one
            train(optimizer, model, inputs[:2])
            model.requires_grad_(False)
            alone.requires_grad_(True)
            train(optimizer, model, inputs[2:3])
            model.requires_grad_(True)
        ends.append(train(optimizer, model, inputs[3:]))
        states.append(optimizer.state_dict())
    assert equal(*ends)
    moved = [{name: value.cpu() for name, value in own.items()} for own in states[1]["state"].values()]
    assert same_state(states[0], {**states[1], "state": dict(zip(states[1]["state"], moved))})
    assert all(value.device.type == "cpu" for own in states[0]["state"].values() for value in own.values())


@devices()
def test_checkpoint_goes_into_an_optimizer_with_state_elsewhere_and_back(place):
    runs = []
    for ways in ((True, False, True), (False, False, False)):
        model, taken = network().to(place), None
        for number, offload in enumerate(ways):
            optimizer = edsl.compile("alto | ema_weights", model, mode="eager", offload=offload)
            if taken is not None:
                optimizer.load_state_dict(taken)
            train(optimizer, model, [x.to(place) for x in batches(6)[2 * number : 2 * number + 2]])
            taken = optimizer.state_dict()
        with optimizer.evaluation_weights():
            runs.append([p.detach().clone() for p in model.parameters()])
    assert equal(*runs)


@pytest.mark.usefixtures("late")
def test_device_holds_the_state_of_three_windows():
    model = nn.Sequential(*(nn.Linear(16, 16) for _ in range(12)))
    optimizer = edsl.compile("adamw", model, mode="eager", offload=True)
    train(optimizer, model, batches(3, width=16))
    (staging,) = optimizer.engine._staging.values()
    sizes = [arena.memory.numel() for arena in staging._arenas]
    one = 2 * 4 * 16 * 16
    assert len(sizes) == ARENAS
    assert max(sizes) <= max(700, one) + 64 * 4
    kept = {value.untyped_storage().data_ptr() for own in optimizer.state.values() for value in own.values()}
    assert kept.isdisjoint(arena.memory.untyped_storage().data_ptr() for arena in staging._arenas)


@pytest.mark.usefixtures("late")
def test_error_in_a_step_leaves_state_that_trains_on():
    model = network()
    optimizer = edsl.compile("adamw", model, mode="eager", offload=True)
    train(optimizer, model, batches(2))
    model[2].weight.grad = torch.ones(8, 8).to_sparse()
    with suppress(EdslError):
        optimizer.step()
    optimizer.zero_grad()
    assert all(torch.isfinite(p).all() for p in train(optimizer, model, batches(2)))


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("grad | clip(norm=1) | adamw", r"clip\(norm=1\) needs the norm"),
        ("prodigy", "prodigy asks for a total"),
        ("grad(accumulate=2) | adamw", r"grad\(accumulate=2\) keeps buffers of its own"),
        ("torch.AdamW", "torch.AdamW is another package's"),
    ],
)
def test_what_needs_all_state_at_once_is_refused(spec, said):
    with pytest.raises(EdslError, match=f"^offload: {said}"):
        edsl.compile(spec, network(), offload=True)


def test_parameters_on_a_cpu_step_as_ever_and_say_so_once():
    model, other = network(), network()
    optimizer = edsl.compile("adamw", model, mode="eager", offload=True)
    with pytest.warns(EdslWarning, match="offload=True does nothing for parameters on the CPU"):
        train(optimizer, model, batches(1))
    ours = train(optimizer, model, batches(2)[1:])
    assert equal(ours, train(edsl.compile("adamw", other, mode="eager"), other, batches(2)))
    with pytest.raises(EdslError, match="offload must be True or False, got 'cpu'"):
        edsl.compile("adamw", model, offload="cpu")
