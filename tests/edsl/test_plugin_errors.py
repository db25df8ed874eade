"""Every mistake of a stage's author is one line with the file and the line; what can work does."""

import linecache
import sys
import warnings

import pytest
import torch

import edsl
from edsl.cli.main import main
from edsl.language.registry import plugins
from edsl.language.registry.check import check_stage

GOOD = '''from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple
import math
import torch
from edsl.stage import Number, field
from edsl.stage import Adaptor, BaseUpdate, Estimator


class Mean(NamedTuple):
    mean: Any


@dataclass(frozen=True)
class Scale(Adaptor):
    """u = c g."""

    name: ClassVar[str] = "scale"
    by: float = field(2.0, Number(), "c")

    def init(self, zero):
        return Mean(zero)

    def step(self, x, memory, at):
        return self.by * x, Mean(x)
'''
STEP = "        return self.by * x, Mean(x)\n"


def stepping(*lines):
    return GOOD.replace(STEP, "".join(f"        {line}\n" for line in lines))


BRANCH = "line 24: Scale: a step can't branch on a value"
BAD = {
    "no field()": (GOOD.replace('field(2.0, Number(), "c")', "2.0"), "line 18: Scale: the hyper-parameter by has no"),
    "no domain": (GOOD.replace('Number(), "c"', "5"), "line 18: Scale: the hyper-parameter by has no domain"),
    "no type": (GOOD.replace("by: float", "by"), "line 13: TypeError: 'by' is a field but has no type"),
    "no dataclass": (GOOD.replace("@dataclass(frozen=True)\nclass S", "class S"), "it needs @dataclass(frozen=True)"),
    "not frozen": (GOOD.replace("(frozen=True)", ""), "line 13: TypeError: cannot inherit non-frozen"),
    "bad default": (GOOD.replace("(2.0, Number(", "(-2.0, Number(0"), "by must lie in [0, ∞), got -2"),
    "no name": (GOOD.replace('name: ClassVar[str] = "scale"', "pass"), "line 14: Scale: it needs a name such as"),
    "a name with a space": (GOOD.replace('"scale"', '"my scale"'), "needs a name such as 'smooth', got 'my scale'"),
    "a keyword": (GOOD.replace('"scale"', '"lambda"'), "needs a name such as 'smooth', got 'lambda'"),
    "a number": (GOOD.replace('"scale"', "5"), "needs a name such as 'smooth', got 5"),
    "edsl's name": (GOOD.replace('"scale"', '"lamb"'), "the name 'lamb' is taken; give Scale another"),
    "one name twice": (GOOD + GOOD[GOOD.index("@dataclass") :].replace("Scale", "Other"), "the name 'scale' is taken"),
    "a stage's attribute": (
        GOOD.replace("by: float", "place: float"),
        "line 18: Scale: a hyper-parameter can't be called",
    ),
    "a key of layers": (
        GOOD.replace("by: float", "scales: float"),
        "line 18: Scale: a hyper-parameter can't be called",
    ),
    "a group's key": (GOOD.replace("by: float", "params: float"), "line 18: Scale: a hyper-parameter can't be called"),
    "no step": (GOOD[: GOOD.index("    def step")], "line 14: Scale: it needs step(self, x, memory, at)"),
    "no evaluate": (GOOD.replace("Scale(Adaptor)", "Scale(Estimator)"), "an estimator needs evaluate(self, oracle)"),
    "one result": (stepping("return self.by * x"), "line 23: Scale: step must return two things"),
    "three results": (stepping("return x, x, memory"), "step must return two things"),
    "no result": (stepping("self.by * x"), "step must return two things, what flows out and the next memory, got None"),
    "a list": (stepping("return [x, memory]"), "step must return two things"),
    "no memory": (stepping("return x, x"), "step must return the memory that init makes, Mean, got one value"),
    "another memory": (
        stepping("return x, (x,)"),
        "the memory that init makes, Mean, got a tuple of 1",
    ),
    "no value": (stepping("return None, memory"), "what flows out of step must be a value like x, got None"),
    "raises": (stepping("1 / 0"), "line 24: Scale: ZeroDivisionError: division by zero"),
    "unknown name": (stepping("return foo(x), memory"), "line 24: Scale: NameError: name 'foo' is not defined"),
    "unknown of at": (stepping("return at.sqr(x), memory"), "line 24: Scale: at has no sqr; did you mean 'sqrt'?"),
    "unknown of memory": (stepping("return memory.men, memory"), "line 24: Scale: AttributeError: 'Mean' object"),
    "unknown of x": (stepping("return x.nothing(), memory"), "line 24: Scale: AttributeError"),
    "assigns": (stepping("self.by = 3"), "line 24: Scale: FrozenInstanceError: cannot assign to field 'by'"),
    "if >": (stepping("if at.k > 5:", "    return x, memory", "return -x, memory"), BRANCH),
    "if ==": (stepping("if at.k == 1:", "    return x, memory", "return -x, memory"), BRANCH),
    "and": (stepping("return (x and at.theta), memory"), BRANCH),
    "max": (stepping("return max(x, 0), memory"), BRANCH),
    "math": (stepping("return math.exp(x), memory"), "take functions from `at`"),
    "init raises": (GOOD.replace("return Mean(zero)", "raise RuntimeError('no')"), "line 21: Scale: RuntimeError: no"),
    "init's list": (
        GOOD.replace("return Mean(zero)", "return [zero]"),
        "line 20: Scale: init(zero) must return",
    ),
    "init's one": (GOOD.replace("Mean(zero)", "Mean(1.0)"), "line 20: Scale: init(zero) must fill every buffer"),
    "init's tensor": (GOOD.replace("Mean(zero)", "Mean(torch.zeros(3))"), "init(zero) must fill every buffer"),
    "step's signature": (GOOD.replace("x, memory, at)", "x, memory)"), "line 23: Scale: TypeError: Scale.step() takes"),
    "init's signature": (GOOD.replace("self, zero", "self"), "line 20: Scale: TypeError: Scale.init() takes"),
    "buffer_shapes": (
        GOOD + "\n    def buffer_shapes(self, rows, columns):\n        return 5\n",
        "line 26: Scale: buffer_",
    ),
    "syntax": (GOOD + "  x = (\n", "line 25: "),
    "exits": (GOOD + "import sys\nsys.exit(0)\n", "line 26: SystemExit: 0"),
    "imports": ("import nothing_here\n", "line 1: ModuleNotFoundError: No module named 'nothing_here'"),
}


