"""What an optimizer keeps is counted wherever it lies, once, against a count by hand."""

from collections import deque
from dataclasses import dataclass
from functools import partial

import pytest
import torch
import torch_optimizer

import edsl
from edsl.costs.memory import memory
from edsl.optim.state import state_bytes, state_tensors

ROWS, COLUMNS = 8, 24
ELEMENTS = ROWS * COLUMNS


def stepped(make, steps=2):
    weight = torch.nn.Parameter(torch.randn(ROWS, COLUMNS))
    optimizer = make([weight])
    for _ in range(steps):
        weight.grad = torch.randn_like(weight)
        optimizer.step()
    return optimizer


@dataclass
class Factors:
    left: torch.Tensor
    right: torch.Tensor


class Slots:
    __slots__ = ("held",)


class Nested(torch.optim.Optimizer):
    """Keeps tensors in every place where packages keep some."""

    def __init__(self, params):
        super().__init__(params, {"lr": torch.tensor(0.1)})
        (weight,) = self.param_groups[0]["params"]
        row, column = torch.zeros(ROWS), torch.zeros(COLUMNS)
        slots = Slots()
        slots.held = torch.zeros(7)
        state = self.state[weight]
        state["step"] = torch.tensor(0.0)
        state["GG"] = [torch.zeros(ROWS, ROWS), [torch.zeros(COLUMNS, COLUMNS), None]]  # 4 (64 + 576)
        state["blocks"] = {0: {"step": torch.tensor(1.0), "v": row}, 1: (column, column.view(2, 12))}  # 4 (8 + 24)
        state["factors"] = Factors(torch.zeros(3), row)  # 4 · 3: the other is counted
        state["halves"] = torch.zeros(10, dtype=torch.bfloat16)  # 20
        state["before"] = weight.detach()
        state["slots"] = slots  # 4 · 7
        self.queue = deque([torch.zeros(5, dtype=torch.float64)])  # 40
        self.inner = torch.optim.SGD([weight], lr=torch.tensor(0.1), momentum=0.9)  # 4 · 192
        self.again = self
        self.model = torch.nn.Linear(100, 100)
        self.loss = partial(torch.ones, 3)
        self.param_groups[0]["flat"] = torch.zeros(11)  # 44
        self.param_groups[0]["initial_lr"] = torch.tensor(0.1)

    def step(self, closure=None):
        self.inner.step()


def test_tensors_are_found_in_lists_dictionaries_objects_attributes_and_inner_optimizers():
    expected = 4 * (64 + 576) + 4 * (8 + 24) + 4 * 3 + 20 + 4 * 7 + 40 + 4 * ELEMENTS + 44
    optimizer = stepped(Nested)
    assert state_bytes(optimizer) == expected
    names = {name for name, _, _ in state_tensors(optimizer)}
    assert names == {"GG", "blocks", "factors", "halves", "slots", "queue", "inner", "flat"}


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (torch.optim.AdamW, 8 * ELEMENTS),
        (partial(torch.optim.Adam, amsgrad=True), 12 * ELEMENTS),
        (partial(torch.optim.SGD, lr=0.1), 0),
        (torch.optim.Adafactor, 4 * (ROWS + COLUMNS)),
        (torch_optimizer.Lamb, 8 * ELEMENTS + 3 * 4),  # and two norms and their ratio
        (torch_optimizer.Shampoo, 4 * ELEMENTS + 2 * 4 * (ROWS**2 + COLUMNS**2)),
        (partial(edsl.ALTO, mode="eager"), 12 * ELEMENTS),
        (partial(edsl.ALTO, lr=torch.tensor(0.1)), 12 * ELEMENTS),
        (partial(edsl.ALTO, state_dtype="bfloat16", mode="eager"), 6 * ELEMENTS),
        (partial(edsl.compile, "grad | e | torch.AdamW(lr=0.1)", mode="eager"), 12 * ELEMENTS),
        (partial(edsl.compile, "grad | e | torch_optimizer.Shampoo", mode="eager"), 8 * ELEMENTS + 8 * (64 + 576)),
    ],
)
def test_state_is_what_a_count_by_hand_gives(make, expected):
    optimizer = stepped(lambda params: make(params=params) if isinstance(make, partial) else make(params))
    assert state_bytes(optimizer) == expected


@pytest.mark.parametrize("spec", ["torch.Muon", "torch_optimizer.AggMo", "torch.NAdam", "torch.Adam(amsgrad=True)"])
def test_a_plan_counts_another_packages_state_as_a_real_optimizer_has_it(spec):
    planned = memory(spec, {"weight": (ROWS, COLUMNS)}).state
    assert planned == state_bytes(stepped(partial(edsl.compile, spec)))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("SOAP", 2 * 4 + 2 * 4 * (256**2 + 1024**2) / (256 * 1024)),  # m, v; covariances and bases: 42
        ("Kron", 4 + 4 * (256**2 + 1024**2) / (256 * 1024)),
        ("AggMo", 3 * 4),
        ("AdamW", 2 * 4),
    ],
)
def test_peers_are_counted_as_they_are(name, expected):
    package = pytest.importorskip("pytorch_optimizer")
    weight = torch.nn.Parameter(torch.randn(256, 1024))
    optimizer = getattr(package, name)([weight])
    weight.grad = torch.randn_like(weight)
    optimizer.step()
    weight.grad = torch.randn_like(weight)
    optimizer.step()
    assert state_bytes(optimizer) / weight.numel() == pytest.approx(expected, rel=1e-4)
