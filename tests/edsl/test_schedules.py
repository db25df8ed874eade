"""Schedules as text: each form's numbers, and how an optimizer follows them."""

from __future__ import annotations

import copy
import math
import pickle
from typing import Any

import pytest
import torch

import edsl
from edsl.errors import EdslError, SpecError
from edsl.language.schedules.reading import read_text

T = 200


def cosine_fall(spent: float) -> float:
    return (1 + math.cos(math.pi * spent)) / 2


def warm(k: int, w: float, after: float) -> float:
    return k / w if k < w else after


FORMS = {
    "constant(0.3)": lambda k: 0.3,
    "constant(0.3, warmup=20)": lambda k: 0.3 * min(1, k / 20),
    "linear(-5, to=0)": lambda k: -5 * (1 - min(k / T, 1)),
    "linear(0.85, to=0.95, steps=50)": lambda k: 0.85 + 0.1 * min(k / 50, 1),
    "linear(2, warmup=0.1)": lambda k: 2 * warm(k, 20, 1 - min((k - 20) / 180, 1)),
    "cosine(0.1, warmup=40, floor=0.1)": lambda k: (
        0.1 * warm(k, 40, 0.1 + 0.9 * cosine_fall(min(max(k - 40, 0) / 160, 1)))
    ),
    "cosine(0.1, steps=0.5)": lambda k: 0.1 * cosine_fall(min(k / 100, 1)),
    "wsd(1, decay=0.25)": lambda k: 1 if k < 150 else max(0, (T - k) / 50),
    "wsd(1, warmup=10, decay=60, shape='sqrt')": lambda k: warm(k, 10, 1 - math.sqrt(min(max((k - 140) / 60, 0), 1))),
    "wsd(1, shape='cosine')": lambda k: cosine_fall(min(max((k - 160) / 40, 0), 1)),
    "power(2, exponent=0.3)": lambda k: 2 / k**0.3,
    "inverse_sqrt(0.5, warmup=16)": lambda k: 0.5 * min(k / 16, math.sqrt(16 / k)),
    "inverse_sqrt(0.5)": lambda k: 0.5 / math.sqrt(k),
    "step(0.1)": lambda k: 0.1 * (1 if k < 100 else 0.1 if k < 150 else 0.01),
    "step(0.1, at=(30, 0.5), by=2)": lambda k: 0.1 * 2 ** ((k >= 30) + (k >= 100)),
}


@pytest.mark.parametrize("text", FORMS)
def test_a_form_is_its_formula_at_every_step_and_stays_behind_the_last(text: str) -> None:
    schedule = read_text(text)
    for k in range(1, T + 20):
        last = k if schedule.form in ("power", "inverse_sqrt") else min(k, T)
        assert schedule.at(k, T) == pytest.approx(FORMS[text](last), rel=1e-12, abs=1e-15), k
        low, high = min(schedule.extremes), max(schedule.extremes)
        assert schedule.form in ("power", "inverse_sqrt") or low <= schedule.at(k, T) <= high or k == 1
    assert read_text(str(schedule)) == schedule


@pytest.mark.parametrize("text", FORMS)
def test_the_symbols_of_a_form_have_its_numbers(text: str) -> None:
    import sympy

    from edsl.theory.text.schedules import K, formula_of
    from edsl.theory.text.schedules import T as TOTAL

    formula = formula_of(read_text(text))
    for k in (1, 7, 16, 39, 40, 120, 155, 199):
        number = float(sympy.sympify(formula).subs({K: k, TOTAL: T}))
        assert number == pytest.approx(FORMS[text](k), rel=1e-9, abs=1e-12)


SPEC = "grad | e(alpha=linear(-5, to=0)) | adamw(lr=cosine(0.01, warmup=5, floor=0.1))"


def trained(optimizer: Any, model: Any, steps: int, begin: int = 0) -> None:
    for number in range(begin, begin + steps):
        generator = torch.Generator().manual_seed(number)
        optimizer.zero_grad()
        model(torch.randn(5, 4, generator=generator)).pow(2).mean().backward()
        optimizer.step()


def built(spec: str = SPEC, mode: str = "compiled", **options: Any) -> tuple[Any, Any]:
    torch.manual_seed(0)
    model = torch.nn.Linear(4, 3)
    return model, edsl.compile(spec, model, mode=mode, **{"total_steps": 30, **options})


