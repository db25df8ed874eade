"""Tasks of one's own: files, packages and objects, raced as fairly as edsl's own, and refused in one line."""

import json
import pickle
import sys
import warnings
from pathlib import Path

import pytest
import torch
from shell import run

import edsl
from edsl.cli.report import report
from edsl.cli.templates.task import task as circle
from edsl.lab.executors.driver import run_to_end
from edsl.lab.executors.engines import executor
from edsl.lab.races.build import open_record, race, race_from
from edsl.lab.races.record import read_configuration
from edsl.lab.tasks import own
from edsl.lab.tasks.catalogue import task as task_named

TASKS = Path(__file__).parents[2] / "docs" / "tasks"
FILES = ["digits_cnn", "text_classifier", "lightning_module"]
SPECS = ["adamw(lr=0.01)", "sgd(lr=0.1)"]
CAREFUL = ["adamw(lr=0.001)", "sgd(lr=0.01)"]

FILE = """
import torch
from torch import nn
from torch.nn.functional import mse_loss

import edsl


def data():
    x = torch.randn(120, 3)
    return x, x.sum(1, keepdim=True)


def model():
    return nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.5), nn.Linear(8, 1))


task = edsl.Task(data=data, models=model, loss=mse_loss, batch=20, steps=6)
"""


@pytest.fixture
def file(tmp_path):
    place = tmp_path / "mine.py"
    place.write_text(FILE)
    return place


def bits(rows):
    return [(row.name, row.train_loss, row.test_loss) for row in rows]


def trained(chosen, folder, runner=None):
    return run_to_end(chosen, open_record(chosen, folder, False), lambda _: None, runner).rows


@pytest.mark.parametrize("name", FILES)
def test_a_strangers_file_is_raced_resumed_and_reported(name, tmp_path, capsys):
    pytest.importorskip({"text_classifier": "transformers", "lightning_module": "lightning"}.get(name, "sklearn"))
    place = str(TASKS / f"{name}.py")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of other packages, as they are imported
        first = edsl.compare(CAREFUL, task=place, steps=5, seeds=1, out=tmp_path)
        whole = edsl.compare(CAREFUL, task=place, steps=5, seeds=2, out=tmp_path, resume=True)
    assert len(first.trials) == 2
    assert all(row.ok == 2 for row in whole.results.rows)
    assert whole.finished[:2] == first.finished
    report([tmp_path], None, [], None)
    assert name in (tmp_path / "report.html").read_text()
    assert "report.html" in capsys.readouterr().out


def test_the_forty_line_file_is_forty_lines_long_and_learns():
    assert len((TASKS / "digits_cnn.py").read_text().splitlines()) <= 40
    found = edsl.compare(["adam(lr=0.01)"], task=str(TASKS / "digits_cnn.py"), steps=60, seeds=1)
    (row,) = found.results.rows
    assert row.test_accuracy is not None
    assert row.test_accuracy.mean > 0.85


def test_processes_give_the_bits_of_a_serial_race_with_dropout(file, tmp_path):
    chosen = race(str(file), SPECS, seeds=2)
    assert bits(trained(chosen, tmp_path / "a")) == bits(trained(chosen, tmp_path / "b", executor("local", 2)))


@pytest.mark.slow
def test_an_object_travels_to_processes_by_value(tmp_path):
    width = 5
    made = edsl.Task(
        data=(torch.arange(60.0).view(30, 2) / 60, torch.arange(30.0)[:, None] / 30),
        models=lambda: torch.nn.Linear(2, 1, bias=width > 4),
        loss=torch.nn.functional.mse_loss,
        batch=10,
        steps=4,
        name="made here",
    )
    chosen = race(made, SPECS, seeds=1)
    assert bits(trained(chosen, tmp_path / "a")) == bits(trained(chosen, tmp_path / "b", executor("local", 2)))
    again = pickle.loads(pickle.dumps(chosen.source))
    assert again == chosen.source
    assert again.task().data().train.inputs.equal(chosen.task.data().train.inputs)


