"""Benchmarks: what they measure, whom they name, what they refuse. Never how fast."""

import functools
import itertools
import json
import math
import sys

import pytest
import torch
from problem import gradients, parameters, walk, worst
from shell import run

import edsl
from edsl.errors import EdslError
from edsl.lab.benchmarks import bench as bench_file
from edsl.lab.benchmarks import rounds
from edsl.lab.benchmarks import rules as rules_file
from edsl.lab.benchmarks import schedule as schedule_file
from edsl.lab.benchmarks.bench import bench, needed_memory
from edsl.lab.benchmarks.contender import Contender, Copy, Entry, Gradients, Place
from edsl.lab.benchmarks.first_step import FirstStep, TooSlow
from edsl.lab.benchmarks.footprint import temporary_bytes
from edsl.lab.benchmarks.schedule import scheduled_step
from edsl.optim.foreign import packages

CPU = Place("cpu", "float32")
SHAPES = {"a.weight": (16, 8), "a.bias": (16,), "norm.weight": (16,)}


@pytest.fixture
def own(tmp_path):
    path = tmp_path / "own.json"
    path.write_text(json.dumps(SHAPES))
    return str(path)


@pytest.fixture
def without_heavyball(monkeypatch):
    packages.optimizers_of.cache_clear()
    monkeypatch.setitem(sys.modules, "heavyball", None)
    yield
    packages.optimizers_of.cache_clear()


def measured(*specs, params, against=(), **options):
    options = {"device": "cpu", "steps": 2, "first_steps": False, **options}
    return bench(specs, params, against, **options).run(lambda what: None)


def test_report_holds_every_optimizer_the_reference_and_the_copy(own):
    report = measured("alto", "eadamw", params=own, against=["torch_optimizer.Lamb", "torch.SGD"])
    assert [row.optimizer for row in report.rows] == [
        "alto",
        "eadamw",
        "torch.AdamW",
        "torch_optimizer.Lamb",
        "torch.SGD",
    ]
    assert report.copy_bytes == 28 * 160
    for row in report.rows:
        assert 0 < row.step_ms.lower <= row.step_ms.median <= row.step_ms.upper
        assert row.to_copy > 0
        assert (row.recompiles, row.kernels, row.first_step_s, row.fallbacks) == (0, None, None, ())
    by_name = {row.optimizer: row for row in report.rows}
    assert by_name["torch.AdamW"].to_adamw == 1
    assert (by_name["alto"].state_bytes, by_name["torch.AdamW"].state_bytes) == (12, 8)
    assert by_name["alto"].graphs >= 1
    assert by_name["torch.SGD"].graphs == 0
    assert report.configuration["elements"] == 160
    assert {"edsl", "torch", "torch_optimizer"} == set(report.versions)


def test_reference_keeps_its_place_where_it_is_named(own):
    report = measured("sgd", params=own, against=["torch.SGD", "torch.AdamW"])
    assert [row.optimizer for row in report.rows] == ["sgd", "torch.SGD", "torch.AdamW"]


def test_package_that_is_not_installed_is_named_and_no_error(own, without_heavyball):
    report = measured("sgd", params=own, against=["heavyball.AdamW"])
    assert report.absent == ("heavyball.AdamW: heavyball is not installed: pip install heavyball",)
    assert [row.optimizer for row in report.rows] == ["sgd", "torch.AdamW"]


@pytest.mark.parametrize("dtype", ["float64", "bfloat16"])
def test_dtype_is_that_of_parameters_and_copy(own, dtype):
    report = measured("alto", params=own, dtype=dtype)
    element = getattr(torch, dtype).itemsize
    assert report.copy_bytes == 7 * element * 160
    assert [row.state_bytes for row in report.rows] == [3 * max(element, 4), 2 * element]


def test_biases_and_norms_are_told_by_name():
    contender = Contender(Entry("alto"), SHAPES, CPU)
    assert contender.optimizer.param_groups[0]["exclude"] == ("a.bias", "norm.weight")


def test_contenders_begin_with_the_same_parameters_and_share_gradients():
    gradients = Gradients(SHAPES, CPU)
    one, other = (Contender(entry, SHAPES, CPU) for entry in (Entry("sgd"), Entry("torch.SGD", is_peer=True)))
    for contender in (one, other):
        contender.prepare(gradients.tensors)
    for a, b in zip(one.parameters, other.parameters):
        assert torch.equal(a, b)
        assert a.data_ptr() != b.data_ptr()
        assert a.grad is b.grad


def test_gradient_that_an_optimizer_rewrote_is_restored():
    gradients = Gradients(SHAPES, CPU)
    before = [tensor.clone() for tensor in gradients.tensors]
    gradients.tensors[1].zero_()
    gradients.restore()
    assert all(map(torch.equal, gradients.tensors, before))


