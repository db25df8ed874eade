"""Steps beside others' are timed in turn, and judged by what was measured."""

import pytest
import torch
import write

import edsl
from edsl.lab.benchmarks import targets
from edsl.lab.benchmarks.peers import build_peer
from edsl.lab.benchmarks.rounds import FEWEST, in_turn, ratios, spread
from edsl.lab.benchmarks.targets import Contest, PlainMuon, Target, begun_with, hold, transformer
from edsl.language.registry.stages import PACKAGES
from edsl.optim.foreign import packages

TINY = ((8, 16), (6, 4))


class Noted:
    """A runner that notes when it steps."""

    def __init__(self, name, order):
        self.name, self.order = name, order

    def prepare(self, gradients):
        pass

    def step(self):
        self.order.append(self.name)


class Unchanged:
    tensors = ()

    def restore(self):
        pass


def test_each_round_begins_with_another_and_a_whole_period_is_one_figure():
    order = []
    runners = [Noted(name, order) for name in "abc"]
    took = in_turn(runners, Unchanged(), "cpu", rounds=4, steps=2, warm_up=1)
    assert "".join(order) == "aabbccbbccaaccaabbaabbccbbccaa"
    assert {name: len(seconds) for name, seconds in took.items()} == {"a": 4, "b": 4, "c": 4}


def test_time_that_is_up_leaves_the_fewest_rounds():
    took = in_turn([Noted("a", [])], Unchanged(), "cpu", rounds=50, seconds=0.0)
    assert len(took["a"]) == FEWEST


def test_ratios_are_of_the_same_round():
    assert ratios([2.0, 9.0], [1.0, 3.0]) == [2.0, 3.0]
    assert spread([1.0, 2.0, 3.0], 1e3).median == 2000.0


def test_whether_a_target_is_met_is_computed():
    contest = Contest("tiny", TINY, (Target("sgd", "adamw", 1e6), Target("adamw", "sgd", 1e-6)), period=2)
    outcome = hold(contest, 3, 5.0)
    assert [one.met for one in outcome.judged] == [True, False]
    page = write.held_table(outcome)
    assert "| ≤ 1e+06 | met |" in page
    assert "| ≤ 1e-06 | not met |" in page
    assert "3 rounds, each of 2 steps" in page
    assert "| `adamw` |" in page
    assert [row.state_bytes for row in outcome.rows] == [0.0, 8.0]


def test_a_package_that_is_missing_is_named(monkeypatch):
    monkeypatch.setitem(PACKAGES, "heavyball", ("no_such_package", "heavyball"))
    packages.optimizers_of.cache_clear()
    outcome = hold(Contest("tiny", TINY, (Target("sgd", "heavyball.Muon", 1.0),)), 3, 5.0)
    packages.optimizers_of.cache_clear()
    assert outcome.judged == ()
    assert outcome.absent[0].startswith("heavyball.Muon: heavyball ")
    assert "not measured: heavyball.Muon" in write.held_table(outcome)


@pytest.mark.parametrize("shape", [(6, 4), (8, 32), (32, 8), (5, 5)])
def test_the_plain_reference_takes_the_steps_of_muon(shape):
    first = torch.nn.Parameter(torch.randn(shape, dtype=torch.float64))
    second = torch.nn.Parameter(first.detach().clone())
    ours = edsl.compile("muon(polynomials='jordan', lr=0.02)", [first], mode="eager")
    plain = PlainMuon([second])
    for _ in range(4):
        gradient = torch.randn(shape, dtype=torch.float64)
        first.grad, second.grad = gradient, gradient.clone()
        ours.step()
        plain.step()
    torch.testing.assert_close(second, first, rtol=0, atol=1e-10)


def test_the_transformer_has_19_tensors_and_every_recipe_takes_them():
    shapes = transformer()
    assert len(shapes) == 19
    for spec in targets.FIRST_STEPS:
        named = [(name, torch.nn.Parameter(torch.empty(shape, device="meta"))) for name, shape in shapes.items()]
        edsl.compile(spec, named, mode="eager")


def test_first_steps_are_judged_by_cold_and_warm():
    from edsl.lab.benchmarks.first_step import FirstStep

    cases = {(1.9, 0.4): True, (2.1, 0.4): False, (1.9, 0.6): False}
    begun = [begun_with("emuon", FirstStep(*took)) for took in cases]
    assert [one.met for one in begun] == list(cases.values())
    assert [line.endswith("| met |") for line in write.begun_table(begun).splitlines()[2:]] == list(cases.values())
    assert "| – | – |" in write.begun_table([begun_with("alto", FirstStep(9.0, 9.0))])


def test_the_page_holds_every_contest_and_its_targets(tmp_path):
    assert [len(set(contest.names)) for contest in targets.CONTESTS] == [5, 3, 3, 4]
    contest = Contest("tiny", TINY, (Target("sgd", "torch.Muon", 1e6),))
    page = write.Page(tmp_path / "matrices.md", write.MATRICES, ("torch",))
    page.write(write.matrices_parts([contest], 3, 1.0, ()))
    text = page.place.read_text()
    assert "## tiny" in text
    assert f"| torch | {write.installed('torch')} |" in text


def test_a_peer_takes_arguments():
    weight = torch.nn.Parameter(torch.ones(2, 2))
    built = build_peer("torch.SGD(lr=0.5, momentum=0.9)", [weight])
    assert built.defaults["lr"] == 0.5
    assert build_peer("torch.Muon(ns_steps=2)", [weight]).defaults["ns_steps"] == 2
    for text, said in {
        "torch.SGD(lr": "can't be read: write PACKAGE.NAME",
        "torch.SGD(lr=x)": "can't be read",
        "torch.SGD(lrr=1)": r"torch.SGD\(lrr=1\) can't be built: ",
    }.items():
        with pytest.raises(edsl.EdslError, match=said):
            build_peer(text, [weight])
