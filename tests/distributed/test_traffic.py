"""docs/scale.md counts what is really sent."""

import re
from pathlib import Path

import pytest
from traffic import traffic_of_a_step
from workers import in_processes, in_turn, network

import edsl
from edsl.costs.cost import cost

DOC = Path(__file__).parents[2] / "docs" / "scale.md"
ROW = re.compile(r"^\| `(.+)` \| (\d+) \| (\d+) \| (\d+) \| (\d+) \| (\d+) \|$", re.M)
COUNTED = {
    spec.replace(r"\|", "|"): [int(number) for number in numbers] for spec, *numbers in ROW.findall(DOC.read_text())
}
MATRICES = [p.flatten(1).shape for p in network().parameters() if p.dim() > 1][:-1]  # the last one is the head


@pytest.fixture(scope="module")
def traffic():
    runs = {spec: (traffic_of_a_step, spec) for spec in COUNTED}
    return {count: in_processes(count, in_turn, runs) for count in (2, 4)}


@pytest.mark.parametrize("spec", COUNTED)
def test_the_table_of_messages_is_what_is_counted(traffic, spec):
    reduces, reduced, of_two, of_four, exchanged = COUNTED[spec]
    for count, exchanges in ((2, of_two), (4, of_four)):
        assert traffic[count][spec] == {
            "all-reduces": reduces,
            "bytes reduced": reduced,
            "all-to-alls": exchanges,
            "bytes exchanged": exchanged,
        }


@pytest.mark.parametrize("spec", COUNTED)
def test_the_cost_of_a_pipeline_says_what_is_sent(traffic, spec):
    branches = edsl.parse(spec).branches.values()
    found = traffic[2][spec]
    assert found["all-reduces"] == max(cost(branch).all_reduces for branch in branches)
    of_float32 = sum(m * n * sum(cost(branch, (m, n)).exchanged for branch in branches) for m, n in MATRICES)
    assert found["bytes exchanged"] == (of_float32 if "bfloat16" in spec else 2 * of_float32)


def test_the_table_is_there():
    assert len(COUNTED) == 9


@pytest.mark.parametrize("update", ["shampoo", "soap"])
def test_what_travels_of_a_matrix_is_what_the_formula_says(traffic, update):
    elements = sum(7 * m * n + 3 * (m * m + n * n) for m, n in MATRICES)
    assert traffic[2][f"grad | e | route(matrix={update}, other=sgd)"]["bytes exchanged"] == 8 * elements


def test_muon_sends_each_matrix_to_one_process_and_back(traffic):
    elements = sum(m * n for m, n in MATRICES)
    assert traffic[2]["grad | e | route(matrix=muon, other=sgd)"]["bytes exchanged"] == 2 * 8 * elements
