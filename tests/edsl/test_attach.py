"""Steps inside backward(): the same as those of an optimizer that is not attached, and what can't be attached."""

import gc
import pickle
import weakref

import pytest
import torch
from small_networks import batches, equal, network, same_state, train
from torch import nn
from torch.utils.checkpoint import checkpoint

import edsl
from edsl.errors import EdslError
from edsl.lab.benchmarks.footprint import temporary_bytes

SPECS = [
    "eadamw(lr=0.01)",
    "alto | ema_weights",
    "grad | noise | adamw(lr=cosine(0.01, warmup=2))",
    "emuon(steps=2)",
    "esoap(every=2)",
]


def both(spec, mode="compiled", dtype=torch.float32, **options):
    """A model with an attached optimizer, and the same with one that is not."""
    models = network(dtype=dtype), network(dtype=dtype)
    return [
        (make(spec, model, mode=mode, **options), model) for make, model in zip((edsl.attach, edsl.compile), models)
    ]


@pytest.mark.parametrize("options", [{}, {"dtype": torch.bfloat16}, {"mode": "eager", "state_dtype": "bfloat16"}])
@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.filterwarnings("ignore:.*round away:edsl.errors.EdslWarning")
def test_attached_steps_are_those_of_the_unattached_bit_for_bit(spec, options):
    (attached, one), (plain, other) = both(spec, total_steps=9, **options)
    inputs = batches(5, dtype=options.get("dtype", torch.float32))
    assert equal(train(attached, one, inputs), train(plain, other, inputs))
    assert same_state(attached.state_dict(), plain.state_dict())
    assert all(p.grad is None for p in one.parameters())


def test_loop_without_step_and_zero_grad_takes_the_same_steps():
    (attached, one), (plain, other) = both("eadamw(lr=cosine(0.01, warmup=2))", total_steps=9, mode="eager")
    assert equal(train(attached, one, batches(4), ends=False), train(plain, other, batches(4)))


def test_schedulers_and_param_groups_work_as_ever():
    runs = []
    for make in (edsl.attach, edsl.compile):
        model = network()
        optimizer = make("eadamw", [{"params": model[:2].parameters(), "lr": 0.1}, {"params": model[2].parameters()}])
        optimizer.add_param_group({"params": model[4].parameters(), "lr": 0.03})
        scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 2, 0.5)
        runs.append(train(optimizer, model, batches(5), scheduler=scheduler))
    assert equal(*runs)
    assert optimizer.param_groups[2]["lr"] == 0.03 / 4


def test_state_goes_from_the_unattached_to_the_attached_and_back():
    (attached, one), (plain, other) = both("alto", mode="eager")
    inputs = batches(6)
    train(plain, other, inputs[:2])
    one.load_state_dict(other.state_dict())
    attached.load_state_dict(plain.state_dict())
    train(attached, one, inputs[2:4])
    train(plain, other, inputs[2:4])
    other.load_state_dict(one.state_dict())
    plain.load_state_dict(attached.state_dict())
    assert equal(train(attached, one, inputs[4:]), train(plain, other, inputs[4:]))


def test_detached_optimizer_steps_in_step_from_the_state_that_is_there():
    (attached, one), (plain, other) = both("eadamw")
    inputs = batches(4)
    train(attached, one, inputs[:2])
    attached.detach()
    attached.detach()
    assert not attached.is_attached
    train(attached, one, inputs[2:3])
    assert one[0].weight.grad is not None
    train(attached, one, inputs[3:])
    assert equal([*one.parameters()], train(plain, other, inputs))
    edsl.attach("eadamw", one)  # nothing is in the way


def test_pickled_optimizer_is_attached_to_its_own_parameters():
    (attached, one), (plain, other) = both("eadamw", mode="eager")
    inputs = batches(4)
    train(attached, one, inputs[:2])
    again, model = pickle.loads(pickle.dumps((attached, one)))
    assert equal(train(again, model, inputs[2:]), train(plain, other, inputs))
    assert again.is_attached