@pytest.mark.filterwarnings("ignore:.*torch.jit.script")  # torch's own, of forward derivatives
def test_curvature_is_measured_of_a_model_of_several_inputs_with_attention(tmp_path):
    pytest.importorskip("curvlinops")

    class Attending(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(4, 4)

        def forward(self, rows):
            x = self.layer(rows["x"])
            seen = torch.nn.functional.scaled_dot_product_attention(x[:, None], x[:, None], x[:, None])
            return (seen[:, 0] * rows["mask"][..., None]).mean((1, 2))

    torch.manual_seed(0)
    rows = edsl.Rows(x=torch.randn(40, 3, 4), mask=torch.ones(40, 3))
    made = edsl.Task(data=(rows, torch.randn(40)), models=Attending, loss=_loss, batch=10, steps=3)
    found = edsl.compare(["sgd"], task=made, seeds=1, more={"measures": ["sharpness", "noise"]})
    assert found.results.rows[0].ok == 1, found.results.rows[0].reasons
    assert found.results.rows[0].measures["sharpness"].mean > 0


def test_an_object_is_pickled_by_value():
    width = 3
    made = edsl.Task(data=_points, models=lambda: torch.nn.Linear(2, width), loss=_loss, batch=8, steps=2)
    source = race(made, SPECS).source
    again = pickle.loads(pickle.dumps(source))
    assert again == source
    assert again.task().builders["<lambda>"]().out_features == 3


@pytest.mark.slow
def test_ray_gives_the_bits_of_a_serial_race(file, tmp_path):
    pytest.importorskip("ray")
    for number, task in enumerate((str(file), circle)):
        chosen = race(task, SPECS, seeds=2, steps=6)
        serial = trained(chosen, tmp_path / f"a{number}")
        assert bits(serial) == bits(trained(chosen, tmp_path / f"b{number}", executor("ray", 2)))


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["local", "ray"])
@pytest.mark.parametrize("name", FILES)
def test_a_strangers_file_gives_the_same_bits_in_processes(name, engine, tmp_path):
    if engine == "ray":
        pytest.importorskip("ray")
    chosen = race(str(TASKS / f"{name}.py"), SPECS, seeds=2, steps=10)
    assert bits(trained(chosen, tmp_path / "a")) == bits(trained(chosen, tmp_path / "b", executor(engine, 2)))


def test_all_optimizers_see_the_same_weights_batches_and_dropout(file, tmp_path):
    chosen = race(str(file), ["sgd(lr=0.1, momentum=0.9)", "torch.SGD(lr=0.1, momentum=0.9)"], seeds=1)
    record = open_record(chosen, tmp_path, False)
    run_to_end(chosen, record, lambda _: None)
    ours, theirs = record.finished
    for (_, a), (_, b) in zip(ours["curve"], theirs["curve"], strict=True):
        assert a == pytest.approx(b, rel=1e-4)


def test_data_drawn_at_random_are_the_same_at_each_call_and_in_each_process(file):
    torch.manual_seed(1)
    first = own.from_file(str(file)).data()
    own._made.cache_clear()
    torch.manual_seed(2)
    second = own.from_file(str(file)).data()
    assert all(a.inputs.equal(b.inputs) for a, b in zip(first, second, strict=True))
    assert [len(split.inputs) for split in first] == [84, 18, 18]


def test_the_record_holds_path_text_and_hashes(file, tmp_path):
    chosen = race(str(file), SPECS, seeds=1)
    open_record(chosen, tmp_path / "race", False)
    held = json.loads((tmp_path / "race" / "race.json").read_text())["source"]
    assert (held["path"], held["name"], held["text"]) == (str(file), "task", FILE)
    assert len(held["sha256"]) == 64
    assert len(held["data"]) == 16


def test_a_changed_file_is_refused_in_one_line_that_says_what_changed(file, tmp_path):
    folder = tmp_path / "race"
    trained(race(str(file), SPECS, seeds=1), folder)
    file.write_text(FILE.replace("nn.Dropout(0.5)", "nn.Dropout(0.1)"))
    for words in (("report", str(folder)), ("compare", "--resume", "--out", str(folder))):
        code, out, err = run(*words)
        assert (code, out) == (2, "")
        assert len(err.splitlines()) == 1
        assert "mine.py has changed since the race in" in err
        assert "line 15 was `…ear(3, 8), nn.Dropout(0.5), nn.Linear(8, 1))`, is `…ear(3, 8), nn.Dropout(0.1), nn" in err
    with pytest.raises(edsl.EdslError, match=r"holds another race \(the task mine\.py has changed: line 15 was"):
        open_record(race(str(file), SPECS, seeds=1), folder, True)


