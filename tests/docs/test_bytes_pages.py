"""The commands that write bytes.md and precision.md, on little."""

import importlib
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "docs" / "benchmarks"


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    yield importlib.import_module
    for name in ("bytes", "precision", "write"):
        sys.modules.pop(name, None)


def test_state_and_stalled_updates_are_measured_and_a_refusal_is_named(script):
    module = script("bytes")
    entry, torchs = module.Entry("edsl", "adamw"), module.Entry("torch", "AdamW", "bfloat16")
    *_, found = module.measure(entry, module.Entry("edsl", "adamw", options={"mode": "eager"}), "tiny", 2, 60)
    assert found["bytes"] == 8
    assert found["held"] == pytest.approx(0.99, abs=1e-4)
    assert module.stalled(torchs) == 1  # to the nearest, nothing moves
    text = module.page([entry, torchs], {0: found, 1: {"failed": "no such thing"}}, "tiny", 2)
    assert "| edsl: `adamw` | float32 | 8.00 |" in text
    assert "- torch: `AdamW`, bfloat16: no such thing" in text


def test_rows_are_kept_as_they_are_measured_and_what_a_process_found_in_its_time_counts(script, monkeypatch, tmp_path):
    module = script("bytes")
    entries, ran = [module.Entry("edsl", "adamw"), module.Entry("torch", "AdamW")], []

    run = module.subprocess.run

    def late(words, **options):
        if words[0] != sys.executable:  # what describes the machine
            return run(words, **options)
        ran.append(words)
        partly = b'{"bytes": 8.0}\n{"bytes": 8.0, "he'
        raise module.subprocess.TimeoutExpired(words, 1, output=partly if len(ran) == 1 else b"")

    monkeypatch.setattr(module, "entries", lambda: entries)
    monkeypatch.setattr(module.subprocess, "run", late)
    for _ in range(2):
        monkeypatch.setattr("sys.argv", ["bytes.py", "--params", "tiny", "--out", str(tmp_path), "--seconds", "1"])
        module.main()
    assert len(ran) == 2  # the second time all is there
    text = (tmp_path / "bytes.md").read_text()
    assert "| edsl: `adamw` | float32 | 8.00 | – | – | – | – |" in text
    assert "- torch: `AdamW`, float32: TimeoutError: did not end within 1 s" in text


def test_trainings_are_paired_and_go_on_where_they_were(script, monkeypatch, tmp_path):
    module = script("precision")
    monkeypatch.setitem(module.SPECS, "digits", ("eadamw(lr=0.001)",))
    monkeypatch.setattr(module.Sizes, "of", lambda self, task: (None, 3))
    kept, sizes = tmp_path / "kept.jsonl", module.Sizes(("digits",), "tiny", 3, 3, ("bfloat16",))
    done, _ = module.run(sizes, kept)
    trained = kept.read_text()
    again, _ = module.run(sizes, kept)
    assert again == done
    assert kept.read_text() == trained
    (row,) = [line for line in module.page(sizes, done, {}).splitlines() if "| bfloat16 state |" in line]
    assert row.split(" | ")[2:4] == ["3", "6.00"]
