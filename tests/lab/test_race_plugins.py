"""A race's record holds its plugins: they are found again, and an edited one is refused."""

import hashlib
import json

import pytest
from shell import run

import edsl
from edsl.lab.executors.driver import run_to_end
from edsl.lab.executors.processes import Processes
from edsl.lab.races.build import open_record, race, race_from
from edsl.lab.races.record import read_configuration
from edsl.language.registry import plugins

STAGE = '''
from dataclasses import dataclass
from typing import ClassVar

from edsl.stage import Number, field
from edsl.stage import Adaptor


@dataclass(frozen=True)
class Propagation(Adaptor):
    """u = c g, under a name that begins with E's."""

    name: ClassVar[str] = "eprop"
    by: float = field(2.0, Number(), "c")

    def step(self, x, memory, at):
        return self.by * x, memory
'''
SPECS = ["grad | eprop | sgd(lr=0.1)", "sgd(lr=0.1)"]


@pytest.fixture
def forget(monkeypatch):
    """Forget what was loaded, as a new process has."""

    def anew():
        monkeypatch.setattr(plugins, "_loaded", {})

    anew()
    return anew


@pytest.fixture
def raced(tmp_path, forget):
    """A plugin's file, and the folder of a race with its stage, in a process that forgot it."""
    file, folder = tmp_path / "mine.py", tmp_path / "race"
    file.write_text(STAGE)
    edsl.load_plugin(file)
    chosen = race("digits", SPECS, model="linear", steps=2, seeds=1)
    run_to_end(chosen, open_record(chosen, folder, False), lambda _: None)
    forget()
    return file, folder


def again(folder):
    return race_from(read_configuration(folder), f"the race in {folder}")


def test_the_record_holds_path_hash_and_text(raced):
    file, folder = raced
    (held,) = json.loads((folder / "race.json").read_text())["plugins"]
    assert held["path"] == str(file)
    assert held["text"] == STAGE
    assert len(held["sha256"]) == 64
    assert held["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()


def test_a_plugin_is_found_again_and_the_race_goes_on(raced):
    _, folder = raced
    found = again(folder)
    assert open_record(found, folder, True).finished
    assert "eprop" in plugins.loaded()


def test_an_edited_plugin_is_refused_with_both_hashes_and_the_lines(raced):
    file, folder = raced
    file.write_text(STAGE.replace("2.0", "3.0"))
    for load in (lambda: None, lambda: edsl.load_plugin(file)):  # by the record, and by --plugin
        load()
        with pytest.raises(edsl.EdslError) as raised:
            again(folder)
        said = str(raised.value)
        held = read_configuration(folder)["plugins"][0]["sha256"]
        assert f"plugin {file} has changed since the race in {folder} began: sha256 {held[:12]} then, " in said
        assert '    -    by: float = field(2.0, Number(), "c")\n    +    by: float = field(3.0, Number(), "c")' in said


def test_a_race_with_an_edited_plugin_is_another_race(raced):
    file, folder = raced
    file.write_text(STAGE.replace("return self.by", "return 2 * self.by"))
    edsl.load_plugin(file)
    with pytest.raises(
        edsl.EdslError, match=r"holds another race \(plugin mine\.py \w{12} in the record, \w{12} here\)"
    ):
        open_record(race("digits", SPECS, model="linear", steps=2, seeds=1), folder, True)


def test_a_missing_plugin_says_so_and_a_copy_of_it_does(raced, tmp_path):
    file, folder = raced
    file.rename(tmp_path / "moved.py")
    with pytest.raises(edsl.EdslError, match=r"mine\.py of the race in .* is missing .* pass a copy with --plugin"):
        again(folder)
    edsl.load_plugin(tmp_path / "moved.py")
    assert open_record(again(folder), folder, True).finished


def test_workers_run_the_recorded_text_whatever_the_file_holds_by_then(tmp_path, forget):
    file = tmp_path / "mine.py"
    file.write_text(STAGE)
    edsl.load_plugin(file)
    chosen = race("digits", SPECS, model="linear", steps=2, seeds=1)
    expected = run_to_end(chosen, open_record(chosen, tmp_path / "a", False), lambda _: None)
    file.write_text("1/0")
    found = run_to_end(chosen, open_record(chosen, tmp_path / "b", False), lambda _: None, Processes(2))
    assert [row.train_loss for row in found.rows] == [row.train_loss for row in expected.rows]


def test_a_file_edited_within_a_second_runs_as_it_is(tmp_path, forget):
    file = tmp_path / "mine.py"
    for by in ("2.0", "3.0"):  # same size, same second: a cached .pyc would be taken for it
        file.write_text(STAGE.replace("2.0", by))
        edsl.load_plugin(file)
        assert edsl.parse("grad | eprop | sgd").hyperparameters["by"] == float(by)


def test_a_name_that_begins_with_es_is_not_taken_for_e(raced):
    from edsl.lab.report.conclusions import conclusions, doubts
    from edsl.lab.results.results import results

    _, folder = raced
    found = again(folder)
    assert found.controls == {}
    said = " ".join([*conclusions(found, results(found, [])), *doubts(found, results(found, []))])
    assert "twin" not in said
    assert "E in" not in said


def test_a_plugin_that_no_spec_names_is_not_in_the_record(tmp_path, forget):
    (tmp_path / "mine.py").write_text(STAGE)
    edsl.load_plugin(tmp_path / "mine.py")
    assert race("digits", ["sgd"], steps=2).configuration()["plugins"] == []


def test_a_packages_stage_is_in_the_record_and_refused_once_it_changed(tmp_path, monkeypatch, forget):
    package, folder = tmp_path / "package", tmp_path / "race"
    info = package / "theirs-1.0.dist-info"
    info.mkdir(parents=True)
    (package / "theirs.py").write_text(STAGE)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[edsl.stages]\neprop = theirs:Propagation\n")
    monkeypatch.syspath_prepend(package)
    plugins.installed.cache_clear()
    chosen = race("digits", SPECS, model="linear", steps=2, seeds=1)
    run_to_end(chosen, open_record(chosen, folder, False), lambda _: None)
    assert read_configuration(folder)["plugins"][0]["place"] == "theirs:Propagation"
    assert open_record(again(folder), folder, True).finished
    (package / "theirs.py").write_text(STAGE.replace("2.0", "3.0"))
    with pytest.raises(edsl.EdslError, match=r"theirs\.py has changed since the race(.|\n)*\+    by: .*3\.0"):
        again(folder)
    (info / "entry_points.txt").unlink()
    plugins.installed.cache_clear()
    with pytest.raises(
        edsl.EdslError, match=r"the package of theirs:Propagation, a stage of the race in .* is not inst"
    ):
        again(folder)


def test_a_damaged_record_of_a_plugin_is_one_line(raced):
    _, folder = raced
    held = read_configuration(folder)
    (folder / "race.json").write_text(json.dumps({**held, "plugins": [{"path": 3}]}))
    code, out, err = run("report", str(folder))
    assert (code, out) == (2, "")
    assert "race.json is damaged" in err
    assert len(err.splitlines()) == 1