def test_changed_data_are_refused_though_the_file_is_the_same(tmp_path):
    numbers = tmp_path / "numbers.pt"
    torch.save(torch.ones(40, 3), numbers)
    file = tmp_path / "mine.py"
    file.write_text(FILE.replace("torch.randn(120, 3)", f"torch.load({str(numbers)!r})"))
    folder = tmp_path / "race"
    trained(race(str(file), SPECS, seeds=1), folder)
    torch.save(torch.zeros(40, 3), numbers)
    own._made.cache_clear()
    own.data_hash.cache_clear()
    with pytest.raises(edsl.EdslError, match=r"the data of the task mine\.py have changed: sha256 \w{16} in the rec"):
        open_record(race(str(file), SPECS, seeds=1), folder, True)


def test_a_missing_file_and_an_object_are_named(file, tmp_path):
    folder = tmp_path / "race"
    trained(race(str(file), SPECS, seeds=1), folder)
    file.unlink()
    with pytest.raises(edsl.EdslError, match=r"mine\.py of the race in it is missing \(sha256 \w{12}\): restore"):
        race_from(read_configuration(folder), "the race in it")
    made = edsl.Task(data=_points, models=_line, loss=_loss, batch=8, steps=2)
    chosen = race(made, SPECS, seeds=1)
    open_record(chosen, tmp_path / "object", False)
    with pytest.raises(edsl.EdslError, match=r"was made in Python: call edsl\.compare with it, out= and resume=True"):
        race_from(read_configuration(tmp_path / "object"), "the race in it")


def _points():
    return torch.rand(40, 2), torch.rand(40, 1)


def _line():
    return torch.nn.Linear(2, 1)


def _loss(outputs, targets):
    return (outputs - targets).square().mean()


def test_an_object_is_resumed_while_it_is_the_same(tmp_path):
    def made(width):
        return edsl.Task(data=_points, models=lambda: torch.nn.Linear(2, width), loss=_loss, batch=8, steps=2)

    edsl.compare(["sgd"], task=made(1), seeds=1, out=tmp_path)
    assert len(edsl.compare(["sgd"], task=made(1), seeds=2, out=tmp_path, resume=True).trials) == 2
    with pytest.raises(
        edsl.EdslError, match=r"holds another race \(the task task has changed: line \d+ was `width = 1`"
    ):
        edsl.compare(["sgd"], task=made(3), seeds=2, out=tmp_path, resume=True)