@pytest.mark.parametrize("mode", ["eager", "compiled"])
def test_scheduled_steps_are_those_of_values_written_by_hand(mode: str) -> None:
    model, optimizer = built(mode=mode)
    other, by_hand = built("grad | e(alpha=-5) | adamw(lr=0.01)", mode)
    for k in range(1, 35):
        lr = 0.01 * warm(k, 5, 0.1 + 0.9 * cosine_fall(min(max(k - 5, 0) / 25, 1)))
        group = by_hand.param_groups[0]
        group["lr"], group["alpha"] = lr, -5 * (1 - min(k / 30, 1))
        assert optimizer.param_groups[0]["lr"] == pytest.approx(lr, rel=1e-14)
        trained(optimizer, model, 1, k)
        trained(by_hand, other, 1, k)
        torch.testing.assert_close(model.weight, other.weight, rtol=1e-6, atol=1e-7)


def test_resuming_in_the_middle_is_exact_bit_for_bit() -> None:
    model, optimizer = built()
    trained(optimizer, model, 12)
    saved, weights = copy.deepcopy(optimizer.state_dict()), copy.deepcopy(model.state_dict())
    trained(optimizer, model, 12, 12)
    other, resumed = built(total_steps=99)
    other.load_state_dict(weights)
    resumed.load_state_dict(pickle.loads(pickle.dumps(saved)))
    trained(resumed, other, 12, 12)
    assert resumed.param_groups[0]["total_steps"] == 30
    assert torch.equal(model.weight, other.weight)
    assert torch.equal(model.bias, other.bias)
    assert resumed.param_groups[0]["lr"] == optimizer.param_groups[0]["lr"]


def test_nothing_is_recompiled_over_300_steps_and_steps_are_replayed() -> None:
    model, optimizer = built(total_steps=300)
    trained(optimizer, model, 3)
    graphs = optimizer.engine.graphs
    trained(optimizer, model, 297, 3)
    assert optimizer.engine.graphs == graphs
    assert optimizer.engine.can_replay


def test_groups_scale_by_their_own_values() -> None:
    model = torch.nn.Linear(4, 3)
    groups = [{"params": [model.weight]}, {"params": [model.bias], "lr": 0.5}]
    optimizer = edsl.compile("sgd(lr=linear(0.1))", groups, total_steps=10, mode="eager")
    trained(optimizer, model, 4)
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.05, 0.25])


def test_the_branches_of_a_route_follow_their_own_schedules() -> None:
    spec = "route(matrix=muon(lr=wsd(0.02, decay=0.5)), other=adamw(lr=constant(0.3, warmup=4)))"
    model = torch.nn.Linear(4, 3)
    optimizer = edsl.compile(spec, list(model.parameters()), mode="eager", total_steps=10)
    trained(optimizer, model, 6)
    found = {group["route"]: group["lr"] for group in optimizer.param_groups}
    assert found == pytest.approx({"matrix": 0.02 * 3 / 5, "other": 0.3})


@pytest.mark.parametrize("mode", ["eager", "compiled"])
def test_a_layer_unfrozen_late_does_not_warm_up_again(mode: str) -> None:
    model, optimizer = built("sgd(lr=constant(1, warmup=10))", mode)
    model.bias.requires_grad_(False)
    trained(optimizer, model, 20)
    model.bias.requires_grad_(True)
    before = model.bias.detach().clone()
    trained(optimizer, model, 1, 20)
    assert torch.equal(model.bias, before - model.bias.grad)


def test_a_torch_scheduler_on_the_same_key_is_refused_in_one_line() -> None:
    model, optimizer = built(mode="eager")
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda k: 0.5)
    with pytest.raises(EdslError, match=r"^param group 0: lr follows cosine.*remove one of the two[^\n]*$"):
        trained(optimizer, model, 1)
    model, optimizer = built(mode="eager")
    trained(optimizer, model, 3)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1)
    trained(optimizer, model, 1)
    scheduler.step()
    with pytest.raises(EdslError, match="lr follows cosine"):
        trained(optimizer, model, 1)


def test_deleting_an_entry_frees_its_key() -> None:
    model, optimizer = built()
    trained(optimizer, model, 12)
    group = optimizer.param_groups[0]
    del group["schedules"]["lr"]
    group["lr"] = 0.25
    trained(optimizer, model, 3, 12)
    assert group["lr"] == 0.25
    assert group["alpha"] == pytest.approx(-5 * (1 - 16 / 30))


def test_an_override_replaces_the_value_and_keeps_the_schedule() -> None:
    _, optimizer = built(lr=0.5, mode="eager")
    assert optimizer.param_groups[0]["schedules"]["lr"] == "cosine(0.5, warmup=5, floor=0.1)"
    assert str(edsl.parse("sgd(lr=linear(0.1))").override(lr=2)).startswith("grad | sgd(lr=linear(2), ")