def test_copy_moves_28_bytes_for_each_float32_parameter_in_blocks(monkeypatch):
    monkeypatch.setattr("edsl.lab.benchmarks.contender._BLOCK", 100)
    copy = Copy(100, CPU)
    assert copy.bytes == 2800
    assert (copy._blocks, copy._rest) == (3, 50)
    copy.step()
    assert torch.equal(copy._source, copy._target)


def test_temporary_bytes_are_the_most_held_at_once():
    kept = []

    def step():
        first = torch.ones(1000)
        del first
        second = torch.ones(500) + torch.ones(500)
        kept.append(second)

    assert temporary_bytes(step, "cpu") == 6000


def test_first_step_is_measured_cold_and_warm_of_a_plugins_stage_too(own, tmp_path, monkeypatch):
    monkeypatch.setattr("edsl.language.registry.plugins._loaded", {})
    plugin = tmp_path / "halved.py"
    plugin.write_text(
        "from dataclasses import dataclass\n"
        "from edsl.stage import Adaptor\n\n\n"
        "@dataclass(frozen=True)\n"
        "class Halved(Adaptor):\n"
        "    name = 'halved'\n\n"
        "    def step(self, x, memory, at):\n"
        "        return x / 2, memory\n"
    )
    edsl.load_plugin(plugin)
    report = measured("grad | halved | sgd", params=own, first_steps=True)
    for row in report.rows:
        assert row.first_step_s is not None
        assert row.first_step_s.cold > 0
        assert row.first_step_s.warm > 0


def test_peer_whose_first_step_takes_too_long_is_left_out_and_named(own, monkeypatch):
    def slow_for_peers(entry, *_):
        if entry.name == "torch.SGD":
            raise TooSlow("its first step took more than 600 s")
        return FirstStep(2.0, 1.0)

    monkeypatch.setattr(bench_file, "first_step", slow_for_peers)
    report = measured("sgd", params=own, against=["torch.SGD"], first_steps=True)
    assert [row.optimizer for row in report.rows] == ["sgd", "torch.AdamW"]
    assert report.absent == ("torch.SGD: its first step took more than 600 s",)


def test_first_step_ends_at_its_limit(own, monkeypatch):
    monkeypatch.setattr("edsl.lab.benchmarks.first_step.LIMIT", 0.1)
    with pytest.raises(EdslError, match=r"sgd: its first step took more than 0.1 s; --no-first-step"):
        measured("sgd", params=own, first_steps=True)


def test_memory_that_is_needed_counts_parameters_states_gradients_and_a_margin(own):
    chosen = bench(["alto"], own, device="cpu")
    parameters, states, shared, margin = 2 * 4, 12 + 8, 4, 2 * 4
    assert needed_memory(chosen) == 160 * (parameters + states + shared + margin)


def test_four_optimizers_on_gpt2_need_less_than_20_gib():
    chosen = bench(["alto", "eadamw"], "gpt2", ["torch_optimizer.Lamb"], device="cpu")
    assert needed_memory(chosen) < 20 * 2**30


def test_more_memory_than_there_is_is_refused_in_one_line(monkeypatch):
    monkeypatch.setattr(bench_file, "free_memory", lambda device: 16 * 2**30)
    with pytest.raises(EdslError, match=r"llama-1b .* needs about 46.0 GiB, and cpu has 16.0 GiB free") as caught:
        measured("alto", params="llama-1b")
    assert "\n" not in str(caught.value)


BAD = {
    "no spec": ((), {}, "name at least one spec"),
    "unknown stage": (("foo",), {}, "unknown stage 'foo'"),
    "twice": (("alto", "grad | e | lamb"), {}, "given twice"),
    "the reference as a spec": (("torch.AdamW",), {}, "given twice"),
    "needs a loss": (("ezo",), {}, "there is no loss to evaluate"),
    "accumulates": (("grad(accumulate=2) | sgd",), {}, "there is no loss to evaluate"),
    "refuses a bias": (("muon",), {}, "muon takes matrices"),
    "unknown set": (("sgd",), {"params": "gpt3"}, "did you mean 'gpt2'"),
    "unknown package": (("sgd",), {"against": ["foo.Bar"]}, "'foo.Bar' is no optimizer"),
    "no package": (("sgd",), {"against": ["AdamW"]}, "'AdamW' is no optimizer"),
    "unknown name": (("sgd",), {"against": ["torch.AdamX"]}, "torch has no optimizer 'AdamX'; did you mean"),
    "dtype": (("sgd",), {"dtype": "int8"}, "dtype must be float32"),
    "device": (("sgd",), {"device": "nowhere"}, "device 'nowhere' can't be used"),
    "threads": (("sgd",), {"threads": 0}, "threads must be from 1"),
    "steps": (("sgd",), {"steps": 0}, "steps must be at least 1, got 0"),
    "closure": (("sgd",), {"against": ["torch.LBFGS"]}, "torch.LBFGS can't take this step"),
    "arguments": (("sgd",), {"against": ["torch_optimizer.Lookahead"]}, "can't be built with its defaults"),
}


