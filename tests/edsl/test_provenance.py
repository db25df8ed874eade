"""A checkpoint knows which stages of somebody else's it was made with."""

import copy
import warnings

import pytest
import torch
from problem import gradients, parameters, walk, worst

import edsl
from edsl.language.registry import plugins

TEXT = """
from dataclasses import dataclass
from typing import ClassVar, NamedTuple
from edsl.stage import Number, field
from edsl.stage import Adaptor

class Memory(NamedTuple):
    mean: object

@dataclass(frozen=True)
class Smooth(Adaptor):
    name: ClassVar[str] = "smooth"
    share: float = field(0.5, Number(0, 1))

    def init(self, zero):
        return Memory(zero)

    def step(self, x, memory, at):
        mean = {mean}
        return mean, Memory(mean)
"""
EMA = "self.share * memory.mean + (1 - self.share) * x"
SUM = "self.share * memory.mean + x"


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    """Write a plugin's file and take its stages up, as another process would."""

    def load(file, mean):
        monkeypatch.setattr(plugins, "_loaded", {})
        (tmp_path / file).write_text(TEXT.format(mean=mean))
        edsl.load_plugin(tmp_path / file)
        params = parameters()
        return params, edsl.compile("grad | smooth | sgd(lr=0.1)", params, mode="eager")

    return load


def test_the_same_stage_loads_without_a_word_wherever_its_file_lies(plugin):
    params, optimizer = plugin("one.py", EMA)
    rows = gradients(4)
    walk(optimizer, params, rows[:2])
    saved = copy.deepcopy(optimizer.state_dict())
    again, twin = plugin("two.py", EMA)
    with torch.no_grad():
        for p, q in zip(again, params, strict=True):
            p.copy_(q)
    twin.load_state_dict(saved)
    assert worst(walk(twin, again, rows[2:]), walk(optimizer, params, rows[2:])) == 0


def test_an_edited_stage_loads_with_a_warning_at_the_users_line(plugin):
    params, optimizer = plugin("one.py", EMA)
    walk(optimizer, params, gradients(2))
    saved = copy.deepcopy(optimizer.state_dict())
    _, edited = plugin("one.py", SUM)
    with pytest.warns(edsl.EdslWarning, match="the stage smooth was edited since this checkpoint was saved") as told:
        edited.load_state_dict(saved)
    assert [one.filename for one in told] == [__file__]
    assert "\n" not in str(told[0].message)
    walk(edited, edited.param_groups[0]["params"], gradients(1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        edited.load_state_dict(copy.deepcopy(edited.state_dict()))  # which is of the new text


def test_another_stage_of_the_same_name_is_refused_until_that_is_meant(plugin):
    params, optimizer = plugin("one.py", EMA)
    walk(optimizer, params, gradients(2))
    saved = copy.deepcopy(optimizer.state_dict())
    _, other = plugin("two.py", SUM)
    before = copy.deepcopy(other.state_dict())
    with pytest.raises(
        edsl.EdslError, match=r"different stage smooth: edsl_plugin_one:Smooth .* edsl_plugin_two:Smooth"
    ):
        other.load_state_dict(saved)
    assert other.state_dict() == before
    for group in saved["param_groups"]:
        del group["stages"]
    other.load_state_dict(saved)


def test_a_stage_with_the_name_of_one_of_edsls_is_told_from_it():
    from dataclasses import dataclass
    from typing import ClassVar

    from edsl.language.domain import Number, field
    from edsl.stage import BaseUpdate

    @dataclass(frozen=True)
    class Mine(BaseUpdate):
        name: ClassVar[str] = "qhm"
        lr: float = field(0.1, Number(0), "η")

        def step(self, x, memory, at):
            return -self.lr * at.sign(x), memory

    params = parameters()
    saved = edsl.compile(edsl.grad() | Mine(), params, mode="eager").state_dict()
    assert saved["param_groups"][0]["stages"].startswith("qhm=")
    with pytest.raises(edsl.EdslError, match=r"this checkpoint has a different stage qhm: .* edsl's own here"):
        edsl.compile("qhm", parameters(), mode="eager").load_state_dict(saved)


@pytest.mark.parametrize("mark", [3, None, ["smooth"]])
def test_a_mark_that_is_none_is_one_line(plugin, mark):
    _, optimizer = plugin("one.py", EMA)
    saved = optimizer.state_dict()
    saved["param_groups"][0]["stages"] = mark
    with pytest.raises(edsl.EdslError, match="stages must be a text"):
        optimizer.load_state_dict(saved)


def test_pipelines_of_edsls_own_stages_have_no_mark_and_older_checkpoints_load(plugin):
    assert "stages" not in edsl.compile("alto", parameters(), mode="eager").state_dict()["param_groups"][0]
    params, optimizer = plugin("one.py", EMA)
    walk(optimizer, params, gradients(1))
    old = copy.deepcopy(optimizer.state_dict())
    del old["param_groups"][0]["stages"]
    optimizer.load_state_dict(old)
