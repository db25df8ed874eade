"""Parameter sets: known totals, names by which biases and norms are told, and files."""

from math import prod

import pytest
import torch

from edsl.errors import EdslError
from edsl.groups.exclusion import excluded_names
from edsl.lab.benchmarks.parameter_sets import SETS, parameter_set

KNOWN = {  # tensors and elements, as the models' own packages count them
    "gpt2": (148, 124_439_808),
    "gpt2-medium": (292, 354_823_168),
    "resnet20": (65, 272_474),
    "resnet50": (161, 25_557_032),
    "mlp": (20, 10_496_000),
    "llama-1b": (146, 1_235_814_400),
    "heavyball": (32, 134_217_728),
}


@pytest.mark.parametrize("name", KNOWN)
def test_set_has_the_tensors_and_elements_of_its_model(name):
    shapes = parameter_set(name)
    assert (len(shapes), sum(map(prod, shapes.values()))) == KNOWN[name]


def test_tiny_is_800_tensors_of_16_to_64_elements():
    sizes = [prod(shape) for shape in parameter_set("tiny").values()]
    assert (len(sizes), min(sizes), max(sizes)) == (800, 16, 64)


@pytest.mark.parametrize("name", SETS)
def test_by_name_all_vectors_and_nothing_else_are_left_out_of_decay(name):
    shapes = parameter_set(name)
    vectors = [one for one, shape in shapes.items() if len(shape) == 1]
    assert list(excluded_names(None, list(shapes))) == vectors


def test_names_and_shapes_are_those_of_transformers():
    from transformers import GPT2Config, GPT2LMHeadModel

    with torch.device("meta"):
        model = GPT2LMHeadModel(GPT2Config())
    theirs = [(name, tuple(parameter.shape)) for name, parameter in model.named_parameters()]
    assert list(parameter_set("gpt2").items()) == theirs


def test_file_gives_names_and_shapes_in_its_order(tmp_path):
    path = tmp_path / "own.json"
    path.write_text('{"b.weight": [3, 4], "a.bias": [3], "scale": []}')
    assert list(parameter_set(str(path)).items()) == [("b.weight", (3, 4)), ("a.bias", (3,)), ("scale", ())]


BAD = {
    "not json": b"{",
    "not text": b"\xff\xfe",
    "too deep": b"[" * 200_000,
    "a list": b"[[1, 2]]",
    "empty": b"{}",
    "a number": b"3",
    "shape is a number": b'{"a": 3}',
    "shape is an object": b'{"a": {}}',
    "negative size": b'{"a": [2, -1]}',
    "zero size": b'{"a": [0]}',
    "fraction": b'{"a": [2.0]}',
    "boolean": b'{"a": [true]}',
    "nested": b'{"a": [[2]]}',
    "name twice": b'{"a": [2], "a": [3]}',
    "no name": b'{"": [2]}',
}


@pytest.mark.parametrize("text", BAD.values(), ids=BAD)
def test_bad_file_is_one_line_that_names_it(text, tmp_path):
    path = tmp_path / "bad.json"
    path.write_bytes(text)
    with pytest.raises(EdslError) as caught:
        parameter_set(str(path))
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["", "gpt3", "missing.json", "."])
def test_unknown_set_or_missing_file_is_one_line(name):
    with pytest.raises(EdslError, match=r"unknown parameter set|can't be read") as caught:
        parameter_set(name)
    assert "\n" not in str(caught.value)