class Tied(nn.Module):
    """One weight at both ends, and a block whose forward pass runs again in backward()."""

    def __init__(self, reentrant=False):
        super().__init__()
        torch.manual_seed(0)
        self.embed, self.inner = nn.Embedding(8, 6), nn.Linear(6, 6)
        self.head = nn.Linear(6, 8)
        self.head.weight = self.embed.weight
        self.reentrant = reentrant

    def forward(self, x):
        hidden = self.embed(x.abs().long() % 8)
        return self.head(checkpoint(self.inner, hidden, use_reentrant=self.reentrant))


@pytest.mark.parametrize("reentrant", [False, True])
def test_tied_parameter_steps_once_on_the_sum_of_its_gradients(reentrant):
    one, other = Tied(reentrant), Tied(reentrant)
    attached, plain = edsl.attach("eadamw", one), edsl.compile("eadamw", other)
    assert equal(train(attached, one, batches(4)), train(plain, other, batches(4)))
    assert int(attached.state[one.embed.weight]["step"]) == 4


def test_frozen_parameters_rest_and_step_once_they_are_free():
    runs = []
    for make in (edsl.attach, edsl.compile):
        model = network()
        model[0].requires_grad_(False)
        optimizer = make("eadamw", model)
        train(optimizer, model, batches(2))
        assert model[0].weight not in optimizer.state
        model[0].requires_grad_(True)
        runs.append(train(optimizer, model, batches(3)))
    assert equal(*runs)


def test_gradient_that_was_set_by_hand_is_stepped_in_step():
    model = network()
    optimizer = edsl.attach("sgd(lr=1)", model, mode="eager")
    before = model[0].bias.detach().clone()
    model[0].bias.grad = torch.ones(8)
    optimizer.step()
    assert torch.equal(model[0].bias, before - 1)
    assert model[0].bias.grad is None


def test_closure_trains_in_backward_and_gives_its_loss():
    (attached, one), (plain, other) = both("eadamw", mode="eager")
    for optimizer, model in ((attached, one), (plain, other)):

        def closure(optimizer=optimizer, model=model):
            optimizer.zero_grad()
            loss = model(batches(1)[0]).square().mean()
            loss.backward()
            return loss

        losses = [float(optimizer.step(closure).detach()) for _ in range(3)]
    assert equal([*one.parameters()], [*other.parameters()])
    assert len(losses) == 3


def test_compiled_module_steps_alike():
    (attached, one), (plain, other) = both("eadamw", mode="eager")
    run = torch.compile(one, backend="aot_eager")
    assert equal(train(attached, run, batches(3)), train(plain, torch.compile(other, backend="aot_eager"), batches(3)))


@pytest.mark.parametrize("told", [True, False])
def test_accumulated_gradients_are_refused(told):
    model = network()
    optimizer = edsl.attach("eadamw", model, mode="eager")
    if told:  # the loop says where a step begins
        optimizer.zero_grad()
    model(batches(1)[0]).square().mean().backward()
    again = model(batches(1)[0]).square().mean()
    if not told:
        again.backward()  # as in a loop without step(), for all that is known by now
    with pytest.raises(EdslError, match=r"parameter 4.bias has a second gradient before step"):
        again.backward() if told else optimizer.step()
    train(optimizer, model, batches(2))


@pytest.mark.parametrize("several", [False, True])
def test_a_scaled_loss_is_refused_before_any_weight_moves_and_one_of_a_scaler_that_is_off_is_not(several):
    model, other = network(), network()
    optimizer = edsl.attach("eadamw", model, mode="eager")
    off, on = (torch.amp.GradScaler("cpu", enabled=enabled) for enabled in (False, True))

    def loss(scaler, network):
        value = network(batches(1)[0]).square().mean()
        return scaler.scale([value])[0] if several else scaler.scale(value)

    loss(off, model).backward()
    off.step(optimizer)
    before = [p.detach().clone() for p in model.parameters()]
    with pytest.raises(EdslError, match="a GradScaler scaled this loss"):
        loss(on, model).backward()
    assert all(torch.equal(p, old) for p, old in zip(model.parameters(), before))
    optimizer.zero_grad()
    with pytest.raises(EdslError, match="stepped on the scaled ones"):
        on.step(optimizer)
    loss(on, other).backward()  # another model's, beside this one
    train(optimizer, model, batches(2))