@pytest.fixture
def write(tmp_path, monkeypatch):
    monkeypatch.setattr(plugins, "_loaded", {})

    def file(text, name="mine.py"):
        path = tmp_path / name
        path.write_text(text)
        linecache.clearcache()
        return path

    return file


@pytest.mark.parametrize("mistake", BAD)
def test_a_mistake_is_one_line_with_file_and_line_when_the_plugin_is_loaded(write, mistake):
    text, message = BAD[mistake]
    path = write(text)
    with pytest.raises(edsl.EdslError) as raised:
        edsl.load_plugin(path)
    assert str(raised.value).startswith(f"plugin {path}")
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)
    assert plugins.loaded() == {}


def stepped(mode):
    theta = torch.nn.Parameter(torch.full((3, 2), 2.0))
    optimizer = edsl.compile("grad | scale | sgd(lr=1)", [theta], mode=mode)
    for k in (1, 2):
        theta.grad = torch.full((3, 2), -0.5 * k)
        optimizer.step()
    return theta.detach()


def test_abs_is_a_function_of_every_value(write):
    edsl.load_plugin(write(stepping("return abs(x), Mean(abs(memory.mean) + abs(x))")))
    assert torch.equal(stepped("eager"), torch.full((3, 2), 0.5))
    assert torch.equal(stepped("compiled"), torch.full((3, 2), 0.5))
    from edsl.theory.text.notation import recurrences

    lines = [line for part in recurrences(edsl.parse("grad | scale | sgd")) for line in part.lines]
    assert lines[1:3] == ["ḡₖ = |ḡₖ₋₁| + |gₖ|", "uₖ = |gₖ|"]


