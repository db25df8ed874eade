"""Entries of the zoo as names in specs: who owns a name, what is read when, and what a pipeline carries."""

import subprocess
import sys

import pytest

import edsl
from edsl.language.registry.lookup import registered_names
from edsl.language.registry.recipes import RECIPES
from edsl.language.registry.zoo import zoo_names, zoo_text
from edsl.language.rules.zoo import zoo_class

MINE = "@update\ndef nadam(u, *, lr=0.5):\n    return -lr * sign(u)\n"


@pytest.mark.parametrize("name", zoo_names())
def test_an_entry_is_what_its_file_says_in_at_most_fifteen_lines(name):
    kind = zoo_class(name)
    assert kind.name == name
    assert kind.__doc__ == kind.rule.about
    source = [line for line in zoo_text(name).splitlines() if line.strip()]
    body = source[source.index('    """', 2) + 1 :] if '    """' in source else []
    assert 0 < len(body) <= 15, body
    assert all(len(line) <= 120 or line.startswith("def ") for line in source)


def test_no_entry_has_a_name_that_edsl_has():
    assert not {*zoo_names()} & {*registered_names(), *RECIPES}


def test_no_entry_is_read_before_it_is_named():
    program = (
        "import edsl; from edsl.language.registry import zoo\n"
        "edsl.parse('grad | e | lamb')\n"
        "assert zoo.zoo_text.cache_info().currsize == 0\n"
        "edsl.parse('nadam'); assert zoo.zoo_text.cache_info().currsize == 1"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_a_pipeline_carries_the_definition_of_its_entry():
    pipeline = edsl.parse("grad | e | nadam(lr=0.01)")
    assert pipeline.line.startswith("grad | e(")
    assert "def nadam(" in str(pipeline)
    assert edsl.parse(str(pipeline)) == pipeline


def test_a_text_reads_its_own_definition_first():
    pipeline = edsl.parse(f"{MINE}\nnadam(lr=0.1)")
    assert pipeline.line == "grad | nadam(lr=0.1)"


def test_a_file_may_take_the_name_of_an_entry_but_not_edsls(tmp_path):
    (tmp_path / "nadam.edsl").write_text(MINE)
    edsl.load_rules(tmp_path)
    assert edsl.parse("nadam").line == "grad | nadam(lr=0.5)"
    (tmp_path / "nadam.edsl").write_text(MINE.replace("nadam", "adamw"))
    with pytest.raises(edsl.EdslError, match="'adamw' is taken"):
        edsl.load_rules(tmp_path)


def test_a_misspelt_entry_is_suggested():
    with pytest.raises(edsl.EdslError, match="did you mean 'ademamix'"):
        edsl.parse("grad | ademamx")


@pytest.mark.parametrize(
    "spec",
    [
        "grad | direction(nadam) | muon",
        "route(matrix=muon, other=nadam)",
        "nadam | caution | lookahead",
        "@update\ndef two(u, *, lr=0.01):\n    return (nadam(u, lr=lr) + radam(u, lr=lr)) / 2\n\ntwo",
    ],
)
def test_an_entry_stands_wherever_a_stage_does(spec):
    pipeline = edsl.parse(spec)
    assert "def nadam(" in str(pipeline)
    assert edsl.parse(str(pipeline)) == pipeline


def test_an_entry_is_a_function_of_edsl():
    assert str(edsl.grad() | edsl.nadam(lr=0.01)) == str(edsl.parse("nadam(lr=0.01)"))
