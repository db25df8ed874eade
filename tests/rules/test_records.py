"""What is kept carries its rules: checkpoints, races, worker processes; another rule of a name is refused."""

from __future__ import annotations

import copy
import io
import pickle
import subprocess
import sys
from typing import Any

import pytest
import torch
from problem import gradients, parameters, walk, worst
from shell import run

import edsl
from edsl.lab.executors.driver import run_to_end
from edsl.lab.executors.processes import Processes
from edsl.lab.races.build import open_record, race, race_from
from edsl.lab.races.record import read_configuration
from edsl.lab.results.results import results

RULE = """
@update
def own(u, *, lr=0.1, beta: decay = 0.9):
    m = ema(m, u, beta)
    return -lr * m

"""
OTHER = RULE.replace("-lr * m", "-lr * 2 * m")
SHAPES = [(4, 3), (5,)]


def trained(spec: str, steps: int, before: Any = None) -> tuple[Any, Any, Any]:
    params = parameters(SHAPES)
    optimizer: Any = edsl.compile(spec, params, mode="eager")
    if before is not None:
        with torch.no_grad():
            for param, value in zip(params, before[0]):
                param.copy_(value)
        optimizer.load_state_dict(before[1])
    history = walk(optimizer, params, gradients(12, SHAPES)[12 - steps :] if before else gradients(12, SHAPES)[:steps])
    return optimizer, history, [p.detach().clone() for p in params]


def test_checkpoint_holds_the_text_and_resumes_bit_for_bit():
    _, expected, _ = trained(f"{RULE}own", 12)
    optimizer, _, begun = trained(f"{RULE}own", 5)
    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    file.seek(0)
    held = torch.load(file, weights_only=True)
    assert held["param_groups"][0]["pipeline"] == str(edsl.parse(f"{RULE}own"))
    _, history, _ = trained(f"{RULE}own(lr=0.3)", 7, (begun, held))
    assert worst(history, expected[5:]) == 0


def test_checkpoint_of_another_rule_of_that_name_is_refused_with_the_lines_that_differ():
    optimizer, _, begun = trained(f"{RULE}own", 2)
    held = copy.deepcopy(optimizer.state_dict())
    with pytest.raises(edsl.EdslError) as caught:
        trained(f"{OTHER}own", 2, (begun, held))
    said = str(caught.value)
    assert "the rule own differs" in said
    assert "-    return -lr * m\n" in said
    assert "+    return -lr * 2 * m" in said
    held["param_groups"][0]["pipeline"] = "grad | own(lr=0.1, beta=0.9)"  # a text without its rule means no rule here
    with pytest.raises(edsl.EdslError, match="unknown stage 'own'"):
        trained(f"{RULE}own", 2, (begun, held))


def test_rule_under_a_stages_name_is_another_stage_in_a_checkpoint():
    rule = "@update\ndef sgd(u, *, lr=0.001, weight_decay=0):\n    return -lr * u\nsgd"
    optimizer, _, begun = trained("sgd", 2)
    with pytest.raises(edsl.EdslError, match="sgd is a rule here, and not the other"):
        trained(rule, 2, (begun, optimizer.state_dict()))


PROGRAM = """
import pickle, sys
pipeline = pickle.loads(sys.stdin.buffer.read())
import torch, edsl
weight = torch.nn.Parameter(torch.arange(4.0))
optimizer = edsl.compile(pipeline, [weight], mode="eager")
for k in range(3):
    weight.grad = weight.detach() + k
    optimizer.step()
print(pipeline)
print(weight.tolist())
"""


def test_rule_travels_to_another_process():
    pipeline = edsl.parse(f"{RULE}grad | direction(own) | e | own(lr=0.3)")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], input=pickle.dumps(pipeline), capture_output=True, check=True
    )
    weight = torch.nn.Parameter(torch.arange(4.0))
    optimizer: Any = edsl.compile(pipeline, [weight], mode="eager")
    for k in range(3):
        weight.grad = weight.detach() + k
        optimizer.step()
    assert done.stdout.decode() == f"{pipeline}\n{weight.tolist()}\n"


def test_optimizer_with_a_rule_is_copied_and_pickled():
    optimizer, _, _ = trained(f"{RULE}grad | direction(own) | own", 3)
    for made in (copy.deepcopy(optimizer), pickle.loads(pickle.dumps(optimizer))):
        assert str(made.pipeline) == str(optimizer.pipeline)
        row = gradients(1, SHAPES)
        own = [p for group in made.param_groups for p in group["params"]]
        assert len(walk(made, own, row)) == 1


def test_classes_are_made_once_for_a_text_and_kernels_are_found_again():
    one, other = edsl.parse(f"{RULE}own"), edsl.parse(f"# a comment\n{RULE}own(lr=0.2)")
    assert type(one.update) is type(other.update)
    assert one.structure == other.structure
    assert edsl.parse(f"{OTHER}own").structure != one.structure


def raced(folder: Any, specs: Any, seeds: int = 1) -> Any:
    chosen = race("digits", specs, model="linear", steps=3, seeds=seeds)
    record = open_record(chosen, folder, False)
    run_to_end(chosen, record, lambda _: None)
    return results(chosen, record.finished)


def test_race_with_rules_is_resumed_and_reported_where_the_file_is_not(tmp_path):
    found = raced(tmp_path / "a", [f"{RULE}own(lr=0.2)", "sgd(lr=0.1)"])
    assert [row.name for row in found.rows] == ["own(lr=0.2)", "sgd(lr=0.1)"]
    again = race_from(read_configuration(tmp_path / "a"))
    assert again.entrants[0].spec == str(edsl.parse(f"{RULE}own(lr=0.2)"))
    record = open_record(again, tmp_path / "a", True)
    assert results(again, record.finished).rows == found.rows


def test_race_with_rules_runs_on_workers_with_the_bits_of_a_serial_race(tmp_path):
    specs = [f"{RULE}own(lr=0.2)", f"{OTHER}own(lr=0.2)"]
    serial = raced(tmp_path / "a", specs)
    chosen = race("digits", specs, model="linear", steps=3, seeds=1)
    record = open_record(chosen, tmp_path / "b", False)
    run_to_end(chosen, record, lambda _: None, Processes(1))
    parallel = results(chosen, record.finished)
    assert [row.name for row in parallel.rows] == ["own(lr=0.2)", "own(lr=0.2) (2)"]
    assert [row.test_loss for row in parallel.rows] == [row.test_loss for row in serial.rows]
    assert parallel.rows[0].test_loss != parallel.rows[1].test_loss


def test_changed_rule_does_not_resume_a_race_and_says_which_differs(tmp_path, monkeypatch):
    raced(tmp_path / "a", [f"{RULE}own(lr=0.2)", "sgd(lr=0.1)"])
    (tmp_path / "own.edsl").write_text(f"{OTHER}own(lr=0.2)\n")
    words = ("compare", "digits", "@own.edsl", "sgd(lr=0.1)", "--steps", "3", "--resume", "--out", "a")
    monkeypatch.chdir(tmp_path)
    code, _, said = run(*words)
    assert code == 2
    assert "the rule own differs" in said
    assert "+    return -lr * 2 * m" in said
    assert "Traceback" not in said