@pytest.mark.parametrize(("specs", "options", "said"), BAD.values(), ids=BAD)
def test_bad_input_is_one_line(specs, options, said, own):
    with pytest.raises(EdslError) as caught:
        measured(*specs, **{"params": own, **options})
    assert said in str(caught.value)
    assert "\n" not in str(caught.value).partition("\n    ")[0]


def test_command_prints_a_table_with_everyone_in_it(own):
    words = ("--params", own, "--against", "torch.SGD", "--steps", "2", "--no-first-step", "--device", "cpu")
    code, out, err = run("bench", "sgd(lr=0.1)", *words)
    assert code == 0, err
    for text in ("160 parameters in 3 tensors", "sgd(lr=0.1)", "torch.AdamW", "torch.SGD", "copy of 28 B/param"):
        assert text in out
    assert "kernels" not in out
    assert "first step" not in out
    assert "2 rounds of 3 optimizers and a copy" in err


def test_command_prints_json_alone_on_stdout(own):
    code, out, err = run(
        "bench", "sgd", "--params", own, "--steps", "2", "--no-first-step", "--device", "cpu", "--json"
    )
    assert code == 0, err
    found = json.loads(out)
    assert set(found) == {"configuration", "versions", "copy_ms", "copy_bytes", "rows", "absent"}
    assert set(found["rows"][0]) == {
        "optimizer",
        "step_ms",
        "to_adamw",
        "to_copy",
        "first_step_s",
        "graphs",
        "recompiles",
        "kernels",
        "state_bytes",
        "temporary_bytes",
        "fallbacks",
    }
    assert all(math.isfinite(row["step_ms"]["median"]) for row in found["rows"])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("bench",), "name at least one spec"),
        (("bench", "sgd", "--params", "missing.json"), "missing.json can't be read: No such file or directory"),
        (("bench", "sgd", "--against", "foo"), "'foo' is no optimizer to measure against"),
    ],
)
def test_bad_command_is_one_line_and_exit_code_2(words, said):
    code, out, err = run(*words)
    assert (code, out) == (2, "")
    assert said in err
    assert err.count("\n") == 1


def test_scheduled_steps_are_timed_with_another_lr_at_each_step_beside_a_constant_one(monkeypatch):
    rates = {}

    class Watched(Contender):
        def __init__(self, *given):
            super().__init__(*given)
            own = rates.setdefault(id(self), [])
            self.optimizer.register_step_post_hook(lambda built, *_: own.append(built.param_groups[0]["lr"]))

    monkeypatch.setattr(schedule_file, "Contender", Watched)
    found = scheduled_step("alto", shapes=((8,), (4, 4)), steps=4)
    constant, scheduled, text = rates.values()
    assert len(set(constant)) == 1
    assert len(constant) == len(scheduled) == len(text) == rounds.WARM_UP + 4
    for changing in (scheduled, text):
        assert all(before != after for before, after in itertools.pairwise(changing))
    assert found.ratio == found.scheduled_us / found.constant_us > 0
    assert found.text_ratio == found.text_us / found.constant_us > 0


def test_a_rule_and_a_class_that_are_timed_are_the_same_stage_and_a_chain_stands_beside_its_parts():
    for dtype in (torch.float32, torch.float64):
        histories = []
        for spec in (rules_file.RULE, rules_file.AdEMAMix()):
            params = parameters(dtype=dtype)
            histories.append(walk(edsl.compile(spec, params, mode="eager"), params, gradients(20, dtype=dtype)))
        assert worst(*histories) == 0
    found = rules_file.rule_cost(shapes=((8,),), steps=2)
    assert found.ratio == found.rule_us / found.class_us > 0
    chain = rules_file.chain_cost(((4, 6),), rounds=1, build=functools.partial(edsl.compile, mode="eager"))
    assert list(chain.step_ms) == [rules_file.CHAIN, "soap", "muon"]
    assert chain.ratio == chain.chain_ms / chain.parts_ms > 0


def test_a_schedule_without_steps_is_refused():
    with pytest.raises(EdslError, match="steps must be at least 1, got 0"):
        scheduled_step(steps=0)
