"""What a shell offers on Tab, asked as shells ask."""

import os

import pytest
from shell import run

from edsl.cli.completion import specs
from edsl.lab.races.suites import SUITES
from edsl.lab.tasks.catalogue import PARTS, TASKS
from edsl.language.registry.stages import PACKAGES
from edsl.language.registry.zoo import zoo_names


def offered(line, word):
    """What bash is offered for word number `word` of a line."""
    asked = {**os.environ, "_EDSL_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(word)}
    code, out, err = run(env=asked)
    assert (code, err) == (0, "")
    return [line for line in out.splitlines() if line]


@pytest.mark.parametrize("command", ["show", "compare", "sweep", "verify"])
def test_stages_recipes_and_entries_of_the_zoo_are_offered(command):
    found = offered(f"edsl {command} a", 2)
    assert {"adamw", "alto", "adan", "ademamix", "adopt"} <= {*found}
    assert all(one.startswith("a") for one in found)


def test_a_race_is_offered_tasks_too_and_its_task_those_alone():
    assert {"digits"} <= {*offered("edsl compare d", 2)}
    assert offered("edsl compare sgd --task mn", 4) == ["mnist1d"]
    parts = {f"{name}:{part}" for name, own in PARTS.items() for part in own}
    assert {*offered("edsl train --task ", 3)} == {*TASKS} - {*PARTS} | parts


def test_suites_kinds_and_whatever_has_a_name_are_offered():
    assert {*offered("edsl suite ", 2)} == {*SUITES}
    assert offered("edsl list --kind up", 3) == ["update"]
    assert {"lamb", "lars", "lion", "logistic", "lightbench", "lookahead"} <= {*offered("edsl list l", 2)}


def test_a_spec_goes_on_behind_a_bar():
    assert offered("edsl show 'grad | e | lam", 2) == ["grad | e | lamb"]


def test_what_is_given_twice_or_wrong_does_not_disturb():
    assert offered("edsl compare --seeds x --seeds 3 --task mn", 7) == ["mnist1d"]
    assert offered("edsl show @nothere sg", 3) == []


@pytest.mark.parametrize(
    ("begun", "last"),
    [
        ("", True),
        ("grad |", True),
        ("grad | ", True),
        ("(grad | ", True),
        ("route(matrix=", True),
        ("route(matrix=clip(norm=1) | ", True),
        ("grad | direction(", True),
        ("grad ", False),
        ("grad | lamb(", False),
        ("grad | lamb(lr=", False),
        ("route(", False),
        ("grad | lamb(lr=0.1)", False),
    ],
)
def test_stages_are_offered_where_one_may_stand(begun, last):
    assert ((begun + "muon") in [one for one, _ in specs(begun + "mu")]) is last


def test_every_word_comes_with_what_it_is():
    about = dict(specs(""))
    assert {*zoo_names()} <= {*about}
    assert all(about.values())
    assert {f"{name}." for name in PACKAGES} <= {*about}
    assert "torch.AdamW" in dict(specs("torch.Ad"))
    assert specs("nopackage.A") == []
