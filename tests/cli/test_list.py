"""`edsl list`: whole, by kind, and one thing in detail; and the commands in groups."""

import json
import os

import pytest
from shell import run

from edsl.cli.catalogue import catalogue
from edsl.cli.completion import tasks
from edsl.cli.main import COMMANDS, app
from edsl.errors import EdslError
from edsl.lab.races.suites import SUITES
from edsl.lab.tasks import installed
from edsl.language.registry.lookup import registered_names, stage_class

AT_80 = {**os.environ, "COLUMNS": "80"}


def test_help_has_every_command_in_one_group_in_their_order():
    code, out, _ = run("--help", env=AT_80)
    assert code == 0
    titles = [line.split("─ ")[1].split(" ─")[0] for line in out.splitlines() if line.startswith("╭─")]
    assert titles == ["Options", "Design", "Mathematics", "Cost", "This machine", "Races", "The paper"]
    named = [name for commands in COMMANDS.values() for name in commands]
    assert len(named) == len(set(named)) == len(app.registered_commands)
    assert max(map(len, out.splitlines())) <= 80


@pytest.mark.parametrize("kind", ["update", "adaptor"])
def test_a_kind_is_listed_alone(kind):
    code, out, _ = run("list", "--kind", kind, "--json")
    assert code == 0
    own = {"update": "base update"}.get(kind, kind)
    shown = [stage["stage"] for stage in json.loads(out)["stages"]]
    assert shown == [name for name in registered_names() if stage_class(name).kind == own]
    assert not {"recipes", "tasks"} & json.loads(out).keys()


@pytest.mark.parametrize(
    ("name", "words"),
    {
        "lamb": ("lamb, base update", "r = m̂ / (√v̂ + ε₁) + λ θ", "weight_decay", "0.0001", "see: edsl show lamb"),
        "clip": ("clip, adaptor", "see: edsl show 'grad | clip | sgd'"),
        "nadam": ("nadam, base update, of the zoo", "Dozat"),
        "alto": ("alto, recipe", "spec: grad | e | lamb"),
        "torch": ("torch, package", "AdamW"),
        "torch.AdamW": ("torch.AdamW, base update, of a package", "(0.9, 0.999)"),
        "small": ("small, suite", "mnist1d", "0.55", "seeds 5"),
        "digits": ("digits, task", "mlp", "17,226 parameters", "batch: 128", "ranked by: accuracy"),
        "glue": ("glue, task", "parts: glue:cola, glue:sst2, glue:mrpc"),
        "glue:mrpc": ("google-bert/bert-base-uncased", "batch: 32"),
        "imagenet": ("imagenet, task", "FOLDER/train/CLASS/PICTURE"),
    }.items(),
)
def test_one_thing_is_shown_in_detail_at_80_columns(name, words):
    code, out, err = run("list", name, env=AT_80)
    assert (code, err) == (0, "")
    for word in words:
        assert word in out, word
    assert max(map(len, out.splitlines())) <= 80
    code, out, _ = run("list", name, "--json")
    assert json.loads(out)["name"] == name


def test_suites_and_tasks_of_packages_are_listed(tmp_path, monkeypatch, capsys):
    info = tmp_path / "theirs-1.0.dist-info"
    info.mkdir()
    (tmp_path / "their_tasks.py").write_text("import edsl\nfrom edsl.cli.templates.task import task as plane\n")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{installed.GROUP}]\nplane = their_tasks:plane\n")
    monkeypatch.syspath_prepend(tmp_path)
    installed.installed.cache_clear()
    try:
        catalogue(None, "task", False, True)
        assert json.loads(capsys.readouterr().out)["tasks"][-1]["about"] == "of a package, their_tasks:plane"
        catalogue("plane", None, False, False)
        assert "plane, task" in capsys.readouterr().out
        assert [name for name, _ in tasks("pl")] == ["plane"]
    finally:
        installed.installed.cache_clear()
    catalogue(None, "suite", False, True)
    assert [suite["suite"] for suite in json.loads(capsys.readouterr().out)["suites"]] == [*SUITES]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("lamp",), "nothing is called 'lamp'; did you mean 'lamb'?"),
        (("--kind", "updates"), "unknown kind 'updates'; did you mean 'update'?"),
        (("lamb", "--zoo"), "edsl list shows one thing: give NAME or --zoo, not both"),
        (("torch.Adm",), "torch has no optimizer 'Adm'; did you mean 'Adam'?"),
        (("nothere.py",), "task nothere.py: no such file"),
        (("digits:/x",), "task digits takes no folder"),
        (("heavybal",), "nothing is called 'heavybal'; did you mean 'heavyball'?"),
    ],
)
def test_what_is_not_there_is_one_line(words, message):
    code, out, err = run("list", *words)
    assert (code, out) == (2, "")
    assert message in err
    assert len(err.splitlines()) == 1


def test_a_stage_of_another_package_that_can_not_be_loaded_is_told_and_the_others_are_listed(monkeypatch, capsys):
    from edsl.cli import catalogue

    def stage_class(name):
        if name == "lion":
            raise EdslError("stage 'lion' of cat:Lion can't be loaded")
        return known(name)

    known = catalogue.stage_class
    monkeypatch.setattr(catalogue, "stage_class", stage_class)
    monkeypatch.setenv("COLUMNS", "200")
    catalogue.catalogue(None, "update", False, False)
    out, err = capsys.readouterr()
    assert err == "left out: stage 'lion' of cat:Lion can't be loaded\n"
    assert "sgd, base update" in out
    assert "lion, base update" not in out
