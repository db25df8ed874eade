"""An optimizer that is dropped is freed, with its parameters, gradients and state; so are the next hundred."""

import gc
import weakref

import pytest
import torch
from torch._dynamo.utils import counters

import edsl

SHAPES = {"matrix": ((6, 4), (6, 4), (6, 4)), "mixed": ((6, 4), (5,))}
NATIVE = [
    ("alto", "compiled", "mixed"),
    ("alto", "eager", "mixed"),
    ("grad | noise(std=0.1) | e | clip(norm=1) | lamb | lookahead | ema_weights", "compiled", "mixed"),
    ("grad(accumulate=2) | guard | adamw", "compiled", "mixed"),
    ("route(matrix=adamw, other=sgd)", "compiled", "mixed"),
    ("muon", "eager", "matrix"),
    ("emuon", "eager", "mixed"),
    ("esoap", "eager", "mixed"),
    ("eshampoo", "eager", "mixed"),
    ("spsa | adam", "compiled", "mixed"),
    ("hutchinson | adahessian", "compiled", "mixed"),
    ("esam_sgd", "compiled", "mixed"),
    ("grad | e | torch.AdamW(lr=0.01)", "compiled", "mixed"),
    ("grad | e | torch_optimizer.Lamb(lr=0.01)", "compiled", "mixed"),
]
THROUGH_TORCH = [
    ("muon", "compiled", "matrix"),  # a stack
    ("emuon", "compiled", "mixed"),
    ("esoap", "compiled", "mixed"),
    ("eshampoo", "compiled", "mixed"),
    ("esgd", "inductor", "mixed"),
]


def stepped(spec, mode, shapes, steps=3):
    """A tensor in every place where an optimizer has some, known only weakly, after a few steps."""
    params = [torch.nn.Parameter(torch.randn(shape)) for shape in shapes]
    optimizer = edsl.compile(spec, params, mode=mode)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
    estimator = optimizer.pipeline.estimator

    def closure():
        loss = sum(p.square().sum() for p in params)
        if estimator.calls_backward:
            optimizer.zero_grad()
            loss.backward()
        return loss

    for _ in range(steps * estimator.calls):
        optimizer.step(closure)
        schedule.step()
    optimizer.load_state_dict(optimizer.state_dict())
    optimizer.step(closure)
    seen = [*params, *(p.grad for p in params if p.grad is not None), optimizer]
    return [weakref.ref(one) for one in (*seen, *tensors(optimizer.state))]


def tensors(value):
    if isinstance(value, torch.Tensor):
        return [value]
    return [tensor for part in value.values() for tensor in tensors(part)] if isinstance(value, dict) else []


def alive(seen):
    return sum(ref() is not None for ref in seen)


@pytest.mark.parametrize(("spec", "mode", "shapes"), NATIVE)
def test_what_torch_does_not_compile_is_freed_at_once(spec, mode, shapes):
    alive(stepped("sgd", "eager", ((2,),)))  # torch's first step imports what keeps its frames until a collection
    gc.collect()
    gc.disable()
    try:
        seen = stepped(spec, mode, SHAPES[shapes])
        assert len(seen) > len(SHAPES[shapes])
        assert alive(seen) == 0
    finally:
        gc.enable()


@pytest.mark.parametrize(("spec", "mode", "shapes"), THROUGH_TORCH)
def test_what_torch_compiles_is_freed_at_the_latest_by_a_collection(spec, mode, shapes):
    seen = stepped(spec, mode, SHAPES[shapes])
    gc.collect()
    assert alive(seen) == 0
    gc.disable()
    try:
        assert alive(stepped(spec, mode, SHAPES[shapes])) == 0, "what is compiled already leaves no cycles either"
    finally:
        gc.enable()


@pytest.mark.parametrize(("spec", "mode"), [("adamw", "compiled"), ("adamw", "inductor"), ("muon", "compiled")])
@pytest.mark.parametrize("count", [100, pytest.param(300, marks=pytest.mark.slow)])
def test_hundreds_of_optimizers_in_one_process_take_the_memory_and_the_graphs_of_one(spec, mode, count):
    def resident():
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * 4096

    sizes, graphs = [], []
    for number in range(count):
        seen = stepped(spec, mode, ((64, 1024), (64, 1024)), steps=1)
        if number == 0:  # what the compiler leaves
            gc.collect()
        assert alive(seen) == 0
        sizes.append(resident())
        graphs.append(counters["stats"]["unique_graphs"])
    assert graphs[-1] == graphs[9] <= graphs[0] + 1, "torch may make one more, for sizes of all kinds"
    assert max(sizes[10:]) - sizes[9] < 16 << 20, "one holds 1.5 MiB: a hundred would hold 150"


def test_a_graph_of_another_optimizer_is_counted_where_it_runs():
    def counted():
        params = [torch.nn.Parameter(torch.randn(6, 4)) for _ in range(3)]
        optimizer = edsl.compile("sgd", params, mode="inductor")
        for p in params:
            p.grad = torch.randn_like(p)
        optimizer.step()
        return optimizer.compiled_graphs, optimizer.fallbacks

    assert counted() == counted() == (1, [])
