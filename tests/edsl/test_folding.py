"""Which parameters matrix updates take: matrices and kernels, and no stack of experts by mistake."""

import copy
import pickle

import pytest
import torch
from torch import nn

import edsl
from edsl.costs.memory import memory

MATRIX = ("muon", "shampoo", "soap")


class Stack(nn.Module):
    """Three dimensions of which no name tells what they are."""

    def __init__(self):
        super().__init__()
        self.w1 = nn.Parameter(torch.ones(3, 4, 5))


@pytest.mark.parametrize("mode", ["compiled", "inductor", "eager"])
@pytest.mark.parametrize("update", MATRIX)
def test_three_dimensions_that_nothing_tells_about_are_refused_with_the_choices(update, mode):
    model = nn.Sequential(nn.Linear(4, 4, bias=False), Stack())
    for params in (model, model.named_parameters(), [model[1].w1]):
        with pytest.raises(
            edsl.EdslError,
            match=rf"{update} takes matrices.*{update}\(split='experts'\) for 3 matrices of 4 × 5, "
            rf"{update}\(split='none'\) for one of 3 × 20, or route",
        ):
            edsl.compile(update, params, mode=mode)
    with pytest.raises(edsl.EdslError, match=r"route\(\('\*\.w1', adamw\)"):
        edsl.compile(f"route(matrix={update}, other=adamw)", model, mode=mode)


def test_the_route_that_the_error_names_is_taken_and_matrices_of_their_own_are_matrices():
    model = nn.Sequential(nn.Linear(4, 4), Stack(), nn.Linear(4, 2, bias=False))
    optimizer = edsl.compile("route(('*.w1', adamw), matrix=muon, other=adamw)", model, mode="eager")
    routes = {name: group["route"] for group in optimizer.param_groups for name in group["param_names"]}
    assert routes == {"1.w1": "*.w1", "0.weight": "matrix", "0.bias": "other", "2.weight": "other"}
    edsl.compile("muon", [nn.Parameter(matrix) for matrix in model[1].w1.detach()], mode="eager")


@pytest.mark.parametrize("shape", [(6,), (), (2, 3, 4), (2, 3, 1, 1, 1, 1)])
def test_any_shape_but_that_of_a_matrix_or_a_kernel_is_refused_for_bare_tensors_and_plans(shape):
    with pytest.raises(edsl.EdslError, match="muon takes matrices"):
        edsl.compile("muon", [nn.Parameter(torch.ones(shape))])
    with pytest.raises(edsl.EdslError, match="muon takes matrices"):
        memory("muon", {"w": shape})


def kernel(layer):
    return nn.Sequential(layer, nn.Flatten())


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv1d(2, 3, 2),
        nn.ConvTranspose1d(2, 3, 2),
        nn.utils.parametrizations.weight_norm(nn.Conv1d(2, 3, 2)),
        nn.Conv2d(2, 3, (2, 1)),
        nn.Conv3d(2, 3, (2, 1, 1)),
    ],
    ids=["conv1d", "transposed", "weight_norm", "conv2d", "conv3d"],
)
def test_a_convolutions_kernel_is_folded_as_ever_and_known_to_copies(layer):
    model = kernel(layer)
    matrices = [(name, p) for name, p in model.named_parameters() if p.dim() > 1]
    flat = [nn.Parameter(p.detach().clone().flatten(1)) for _, p in matrices]
    folded, other = (
        edsl.compile(spec, made, mode="eager") for spec, made in (("emuon", model), ("grad | e | muon", flat))
    )
    for _ in range(2):
        for (_, p), q in zip(matrices, flat, strict=True):
            p.grad = torch.cos(torch.arange(p.numel(), dtype=p.dtype)).view(p.shape)
            q.grad = p.grad.flatten(1)
        folded.step()
        other.step()
    assert all(torch.equal(p.flatten(1), q) for (_, p), q in zip(matrices, flat, strict=True))
    for copied in (copy.deepcopy(folded), pickle.loads(pickle.dumps(folded))):
        for group in copied.param_groups:
            for p in group["params"]:
                p.grad = torch.ones_like(p)
        copied.step()


def test_a_stack_that_is_put_into_a_group_by_hand_is_refused_at_the_step():
    model = nn.Linear(4, 4, bias=False)
    optimizer = edsl.compile("muon", model, mode="eager")
    group = optimizer.param_groups[0]
    group["params"].append(nn.Parameter(torch.ones(2, 3, 4)))
    group["param_names"].append("experts")
    for p in group["params"]:
        p.grad = torch.ones_like(p)
    with pytest.raises(edsl.EdslError, match="parameter experts has shape"):
        optimizer.step()
