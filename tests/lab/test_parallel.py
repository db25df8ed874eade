"""One trial on several processes is the trial of one."""

import json
import os
import subprocess
import sys

import pytest
from shell import run

WORDS = ("train", "alto(lr=0.01)", "--task", "digits", "--batch", "512", "--steps", "20", "--json")
ALONE = {**os.environ, "OMP_NUM_THREADS": "1", "TORCHDYNAMO_DISABLE": "1"}  # compiled shards: tests/distributed


def trained(*before, words=WORDS):
    whole = [sys.executable, *before, "-m", "edsl.cli", *words]
    return subprocess.run(whole, capture_output=True, text=True, env=ALONE)


@pytest.fixture(scope="module")
def alone():
    return json.loads(run(*WORDS, env=ALONE)[1])


@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
def test_two_processes_train_as_one(kind, alone):
    done = trained("-m", "torch.distributed.run", "--nproc-per-node", "2", words=(*WORDS, "--parallel", kind))
    assert done.returncode == 0, done.stderr
    together = json.loads(done.stdout)
    assert together["steps"] == 20
    for name in ("start_loss", "train_loss", "test_loss"):
        assert together[name] == pytest.approx(alone[name], rel=1e-4)
    for (step, loss), (same, expected) in zip(together["curve"], alone["curve"], strict=True):
        assert (step, loss) == (same, pytest.approx(expected, rel=1e-3))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("train", "alto"), "name a task"),
        (("train", "alto", "--task", "digits", "--parallel", "pipeline"), "parallel must be ddp or fsdp"),
        (("train", "alt", "--task", "digits"), "did you mean 'alto'?"),
    ],
)
def test_bad_words_are_one_line(words, message):
    code, out, err = run(*words)
    assert (code, out) == (2, "")
    assert message in err
    assert "Traceback" not in err
