"""What was compiled once is found by the next process."""

import json
import os

import pytest
from shell import run_anew as run

import edsl
from edsl.lab.benchmarks.parameter_sets import parameter_set
from edsl.lab.benchmarks.warm import warm
from edsl.language.registry.recipes import RECIPES

SHAPES = {"a.weight": (6, 4), "a.bias": (6,), "b.weight": (4, 6), "b.bias": (4,), "norm.weight": (1,)}
SEVERAL = ["alto", "hutchinson(every=2) | sophia", "grad | e | torch.SGD(lr=0.1)"]


def test_second_warming_in_another_process_compiles_nothing(tmp_path):
    params = tmp_path / "params.json"
    params.write_text(json.dumps(SHAPES))
    words = ("warm", *SEVERAL, "emuon", "--params", str(params), "--device", "cpu", "--json")
    cache = {**os.environ, "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "cache")}
    counts = []
    for _ in range(2):
        code, out, err = run(*words, env=cache)
        assert code == 0, err
        found = json.loads(out)["warmed"]
        assert all(one["fallbacks"] == [] for one in found)
        counts.append([(one["graphs"], one["compiled"]) for one in found])
    first, second = counts
    assert all(graphs > 0 for graphs, _ in first)
    assert sum(compiled for _, compiled in first) > 0
    assert [graphs for graphs, _ in second] == [graphs for graphs, _ in first]
    assert [compiled for _, compiled in second] == [0] * len(second)


def test_training_finds_what_was_warmed(tmp_path):
    cache = {**os.environ, "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "cache")}
    code, _, err = run("warm", "alto", "--params", "resnet20", "--device", "cpu", env=cache)
    assert code == 0, err
    made = sorted((tmp_path / "cache" / "edsl").glob("*/*.so"))
    race = ("compare", "digits", "alto", "--no-controls", "--steps", "1", "--seeds", "2")
    code, _, err = run(*race, "--out", str(tmp_path / "race"), env=cache)
    assert code == 0, err
    assert made
    assert sorted((tmp_path / "cache" / "edsl").glob("*/*.so")) == made


@pytest.mark.parametrize("spec", [*RECIPES, "route(embedding=lion, norm=sgd, other=adamw)"])
def test_every_recipe_can_be_warmed(spec):
    assert warm(spec, SHAPES, device="cpu").graphs > 0


def test_few_tensors_stand_for_all():
    found = warm("eadamw", parameter_set("tiny"), device="cpu")
    assert found.tensors == 2  # one with weight decay and one without,
    assert found.graphs == 1  # which is a live value


@pytest.mark.parametrize(("options", "part"), [({"dtype": "int8"}, "dtype must be"), ({"device": "toaster"}, "device")])
def test_bad_dtype_and_device_are_said(options, part):
    with pytest.raises(edsl.EdslError) as raised:
        warm("alto", SHAPES, **options)
    assert part in str(raised.value)
