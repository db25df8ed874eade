"""E in front of every kind of optimizer trains, and one race holds all of them."""

import json
from functools import partial

import pytest
import torch
from shell import run

import edsl
from edsl.lab.closure import closure_for
from edsl.lab.tasks.catalogue import task
from edsl.lab.trials.training import batches
from edsl.language.registry.lookup import stage_class
from edsl.language.registry.stages import STAGES

TRAINS = {  # each base update with E before it, at a learning rate of its own
    "sgd": "grad | e | sgd(lr=0.1)",
    "qhm": "grad | e | qhm(lr=1, momentum=0.9)",
    "adam": "eadam",
    "adamw": "eadamw",
    "lamb": "alto",
    "lars": "elars(lr=10)",
    "lion": "elion(lr=0.0003)",
    "adabelief": "eadabelief",
    "adan": "grad | e | adan(lr=0.003)",
    "rmsprop": "grad | e | rmsprop(lr=0.001)",
    "adahessian": "eadahessian",
    "sophia": "hutchinson(every=5) | e | sophia(lr=0.003)",
    "muon": "emuon",
    "shampoo": "eshampoo",
    "soap": "esoap",
    "galore": "grad | e | route(matrix=galore(lr=0.03, rank=8), other=adamw)",
    "psgd_kron": "grad | e | psgd_kron(lr=0.003)",
    "route": "grad | e | route(head=lion(lr=0.001), matrix=muon, other=adamw) | caution | decay",
}
TRAINS_TOO = [
    "esam_sgd(lr=0.02)",
    "grad(accumulate=2) | e | adam(lr=0.003)",
    "grad | e | adamw(lr=0.003) | lookahead | ema_weights(decay=0.9)",
    "spsa(samples=16) | e | adam(lr=0.01)",
    "spsa(samples=16) | e | sgd(lr=0.05)",
    "spsa(samples=16, common=True) | e(buffers=2) | sgd(lr=0.05)",
]


def losses(spec, steps=200):
    """The training loss on the digits before and after; softmax regression for zeroth order, else the MLP."""
    digits = task("digits")
    train = digits.data().train
    torch.manual_seed(0)
    model = digits.models["linear" if spec.startswith("spsa") else "mlp"]()
    optimizer = edsl.compile(spec, model, mode="eager")
    rows = batches(len(train.inputs), 128, seed=0)

    def loss(chosen):
        return digits.loss(model(train.inputs[chosen]), train.targets[chosen])

    everything = torch.arange(len(train.inputs))
    before = float(loss(everything).detach())
    for _ in range(steps):
        chosen = next(rows)
        optimizer.step(closure_for(optimizer.pipeline, optimizer, partial(loss, chosen)))
    with optimizer.evaluation_weights():
        return before, float(loss(everything).detach())


def test_every_base_update_is_tried():
    assert set(TRAINS) == {name for name in STAGES if stage_class(name).kind == "base update"}


@pytest.mark.parametrize("spec", [*TRAINS.values(), *TRAINS_TOO])
def test_e_in_front_halves_the_loss_on_the_digits_in_200_steps(spec):
    assert "| e" in str(edsl.parse(spec))
    before, after = losses(spec)
    assert after <= before / 2


@pytest.mark.slow
def test_one_race_holds_an_optimizer_of_each_order_with_and_without_e(tmp_path):
    specs = [
        "spsa(samples=4) | sgd(lr=0.05)",
        "ezo(samples=4, lr=0.05)",
        "sgd(lr=0.1)",
        "grad | e | sgd(lr=0.1)",
        "adahessian",
        "eadahessian",
        "route(matrix=muon, other=adamw)",
        "emuon",
    ]
    budget = [
        "--model",
        "linear",
        "--steps",
        "30",
        "--seeds",
        "1",
        "--no-controls",
        "--jobs",
        "1",
        "--json",
        "--out",
        str(tmp_path / "race"),
    ]
    code, out, error = run("compare", "digits", *specs, *budget)
    assert code == 0, error
    rows = json.loads(out)["rows"]
    assert len(rows) == len(specs)
    assert [row["ok"] for row in rows] == [1] * len(specs)