GOOD = "task = edsl.Task(data=data, models=model, loss=mse_loss, batch=20, steps=6)"
WRONG = {
    "": "no edsl.Task found; make one, such as task = edsl.Task(data=…, models=…, loss=…), or begin with: edsl new",
    f"{GOOD}\nother = edsl.Task(data=data, models=model, loss=mse_loss)": "it holds 2 tasks; name one: ",
    "1 / 0": ", line 18: ZeroDivisionError: division by zero",
    "def (": ", line 18: SyntaxError: invalid syntax",
    "import no_such_package": ", line 18: ModuleNotFoundError: No module named 'no_such_package'",
    "raise SystemExit(3)": ", line 18: SystemExit: 3",
    GOOD.replace("models=model", "models=nn.ReLU"): "the model ReLU has no parameters to train",
    GOOD.replace("models=model", "models=dict"): "dict must build a torch.nn.Module, got {}",
    GOOD.replace("models=model", "models=3"): "model must be a function, got 3",
    GOOD.replace("models=model", "models={}"): "models must be a function, got None",
    GOOD.replace("models=model", "models=lambda: nn.Linear(7, 1)"): "the model <lambda> raised RuntimeError: mat1 and",
    GOOD.replace("mse_loss", "lambda o, t: (o - t).square()"): "the loss must be a scalar tensor, the mean over exampl",
    GOOD.replace("mse_loss", "lambda o, t: 3.0"): "the loss must be a scalar tensor, the mean over examples, got 3.0",
    GOOD.replace("mse_loss", "lambda o, t: (-mse_loss(o, t)).sqrt()"): "the loss of an untrained model is nan;",
    GOOD.replace("mse_loss", "lambda o, t: mse_loss(o.detach(), t)"): "the loss depends on no parameter; is something",
    GOOD.replace("steps=6", "steps=6, accuracy=mse_loss"): "the accuracy must lie in [0, 1], got ",
    GOOD.replace("steps=6", "steps=0"): "steps must be a whole number of at least 1, got 0",
    GOOD.replace("batch=20", "batch=2000"): "batch must be at most the 84 training examples of mine, got 2000",
    GOOD.replace("data=data", "data=lambda: 3"): "data must give (inputs, targets), or three such pairs",
    GOOD.replace(
        "data=data", "data=lambda: (torch.ones(3, 3), torch.ones(2))"
    ): "data needs a target for each input, g",
    GOOD.replace("data=data", "data=lambda: (torch.ones(3, 3), torch.ones(3))"): "3 examples are too few to be split",
    GOOD.replace("data=data", "data=lambda: (torch.full((9, 3), torch.nan), torch.ones(9))"): "hold nan or infinity in",
    GOOD.replace("data=data", "data=lambda: open('/no/such')"): ", line 18: data raised FileNotFoundError: [Errno 2]",
    f"def far(): raise ConnectionError('no route')\n{GOOD}".replace(
        "data=data", "data=far"
    ): "no route; it needs a netw",
    GOOD.replace("edsl.Task(", "dict("): "no edsl.Task found",
    GOOD.replace(
        "batch=20", "batch_size=20"
    ): ", line 18: TypeError: Task.__init__() got an unexpected keyword argument",
}


@pytest.mark.parametrize("ending", WRONG, ids=range(len(WRONG)))
def test_every_wrong_file_is_one_line(ending, tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(FILE.replace(GOOD, ending))
    with pytest.raises(edsl.EdslError) as raised:
        race(str(file), SPECS)
    said = str(raised.value)
    assert WRONG[ending] in said
    assert "mine" in said
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("nowhere.py", "task nowhere.py: no such file"),
        (".", "unknown task '.'"),
        ("folder.py", "task folder.py: a folder; expected a Python file"),
        (
            "mine.py:other",
            "task mine.py: it has no 'other'; did you mean|task mine.py: it has no 'other'; its tasks: task",
        ),
        ("mine.py:data", "task mine.py: data must be an edsl.Task, got <function data"),
        ("./mine", "unknown task './mine'; of the file here write ./mine.py"),
        ("./other", "unknown task './other'; .* a task of your own is a Python file, such as mytask.py"),
    ],
)
def test_every_wrong_name_is_one_line(words, message, file, monkeypatch):
    monkeypatch.chdir(file.parent)
    (file.parent / "folder.py").mkdir()
    with pytest.raises(edsl.EdslError, match=message):
        task_named(words)


def test_a_name_chooses_among_tasks_of_a_file(file):
    file.write_text(f"{FILE}\nlong = edsl.Task(data=data, models=model, loss=mse_loss, steps=9, name='long')\n")
    assert (task_named(f"{file}:long").steps, task_named(f"{file}:long").name) == (9, "long")
    assert task_named(f"{file}:task").name == "mine"