def test_graph_that_is_differentiated_again_is_refused():
    model = network()
    edsl.attach("eadamw", model, mode="eager")
    with pytest.raises(EdslError, match="create_graph=True"):
        model(batches(1)[0]).square().mean().backward(create_graph=True)
    model.zero_grad()
    loss = model(batches(1)[0]).square().mean()
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):  # torch's own words
        loss.backward()


def test_training_goes_on_after_an_error_in_backward():
    model = network()
    optimizer = edsl.attach("eadamw", model, mode="eager")

    class Broken(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, gradient):
            raise MemoryError("too little")

    with pytest.raises(MemoryError):
        model[2:](Broken.apply(model[:2](batches(1)[0]))).square().mean().backward()
    taken = [int(optimizer.state[p]["step"]) if p in optimizer.state else 0 for p in model.parameters()]
    assert taken == [0, 0, 1, 1, 1, 1]  # the layers behind the error have stepped
    train(optimizer, model, batches(1))
    optimizer.param_groups[0]["lr"] = -1
    with pytest.raises(EdslError, match="lr must lie in"):
        train(optimizer, model, batches(1))
    optimizer.param_groups[0]["lr"] = 0.001
    train(optimizer, model, batches(1))


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("grad | clip(norm=1) | adamw", r"clip\(norm=1\) needs the norm over all parameters"),
        ("grad(accumulate=2) | adamw", r"grad\(accumulate=2\) adds up the gradients"),
        ("grad | guard | adamw", "guard looks at all gradients"),
        ("sam | sgd", "sam evaluates the loss itself"),
        ("prodigy", "prodigy asks for a total over all parameters"),
        ("torch.AdamW", "torch.AdamW is another package's"),
        ("grad | e | torch.AdamW", "torch.AdamW is another package's"),
        ("route(matrix=muon, other=prodigy)", "prodigy asks for a total"),
    ],
)
def test_step_that_needs_all_gradients_is_refused_by_its_stage(spec, said):
    with pytest.raises(EdslError, match=f"^attach: {said}") as found:
        edsl.attach(spec, network())
    assert "\n" not in str(found.value)


def test_parameters_are_attached_once():
    model = network()
    optimizer = edsl.attach("sgd", model)
    with pytest.raises(EdslError, match=r"parameter 0\.weight is attached already: detach"):
        edsl.attach("sgd", model)
    optimizer.detach()
    edsl.attach("sgd", model)


def test_model_keeps_its_optimizer_alive_and_both_go_together():
    model = network()
    optimizer = weakref.ref(edsl.attach("sgd", model, mode="eager"))
    gc.collect()
    assert optimizer() is not None
    model(batches(1)[0]).sum().backward()
    assert model[0].weight.grad is None
    del model
    gc.collect()
    assert optimizer() is None


@pytest.mark.parametrize(("make", "layers"), [(edsl.attach, (1, 4)), (edsl.compile, (16, 18))])
def test_gradients_of_a_few_layers_are_there_at_once_instead_of_all(make, layers):
    model = network(width=64, depth=16)
    optimizer = make("sgd", model, mode="eager")
    train(optimizer, model, batches(2, width=64))
    optimizer.zero_grad()
    loss = model(batches(1, width=64)[0]).square().mean()
    peak = temporary_bytes(loss.backward, "cpu")
    least, most = (4 * (64 * 64 + 64) * number for number in layers)
    assert least <= peak <= most
