"""`edsl plan` and `edsl warm` as a user types them."""

import json
import os
import re
import shlex
import sys

import pytest
from pages import DOCS, table
from shell import run

from edsl.cli import main as cli

WIDE = {**os.environ, "COLUMNS": "140"}


def test_plan_prints_the_table_of_its_page():
    (command,) = re.findall(r"^    edsl (plan alto emuon .*)$", (DOCS / "tools.md").read_text(), re.MULTILINE)
    code, out, err = run(*shlex.split(command), env=WIDE)
    assert (code, err) == (0, "")
    assert out.startswith("gpt2: 124,439,808 parameters in 148 tensors, float32: 498 MB, their gradients 498 MB")
    printed = [re.split(r" {2,}", line.strip()) for line in out.splitlines()]
    shown = table("tools.md", "optimizer", "state")
    assert [row[:3] for row in shown if row[0] == "alto"] == [["alto", "1.49 GB", "12"]]
    assert not [row for row in shown if row not in printed]
    assert ["lamb", "v", "float32", "498 MB", "4"] in printed


def test_plan_as_json_names_every_buffer_and_the_tensors_of_each_route(tmp_path):
    params = tmp_path / "params.json"
    params.write_text(json.dumps({"a.weight": [4, 3], "a.bias": [4]}))
    given = ("--params", str(params), "--dtype", "bfloat16", "--weights", "split")
    code, out, _ = run("plan", "emuon", *given, "--json")
    (found,) = json.loads(out)["plans"]
    assert code == 0
    assert found["parameter_bytes"] == 2 * 16
    assert found["state_bytes"] == 4 * (2 * 12 + 3 * 4) + 2 * 16
    assert [(route["route"], route["names"]) for route in found["routes"]] == [
        ("matrix", ["a.weight"]),
        ("other", ["a.bias"]),
    ]
    *_, muon, weights = found["routes"][0]["stages"]
    assert weights["buffers"] == [{"name": "low", "dtype": "int16", "bytes": 24, "bytes_per_parameter": 2.0}]
    assert muon["buffers"] == [{"name": "m", "dtype": "float32", "bytes": 48, "bytes_per_parameter": 4.0}]


def test_plan_says_where_gradients_and_state_lie():
    words = ["plan", "eadamw", "--params", "gpt2", "--attach", "--offload", "--json"]
    code, out, _ = run(*words)
    found = json.loads(out)["plans"][0]
    assert code == 0
    largest, all_of_them = 50257 * 768, found["parameters"]
    assert found["placement"] == {
        "attach": True,
        "offload": True,
        "gradients": 4 * largest,
        "state_on_device": found["placement"]["state_on_device"],
        "state_on_host": 12 * all_of_them,
        "bus": 24 * all_of_them,
    }
    assert 12 * largest < found["placement"]["state_on_device"] < 12 * all_of_them
    _, said, _ = run(*words[:-1], env=WIDE)
    assert "attached: gradients of at least 154 MB at once" in said
    assert "offloaded: 1.49 GB of state in the CPU's memory" in said


BAD = [
    (("plan",), "Missing argument 'SPEC'"),
    (("plan", "alto", "--params", "gpt9"), "unknown parameter set 'gpt9'"),
    (("plan", "alto", "--params", "none.json"), "none.json can't be read"),
    (("plan", "grad | foo"), "unknown stage 'foo'"),
    (("plan", "muon"), "muon takes matrices"),
    (("plan", "alto", "--dtype", "int8"), "dtype must be float32, float64, bfloat16 or float16, got 'int8'"),
    (("plan", "alto", "--state-dtype", ""), "state_dtype must be float32"),
    (("plan", "alto", "--weights", "fp8"), "weights must be stochastic, kahan, split or nearest, got 'fp8'"),
    (
        ("plan", "alto", "--weights", "split", "--dtype", "float16"),
        "weights='split' takes bfloat16; the dtype is float16",
    ),
    (("plan", "torch.AdamW", "--weights", "split"), "torch.AdamW moves the weights itself"),
    (("plan", "alto", "--bandwidth", "0"), "--bandwidth must be a number of GB/s > 0, got 0"),
    (("plan", "alto", "--bandwidth", "nan"), "--bandwidth must be a number of GB/s > 0, got nan"),
    (("plan", "grad | clip(norm=1) | alto", "--attach"), "attach: clip(norm=1) needs the norm over all parameters"),
    (("plan", "prodigy", "--offload"), "offload: prodigy asks for a total over all parameters"),
    (("warm",), "Missing argument 'SPEC'"),
    (("warm", "muon"), "muon takes matrices"),
    (("warm", "alto", "--device", "toaster"), "device 'toaster' can't be used"),
    (("warm", "alto", "--dtype", "int8"), "dtype must be"),
]


@pytest.mark.parametrize(("words", "part"), BAD)
def test_bad_input_is_one_line_and_exit_code_2(words, part, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["edsl", *words])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    out, err = capsys.readouterr()
    assert ended.value.code == 2
    assert out == ""
    assert part in err
    assert "Traceback" not in err
