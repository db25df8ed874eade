"""Schedules in rules, in directions and in what stands around them: the steps of values written by hand."""
# ruff: noqa: E501 (rules in a line)

from __future__ import annotations

import copy
import io
import math
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from problem import gradients, parameters, walk, worst

import edsl
from edsl.lab.executors.driver import run_to_end
from edsl.lab.races.build import open_record, race
from edsl.language.rules.texts import load_rules

T = 12
ADEMAMIX = """
@update
def ademamix(u, *, lr=0.001, beta1: decay = 0.9, beta2: decay = 0.999, beta3: decay = 0.9999, alpha=5, eps=1e-8):
    fast = ema(fast, u, beta1)
    slow = ema(slow, u, beta3)
    v = ema(v, u * u, beta2)
    return -lr * (debias(fast, beta1) + alpha * slow) / (sqrt(debias(v, beta2)) + eps)

@update
def soap_then_muon(u, *, lr=0.02, momentum: decay = 0.95, beta: decay = 0.9):
    return muon(direction(soap(u, beta2=beta, every=5)), lr=lr, momentum=momentum)

"""
SHAPES = [(4, 4), (3, 3)]


def cosine(value: float, warmup: int) -> Callable[[int], float]:
    def at(k: int) -> float:
        if k < warmup:
            return value * k / warmup
        return value * (1 + math.cos(math.pi * min((k - warmup) / (T - warmup), 1))) / 2

    return at


def linear(value: float, to: float) -> Callable[[int], float]:
    return lambda k: to + (value - to) * (1 - min(k / T, 1))


# a text with schedules; the same without; by route and key what the schedules are
CASES: dict[str, tuple[str, str, dict[tuple[str, str], Callable[[int], float]]]] = {
    "a rule": (
        f"{ADEMAMIX}ademamix(lr=cosine(0.01, warmup=3), beta3=linear(0.9, to=0.99), alpha=linear(0, to=5))",
        f"{ADEMAMIX}ademamix(lr=0.01, beta3=0.9, alpha=0)",
        {("", "lr"): cosine(0.01, 3), ("", "beta3"): linear(0.9, 0.99), ("", "alpha"): linear(0, 5)},
    ),
    "stages within a rule": (
        f"{ADEMAMIX}soap_then_muon(beta=linear(0.9, to=0.99), momentum=linear(0.85, to=0.95))",
        f"{ADEMAMIX}soap_then_muon(beta=0.9, momentum=0.85)",
        {("", "beta"): linear(0.9, 0.99), ("", "momentum"): linear(0.85, 0.95)},
    ),
    "a direction": (
        "grad | direction(soap(beta2=linear(0.9, to=0.99), beta4=linear(0.8, to=0.95), every=5)) | muon(lr=cosine(0.02, warmup=2))",
        "grad | direction(soap(beta2=0.9, beta4=0.8, every=5)) | muon(lr=0.02)",
        {("", "beta2"): linear(0.9, 0.99), ("", "beta4"): linear(0.8, 0.95), ("", "lr"): cosine(0.02, 2)},
    ),
    "a rule on a route": (
        f"{ADEMAMIX}grad | e(alpha=linear(-5, to=0)) | route(matrix=ademamix(lr=cosine(0.01, warmup=3)), other=sgd(lr=linear(0.1, to=0)))",
        f"{ADEMAMIX}grad | e(alpha=-5) | route(matrix=ademamix(lr=0.01), other=sgd(lr=0.1))",
        {
            ("matrix", "lr"): cosine(0.01, 3),
            ("other", "lr"): linear(0.1, 0),
            ("matrix", "alpha"): lambda k: 5.0,
            ("matrix", "e.alpha"): linear(-5, 0),
            ("other", "alpha"): linear(-5, 0),
        },
    ),
}


def built(spec: str, mode: str = "eager", shapes: Any = SHAPES, **options: Any) -> tuple[Any, Any]:
    params = parameters(shapes)
    return params, edsl.compile(spec, params, mode=mode, **options)


MODES = [
    *((name, "eager") for name in CASES),
    ("a rule", "compiled"),
    *(pytest.param(name, "compiled", marks=pytest.mark.slow) for name in ("stages within a rule", "a direction")),
]


@pytest.mark.parametrize(("name", "mode"), MODES)
def test_scheduled_steps_are_those_of_values_written_by_hand(name: str, mode: str) -> None:
    spec, bare, schedules = CASES[name]
    shapes = [*SHAPES, (5,)] if "route" in name else SHAPES
    params, optimizer = built(spec, mode, shapes, total_steps=T)
    others, by_hand = built(bare, mode, shapes)
    for k, row in enumerate(gradients(T + 3, shapes), start=1):
        for ours, group in zip(optimizer.param_groups, by_hand.param_groups, strict=True):
            for (route, key), value in schedules.items():
                if group.get("route", "") == route:
                    group[key] = value(k)
                    assert ours[key] == pytest.approx(group[key], rel=1e-13)
        assert worst(walk(optimizer, params, [row]), walk(by_hand, others, [row])) <= 1e-12, k


