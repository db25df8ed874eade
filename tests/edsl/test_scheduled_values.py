"""A step whose hyper-parameters are scheduled repeats the last one too, and checks every value."""

import pytest
import torch

import edsl
from edsl.language.pipeline import Pipeline
from edsl.step.plan import GroupPlan

SPECS = [
    "alto",
    "adamw",
    "grad | clip(norm=1) | e(buffers=2) | adam | caution | decay(rate=0.1)",
    "route(matrix=lamb, other=sgd(momentum=0.9))",
]


def optimizer_of(spec):
    params = [("layer.weight", torch.nn.Parameter(torch.ones(4, 3))), ("layer.bias", torch.nn.Parameter(torch.ones(3)))]
    for _, p in params:
        p.grad = torch.ones_like(p)
    return edsl.compile(spec, params)


@pytest.mark.filterwarnings("ignore:e. beta1 changed while training")
@pytest.mark.parametrize("spec", SPECS)
def test_a_changed_value_makes_the_pipeline_that_its_text_says(spec):
    branch = edsl.parse(spec).branches.popitem()[1]
    for spared in (False, True):
        for key, value in branch.hyperparameters.items():
            plan = GroupPlan(branch, spared, dict(branch.hyperparameters))
            new = 0.995 if key == "beta1" else value * 0.75 if value else 0.25
            fresh = GroupPlan(branch.override(**{key: new}), spared, {**branch.hyperparameters, key: new})
            plan.pipeline.keys  # noqa: B018 - known before the change
            plan.change({key: new})
            assert plan.pipeline == fresh.pipeline
            assert (plan.pipeline.keys, plan.pipeline.structure) == (fresh.pipeline.keys, fresh.pipeline.structure)
            assert str(plan.pipeline) == str(fresh.pipeline)
            assert plan.numbers(3) == fresh.numbers(3)


@pytest.mark.parametrize("kind", [float, torch.tensor])
@pytest.mark.parametrize("spec", ["alto", "route(matrix=lamb, other=adamw)"])
def test_a_scheduled_step_builds_no_pipeline_and_keeps_the_roster(spec, kind, monkeypatch):
    optimizer = optimizer_of(spec)
    values = [kind(0.01) for _ in optimizer.param_groups]
    for group, value in zip(optimizer.param_groups, values, strict=True):
        group["lr"] = value
    for _ in range(3):
        optimizer.step()
    roster = optimizer.engine._replay
    assert roster is not None

    def built(self):
        raise AssertionError("a pipeline was built")

    monkeypatch.setattr(Pipeline, "__post_init__", built)
    for k in range(4):
        for group in optimizer.param_groups:
            if kind is float:
                group["lr"] = 0.01 / (k + 2)
            else:
                group["lr"].fill_(0.01 / (k + 2))
        optimizer.step()
    assert optimizer.engine._replay is roster
    assert optimizer.engine.plan(0, optimizer.param_groups[0], spared=False).values["lr"] == pytest.approx(0.002)


BAD = [
    ("lr", -1.0, r"lamb: lr must lie in \[0, ∞\), got -1 \(Invalid learning rate: -1"),
    ("lr", float("nan"), "lamb: lr must be a finite number, got nan"),
    ("lr", "0.1", "lr must be a number, got '0.1'"),
    ("lr", True, "lr must be a number, got True"),
    ("lr", torch.ones(2), "lr must be a number"),
    ("lr", torch.tensor(-1.0), r"lr must lie in \[0, ∞\), got -1"),
    ("lr", None, r"lr must be a number, got None"),
    ("beta2", 1.0, r"lamb: beta2 must lie in \[0, 1\), got 1"),
    ("alpha", -500, "e: |alpha| must be less than"),
]


@pytest.mark.parametrize(("key", "value", "message"), BAD)
def test_a_bad_value_is_one_error_that_changes_nothing(key, value, message):
    optimizer = optimizer_of("alto")
    for _ in range(3):
        optimizer.step()
    group = optimizer.param_groups[0]
    before = [p.detach().clone() for p in group["params"]]
    good = group[key]
    group[key] = value
    for _ in range(2):
        with pytest.raises(edsl.EdslError, match=message.replace("|", r"\|")) as raised:
            optimizer.step()
        assert "\n" not in str(raised.value)
    assert all(torch.equal(p, b) for p, b in zip(group["params"], before, strict=True))
    group[key] = good
    optimizer.step()
    del group[key]
    with pytest.raises(edsl.EdslError, match=f"param group 0 is missing {key}"):
        optimizer.step()