def test_a_package_registers_a_task(tmp_path, monkeypatch):
    package = tmp_path / "package"
    info = package / "theirs-1.0.dist-info"
    info.mkdir(parents=True)
    (package / "their_tasks.py").write_text(FILE)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[edsl.tasks]\nplane = their_tasks:task\n")
    monkeypatch.syspath_prepend(package)
    own.installed.cache_clear()
    try:
        chosen = race("plane", SPECS, seeds=1)
        rows = trained(chosen, tmp_path / "race")
        assert rows[0].ok == 1
        held = read_configuration(tmp_path / "race")
        assert held["source"]["place"] == "their_tasks:task"
        assert race_from(held).source == chosen.source
        sys.modules.pop("their_tasks")  # as in a worker, which has imported nothing
        own._made.cache_clear()
        assert chosen.source is not None
        assert chosen.source.task().steps == 6
        (package / "their_tasks.py").write_text(FILE.replace("0.5", "0.4"))
        with pytest.raises(edsl.EdslError, match=r"their_tasks\.py has changed since this race began: line 15 was"):
            race_from(held)
    finally:
        own.installed.cache_clear()


def test_the_template_learns():
    found = edsl.compare(["adam(lr=0.01)"], task=circle, seeds=1)
    (row,) = found.results.rows
    assert row.test_accuracy is not None
    assert row.test_accuracy.mean > 0.9
    assert found.race.source is not None
    assert found.race.source.place == "edsl.cli.templates.task:task"


def test_a_result_prints_a_table_and_holds_trials_and_a_report(tmp_path):
    found = edsl.compare([edsl.parse("adam(lr=0.01)"), "sgd"], task=circle, seeds=3, steps=5, out=tmp_path / "a")
    lines = str(found).splitlines()
    assert lines[0] == "optimizer"
    assert lines[2] == "grad | adam(lr=0.01, beta2=0.9, beta3=0.999, weight_decay=0, eps1=1e-08)"
    assert lines[3].endswith("baseline")
    assert lines[4] == "sgd"
    assert max(map(len, lines)) <= 80
    short = edsl.compare(["adam(lr=0.01)", "sgd"], task=circle, seeds=3, steps=5, out=tmp_path / "b")
    assert [line.split()[0] for line in str(short).splitlines()] == ["optimizer", "adam(lr=0.01)", "sgd"]
    assert "<table>" in found._repr_html_()
    assert list(found.trials["seed"]) == [0, 0, 1, 1, 2, 2]
    assert found.report(tmp_path / "page") == tmp_path / "page" / "report.html"


def test_trials_are_a_list_of_dicts_without_pandas(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pandas", None)
    found = edsl.compare(["sgd"], task=circle, seeds=2, steps=2)
    assert [trial["seed"] for trial in found.trials] == [0, 1]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"specs": "sgd"}, r"specs must be a list, such as \['alto', 'lamb\(lr=0.01\)'\], got 'sgd'"),
        ({"specs": []}, "no optimizer to race"),
        ({"task": 3}, "task must be an edsl.Task, a task's name or a file such as mytask.py, got 3"),
        ({"resume": True}, "resume=True needs out="),
        ({"jobs": 0}, "jobs must be at least 1"),
        ({"model": "cnn"}, "task task: unknown model 'cnn'"),
        ({"more": {"devise": "cpu"}}, "more: unknown argument 'devise'; did you mean 'device'"),
        ({"more": {"seeds": 3}}, "more: unknown argument 'seeds'"),
    ],
)
def test_bad_arguments_of_compare_are_one_line(settings, message):
    with pytest.raises(edsl.EdslError, match=message):
        edsl.compare(**{"specs": ["sgd"], "task": circle, **settings})


def test_rows_unpack_split_and_refuse_what_does_not_fit():
    rows = edsl.Rows(a=torch.arange(6).view(3, 2), b=[1.0, 2.0, 3.0])
    assert (lambda a, b: (len(a), len(b)))(**rows) == (3, 3)
    assert [len(part) for part in rows.split(2)] == [2, 1]
    assert rows[torch.tensor([2, 0])]["b"].tolist() == [3.0, 1.0]
    assert repr(rows) == "Rows(a=(3, 2), b=(3,))"
    for columns, message in (
        ({}, "Rows holds no tensor"),
        ({"a": torch.ones(2), "b": torch.ones(3)}, "as many rows of each tensor: a has 2, b has 3"),
        ({"a": "text"}, "a must be a tensor or an array of numbers, got str"),
        ({"a": 3}, "a must have a row for each example, got a single number"),
    ):
        with pytest.raises(edsl.EdslError, match=message):
            edsl.Rows(**columns)