@pytest.mark.parametrize("step", ["torch.tanh(x)", "x.clamp(-1, 1)"])
def test_a_step_in_torch_trains_and_on_paper_is_one_line(write, step, monkeypatch, capsys):
    path = write(stepping(f"return {step}, memory"))
    edsl.load_plugin(path)
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    for call in ("show", "check-stability --spec", "equivalent sgd", "plan --params tiny"):
        monkeypatch.setattr(sys, "argv", ["edsl", "--plugin", str(path), *call.split(), "grad | scale | sgd"])
        with pytest.raises(SystemExit) as ended:
            main()
        out, error = capsys.readouterr()
        assert (ended.value.code, out) == (2, ""), error
        if call.startswith(("show", "plan")):
            assert error.startswith(f"edsl: {path}, line 24: Scale: ")
            assert "take functions from `at`" in error
        assert error.startswith("edsl: ")
        assert "scale" in error.lower()
        assert error.count("\n") == 1
    monkeypatch.setattr(sys, "argv", ["edsl", "--plugin", str(path), "explain", "grad | scale | sgd"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code  # it says of each part what it can
    assert "its step can't be written in letters" in capsys.readouterr().out
    assert torch.allclose(stepped("eager"), torch.full((3, 2), 3.2237 if "tanh" in step else 3.5), atol=1e-4)


SHAPE = "must be a tensor of shape (6,) here, got"
RUNNING = {
    "wrong shape": (
        "return x.sum(0, keepdim=True).expand(5), memory",
        f"scale: what flows out of its step {SHAPE} shape (5,)",
    ),
    "wrong buffer": (
        "return x, Mean(torch.zeros(7))",
        f"scale.mean after its step {SHAPE} shape (7,)",
    ),
    "no tensor": ("return torch.tanh(x).tolist(), memory", f"{SHAPE} ["),
    "one result": ("return torch.tanh(x)", "line 23: Scale: ValueError: too many values to unpack"),
    "torch's own error": ("return torch.tanh(x) @ torch.ones(7, 7), memory", "line 24: Scale: RuntimeError"),
}


@pytest.mark.parametrize("mistake", RUNNING)
def test_what_only_tensors_show_is_found_when_an_optimizer_is_built(write, mistake):
    step, message = RUNNING[mistake]
    edsl.load_plugin(write(stepping(step.replace("return x,", "torch.tanh(x)\n        return x,"))))
    with pytest.raises(edsl.EdslError) as raised:
        stepped("compiled")
    assert "\n" not in str(raised.value)
    assert message in str(raised.value)


def test_an_error_that_comes_while_training_is_one_line_and_a_closures_own_is_not_touched(write):
    path = write(stepping("if x.numel() > 6:", "    raise ValueError('too large')", "return torch.tanh(x), memory"))
    edsl.load_plugin(path)
    theta = torch.nn.Parameter(torch.ones(20))
    theta.grad = torch.ones(20)
    optimizer = edsl.compile("grad | scale | sgd", [theta], mode="eager")
    with pytest.raises(edsl.EdslError, match=r"mine.py, line 25: Scale: ValueError: too large"):
        optimizer.step()

    def closure():
        raise KeyError("mine")

    with pytest.raises(KeyError):
        optimizer.step(closure)


def test_a_class_written_in_python_is_looked_at_as_a_plugin_is(write):
    names: dict = {"__name__": "somebody"}
    exec(compile(BAD["one result"][0], "nowhere.py", "exec"), names)
    with pytest.raises(edsl.EdslError, match="Scale: step must return two things"):
        check_stage(names["Scale"])
    with pytest.raises(edsl.EdslError, match="Scale: step must return two things"):
        edsl.compile(edsl.grad() | names["Scale"]() | edsl.sgd(), [torch.nn.Parameter(torch.ones(2))])


def test_two_files_can_not_bring_one_name_and_one_file_may_be_loaded_again(write):
    first = write(GOOD, "first.py")
    edsl.load_plugin(first)
    assert edsl.load_plugin(first) == ("scale",)
    with pytest.raises(edsl.EdslError, match=r"second.py: the name 'scale' is taken by .*first.py; give Scale another"):
        edsl.load_plugin(write(GOOD, "second.py"))
    assert str(edsl.scale()) == "scale(by=2)"


def test_a_step_that_dynamo_can_not_follow_runs_uncompiled_and_says_so_once(write):
    edsl.load_plugin(write(stepping("torch.tanh(x).tolist()", "return torch.tanh(x), memory")))
    for _ in range(2):
        theta = torch.nn.Parameter(torch.full((3, 2), 2.0))
        theta.grad = torch.full((3, 2), -0.5)
        optimizer = edsl.compile("grad | scale | sgd(lr=1)", [theta])
        with pytest.warns(edsl.EdslWarning, match=r"torch.compile failed \(.*running uncompiled"):
            optimizer.step()
        optimizer.step()
        assert len(optimizer.fallbacks) == 1
        assert torch.allclose(theta, torch.full((3, 2), 2.9242), atol=1e-4)


def test_a_class_whose_field_has_no_domain_is_one_line_in_python_too(write):
    names: dict = {"__name__": "somebody"}
    exec(compile(BAD["no field()"][0], "nowhere.py", "exec"), names)
    with pytest.raises(
        edsl.EdslError, match=r"Scale: the hyper-parameter by has no domain: write by: float = field\(2"
    ):
        names["Scale"]()