@pytest.mark.parametrize("name", CASES)
def test_resuming_in_the_middle_is_exact_bit_for_bit(name: str) -> None:
    spec, shapes = CASES[name][0], [*SHAPES, (5,)] if "route" in name else SHAPES
    rows = gradients(T, shapes)
    params, optimizer = built(spec, shapes=shapes, total_steps=T)
    walk(optimizer, params, rows[:5])
    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    file.seek(0)
    others, resumed = built(spec, shapes=shapes, total_steps=99)
    with torch.no_grad():
        for other, param in zip(others, params):
            other.copy_(param)
    resumed.load_state_dict(torch.load(file, weights_only=True))
    assert worst(walk(resumed, others, rows[5:]), walk(optimizer, params, rows[5:])) == 0


def test_groups_have_values_and_schedules_of_their_own() -> None:
    spec = CASES["a rule"][0]
    params = parameters(SHAPES)
    optimizer: Any = edsl.compile(
        spec, [{"params": params[:1]}, {"params": params[1:], "lr": 0.5, "alpha": 1.0}], total_steps=T, mode="eager"
    )
    del optimizer.param_groups[1]["schedules"]["beta3"]
    optimizer.param_groups[1]["beta3"] = 0.75
    optimizer.param_groups[1]["schedules"]["beta2"] = "linear(0.9, to=0.8)"  # which the spec has constant
    optimizer.param_groups[1]["beta2"] = linear(0.9, 0.8)(1)
    walk(optimizer, params, gradients(4, SHAPES))
    first, second = optimizer.param_groups
    assert (first["lr"], second["lr"]) == pytest.approx((cosine(0.01, 3)(5), cosine(0.5, 3)(5)))
    assert (first["alpha"], second["alpha"]) == pytest.approx((linear(0, 5)(5), linear(1, 5)(5)))
    assert (first["beta3"], second["beta3"]) == pytest.approx((linear(0.9, 0.99)(5), 0.75))
    assert (first["beta2"], second["beta2"]) == pytest.approx((0.999, linear(0.9, 0.8)(5)))


def test_an_accumulation_counts_its_steps_and_not_its_calls() -> None:
    params = parameters(SHAPES)
    optimizer: Any = edsl.compile("grad(accumulate=3) | sgd(lr=linear(0.1))", params, total_steps=T, mode="eager")
    walk(optimizer, params, gradients(6, SHAPES))
    assert optimizer.param_groups[0]["lr"] == pytest.approx(linear(0.1, 0)(3))


def test_a_step_that_a_grad_scaler_skips_is_no_step_of_a_schedule() -> None:
    params, optimizer = built(CASES["a rule"][0], total_steps=T)
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    for factor, steps in ((1.0, 1), (float("inf"), 1), (1.0, 2)):
        optimizer.zero_grad()
        scaler.scale(torch.stack([p.square().sum() for p in params]).sum() * factor).backward()
        scaler.step(optimizer)
        scaler.update()
        assert optimizer.param_groups[0]["lr"] == pytest.approx(cosine(0.01, 3)(steps + 1))


def test_copies_follow_their_schedules_too() -> None:
    params, optimizer = built(CASES["a rule"][0], total_steps=T)
    walk(optimizer, params, gradients(3, SHAPES))
    for made in (copy.deepcopy(optimizer), pickle.loads(pickle.dumps(optimizer))):
        own = [p for group in made.param_groups for p in group["params"]]
        walk(made, own, gradients(2, SHAPES))
        assert made.param_groups[0]["lr"] == pytest.approx(cosine(0.01, 3)(6))


WORKER = """
import pickle, sys
from edsl.lab.executors.worker import run_work
print(run_work(pickle.loads(sys.stdin.buffer.read()))["test_loss"].hex())
"""


def test_a_trial_with_rules_travels_to_a_fresh_process_without_the_file(tmp_path: Path) -> None:
    file = tmp_path / "travelling.edsl"
    file.write_text(ADEMAMIX.replace("ademamix", "travelling"))
    load_rules(file)
    spec = "travelling(lr=depth(cosine(0.01, warmup=3), by=0.9), alpha=linear(0, to=5))"
    chosen = race("digits", [spec], model="linear", steps=T, seeds=1)
    (work,) = chosen.ready({})
    payload = pickle.dumps(work)
    file.unlink()
    done = subprocess.run([sys.executable, "-c", WORKER], input=payload, capture_output=True, check=True, cwd=tmp_path)
    record = open_record(chosen, tmp_path / "race", False)
    (row,) = run_to_end(chosen, record, lambda _: None).rows
    assert float.fromhex(done.stdout.decode().strip()) == row.test_loss.mean  # pyright: ignore[reportOptionalMemberAccess]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_race_with_rules_has_the_same_bits_on_ray(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    from edsl.lab.executors.cluster import Cluster

    specs = [CASES["a rule"][0], "sgd(lr=linear(0.1))"]

    def losses(folder: str, executor: Any) -> list[Any]:
        chosen = race("digits", specs, model="linear", steps=T, seeds=2)
        record = open_record(chosen, tmp_path / folder, False)
        return [row.test_loss for row in run_to_end(chosen, record, lambda _: None, executor).rows]

    assert losses("ray", Cluster(2, None, 0)) == losses("serial", None)