@pytest.mark.parametrize(
    ("spec", "said", "under"),
    [
        ("adamw(lr=cosin(0.1))", "unknown schedule 'cosin'; did you mean 'cosine'", "cosin("),
        ("adamw(lr=cosine(0.1, warmup=-3))", "warmup must be a whole number of steps or a share", "warmup="),
        ("adamw(lr=cosine(0.1, floor=2))", r"floor must be a number in \[0, 1\], got 2", "floor="),
        ("adamw(lr=cosine(0.1, warm=2))", "did you mean 'warmup'", "warm="),
        ("adamw(lr=cosine(warmup=2))", "the value comes first", "cosine("),
        ("adamw(lr=linear(0.1, to=-1))", r"lr must lie in \[0, ∞\), got -1", "lr="),
        ("adamw(beta2=linear(0.9, to=1))", r"beta2 must lie in \[0, 1\), got 1", "beta2="),
        ("muon(nesterov=linear(1))", "nesterov is fixed once built and takes no schedule", "nesterov="),
        ("e(beta1=linear(0.9, to=0.95)) | sgd", "buffers=2", "beta1="),
        ("sgd(momentum=linear(0, to=0.9))", "begins at a value without the buffers m", "momentum="),
        ("e(alpha=linear(-5, to=-1000)) | sgd", "must be less than", "alpha="),
        ("torch.AdamW(lr=cosine(0.1))", "another package's optimizer takes no schedule", "lr="),
        ("sgd(lr=wsd(0.1, warmup=80, decay=30, steps=100))", "longer than 100 steps", "warmup="),
    ],
)
def test_bad_input_is_one_line_with_a_caret(spec: str, said: str, under: str) -> None:
    with pytest.raises(SpecError, match=said) as caught:
        edsl.parse(spec)
    assert "\n" not in caught.value.message
    assert spec[caught.value.place :].startswith(under)


def test_a_missing_or_bad_number_of_steps_is_refused() -> None:
    with pytest.raises(EdslError, match=r"^lr=cosine\(0.1\) needs the number of steps: [^\n]*total_steps[^\n]*$"):
        built("sgd(lr=cosine(0.1))", total_steps=None)
    for total in (0, 2.5, True):
        with pytest.raises(EdslError, match="total_steps must be a whole number above 0"):
            built(total_steps=total)
    built("sgd(lr=inverse_sqrt(0.1, warmup=3))", total_steps=None)


def test_spared_parameters_have_no_decay_on_any_schedule() -> None:
    model, optimizer = built("adamw(lr=0.1, weight_decay=linear(0.5, to=1))", "eager")
    optimizer.zero_grad()
    model.bias.grad, model.weight.grad = torch.zeros(3), torch.zeros(3, 4)
    bias, weight = model.bias.detach().clone(), model.weight.detach().clone()
    optimizer.step()
    assert torch.equal(model.bias, bias)
    torch.testing.assert_close(model.weight, weight * (1 - 0.1 * (0.5 + 0.5 / 30)))


def test_check_regret_and_check_stability_read_schedules(capsys) -> None:
    from edsl.cli.check_regret import check_regret
    from edsl.theory.text.schedules import at_step

    with pytest.raises(SystemExit, match="0"):
        check_regret(0.9, 0.99, "alto(lr=inverse_sqrt(0.1, warmup=5))", None, None, None, 1.0, True)
    with pytest.raises(SystemExit, match="1"):
        check_regret(0.9, 0.99, "alto(lr=power(0.1, exponent=1))", None, None, None, 1.0, True)
    with pytest.raises(EdslError, match="nothing is claimed beyond T"):
        check_regret(0.9, 0.99, "alto(lr=cosine(0.1))", None, None, None, 1.0, True)
    with pytest.raises(EdslError, match="leave out --lr-schedule"):
        check_regret(0.9, 0.99, "alto(lr=power(0.1))", "1/k", None, None, 1.0, True)
    pipeline = edsl.parse("grad | e(alpha=linear(-1, to=-5)) | sgd(lr=linear(0.1, steps=10))")
    assert str(at_step(edsl.parse("grad | sgd(lr=linear(0.1, to=0.3))"), None)).startswith("grad | sgd(lr=0.3,")
    with pytest.raises(EdslError, match="needs the number of steps"):
        at_step(pipeline, 5)
    assert str(at_step(edsl.parse("sgd(lr=linear(0.1, steps=10))"), 5)).startswith("grad | sgd(lr=0.05,")


def test_a_race_gives_its_steps_and_refuses_a_second_schedule() -> None:
    from edsl.lab.races.build import race

    spec = "sgd(lr=linear(0.1))"
    with pytest.raises(EdslError, match=r"has its own lr=linear\(0.1\): leave out --schedule cosine"):
        race("quadratic", [spec], steps=5, schedule="cosine")
    with pytest.raises(EdslError, match="needs the number of steps"):
        race("quadratic", [spec], seconds=1)
    assert race("quadratic", [spec], steps=5).setting.budget == 5
