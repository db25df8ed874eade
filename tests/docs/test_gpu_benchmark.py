"""The GPU command, as far as a CPU can try it: every part runs, is right, and would say if it were not."""

import importlib.util
import itertools
import json
import re
import subprocess
import sys
import time
from argparse import Namespace
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import edsl
from edsl.costs.memory import memory
from edsl.lab.benchmarks.parameter_sets import parameter_set
from gpu_parts import correctness, counters, matrices, memcheck, speed, training
from gpu_parts.run import Run, notes

ROOT = Path(__file__).parents[2]
PROGRAM = ROOT / "docs" / "benchmarks" / "gpu.py"
TURNS = itertools.count()
pytestmark = pytest.mark.xdist_group("gpu_benchmark")  # all parts run once for all tests
needs_triton = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed")


@pytest.fixture(scope="module")
def gpu():
    spec = importlib.util.spec_from_file_location("gpu_benchmark", PROGRAM)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def started(*words):
    return subprocess.run([sys.executable, str(PROGRAM), *words], capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    """Every part on tiny sizes: (what was printed, gpu.json, gpu.md)."""
    out = tmp_path_factory.mktemp("gpu")
    done = started("--device", "cpu", "--quick", "--minutes", "5", "--out", str(out))
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout, json.loads((out / "gpu.json").read_text()), (out / "gpu.md").read_text()


def rows_of(quick, part):
    found = quick[1]["parts"][part]
    assert found["status"] == "ended"
    assert [row for row in found["rows"] if "failed" in row] == []
    return found["rows"]


@needs_triton
def test_kernels_of_a_gpu_give_what_eager_steps_in_float64_do(quick):
    asked, *rows = rows_of(quick, "correctness")
    assert asked["asked"] == len(rows) == 6
    assert {row["spec"] for row in rows} == {"alto", "emuon", "grad | noise | sgd", "sam | sgd"}
    for row in rows:
        assert row["error"] <= row["bound"] <= correctness.MOST
        assert (row["repeats"], row["resumes"], row["moves"]) == (True, True, True)
        assert (row["recompiled"], row["fallbacks"]) == (0, [])
    assert {row["kernels"] for row in rows if row["spec"] == "alto"} == {1}
    assert {row["scaled"] for row in rows if row["spec"] == "alto"} == {True, None}
    assert max(row["error"] for row in rows if (row["spec"], row["dtype"]) == ("alto", "float32")) <= 1e-6


@needs_triton
def test_what_a_step_moves_and_launches_is_counted(quick):
    by_name = {row["optimizer"]: row for row in rows_of(quick, "speed") if "optimizer" in row}
    matrix, bias, vector = 40 * 50, 40, 1500
    layers, spared = matrix + vector, bias
    assert by_name["alto"]["bytes"] == 48 * layers + 36 * spared
    assert by_name["alto"]["bytes_once"] == 36 * (layers + spared)
    assert by_name["torch.AdamW"]["bytes"] == 28 * (layers + spared)
    assert (by_name["alto"]["launches"], by_name["eadamw"]["launches"]) == (6, 2)
    for row in by_name.values():
        assert row["gbps"] == pytest.approx(row["bytes"] / row["ms"]["median"] / 1e6)
        assert (row["recompiled"], row["fallbacks"]) == (0, [])


@needs_triton
def test_a_profile_has_the_bytes_of_each_kernel(quick):
    rows = [row for row in rows_of(quick, "profile") if "kernel" in row]
    assert [(row["kernel"], row["bytes_per_parameter"]) for row in rows] == [
        ("scalars0", None),
        ("pass0", 32),
        ("scalars1", None),
        ("pass1", 16),
    ]


@needs_triton
def test_state_is_as_planned_and_temporaries_are_within_the_plan(quick):
    rows = rows_of(quick, "memory")
    assert {row["dtype"] for row in rows} == {"float32", "bfloat16"}
    assert [row for row in rows if row["state"] != row["planned_state"]] == []
    assert [row for row in rows if not row["within"]] == []
    assert {row["planned_temporary"] for row in rows if row["spec"] == "eadamw"} == {0}


@needs_triton
def test_matrices_and_a_first_step_are_measured(quick):
    rows = rows_of(quick, "matrices")
    by_name = {row["optimizer"]: row for row in rows if "optimizer" in row}
    assert {"muon", "soap", "shampoo", "torch.Muon"} <= set(by_name)
    assert by_name["muon"]["flops"] == 5 * (4 * 8**3 + 2 * 8**3) + 5 * (4 * 8 * 8 * 24 + 2 * 8**3)
    assert all(row["flops"] > 0 for row in by_name.values())
    (first,) = (row for row in rows if "first_step" in row)
    assert first["warm_s"] > 0
    assert first["cold_s"] > 0


@needs_triton
def test_training_gives_the_losses_of_eager_steps_on_a_cpu(quick):
    trained, compared = rows_of(quick, "training")
    assert 5 < trained["first_loss"] < 6  # log 256 = 5.55
    assert trained["tokens_per_s"] == pytest.approx(1e3 * 32 * 128 / trained["step_ms"])
    assert compared["difference"] < 1e-4


@needs_triton
def test_page_and_terminal_hold_every_part_and_what_was_left_out(quick):
    printed, found, page = quick
    parts = ["correctness", "speed", "profile", "matrices", "memory", "training", "counters", "memcheck"]
    assert list(found["parts"]) == parts
    assert len(printed.splitlines()) <= 100
    titles = ("Correctness", "Speed", "A profile", "Matrices", "Memory", "Training", "Counters", "Memory checker")
    for title in titles:
        assert f"## {title}" in page
        assert f"{title}: ended in" in printed
    assert "not measured: compute-sanitizer: no GPU" in page
    assert "python docs/benchmarks/gpu.py --device cpu --quick" in page


def run_here(build, kernels=1):
    """A part's run whose optimizers are built so, and the rows that it records."""
    rows = []
    run = Run("cpu", True, float("inf"), rows.append)

    def optimizer(spec, params, tile=None, **options):
        made = build(spec, params)
        made.engine.cuda = Stepped(kernels)
        return made

    object.__setattr__(run, "optimizer", optimizer)
    return run, rows


class Stepped:
    """As if kernels had been compiled, and left all to torch."""

    reasons = ()

    def __init__(self, kernels):
        self.kernels = kernels

    def run(self, items, number, totals):
        return list(items)


@pytest.fixture
def counted(monkeypatch):
    """Eager steps say, as compiled ones do, that one kernel was compiled."""
    monkeypatch.setattr("edsl.optim.optimizer.PipelineOptimizer.compiled_graphs", 1)


@pytest.mark.parametrize(
    ("build", "wrong"),
    [
        (lambda spec, params: edsl.compile(spec, params, mode="eager"), None),
        (lambda spec, params: edsl.compile("alto(beta3=0.98)", params, mode="eager"), "error"),
        (lambda spec, params: edsl.compile("alto", params, mode="eager", lr=0.01 + 1e-9 * next(TURNS)), "repeats"),
    ],
    ids=["right", "another beta3", "another step in each run"],
)
def test_a_wrong_step_is_told_from_a_right_one(build, wrong, counted):
    run, _ = run_here(build)
    row = correctness.check(run, "alto", "float32")
    assert row["ok"] is (wrong is None)
    said = correctness.summary([row])
    assert ("wrong" in said) is (wrong is not None)
    if wrong == "error":
        assert row["error"] > row["bound"]
        assert f"error {row['error']:.2g} over {row['bound']:.2g}" in said
    if wrong == "repeats":
        assert row["repeats"] is False


def checked(**changes):
    """A row of correctness as JSON has it."""
    return {
        "spec": "alto",
        "dtype": "float32",
        "against": "float64 on a CPU",
        "error": 1e-7,
        "bound": 1e-6,
        "repeats": True,
        "resumes": True,
        "moves": True,
        "recompiled": 0,
        "kernels": 1,
        "expects_kernels": True,
        "reasons": [],
        "fallbacks": [],
        "scaled": None,
        "ok": False,
        **changes,
    }


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"error": None}, "error inf over 1e-06"),  # as JSON has what is not finite
        ({"kernels": 0, "reasons": ["Triton failed (ptxas died)"]}, "no Triton kernels (Triton failed (ptxas died))"),
        ({"resumes": False}, "resumes: no"),
        ({"recompiled": 2}, "2 graphs after the second step"),
        ({"fallbacks": ["torch.compile failed"]}, "torch.compile failed"),
    ],
)
def test_what_is_wrong_is_said(changes, said):
    assert said in correctness.summary([checked(**changes)])
    assert "alto" in correctness.tables([checked(**changes)])


def test_a_step_without_kernels_is_not_right(counted):
    run, _ = run_here(lambda spec, params: edsl.compile(spec, params, mode="eager"), kernels=0)
    row = correctness.check(run, "alto", "float32")
    assert (row["kernels"], row["ok"]) == (0, False)


def test_matrices_take_up_to_half_of_the_processes():
    queues = [["sgd", "adam", "lion"], ["muon", "soap", "shampoo"]]
    working = []
    while any(queues):
        chosen = correctness._next(queues, working[-4:], 4)
        working.append(chosen)
    assert working == ["muon", "soap", "sgd", "adam", "lion", "shampoo"]


def test_rows_that_cant_be_shown_do_not_end_the_run(gpu):
    part = {"command": "", "day": "", "status": "ended", "seconds": 1.0, "rows": [{"optimizer": "alto"}]}
    results = {"machine": {}, "parts": {"speed": part}}
    assert "its rows can't be shown (KeyError" in gpu.page(results)
    assert "its rows can't be shown (KeyError" in gpu.shortened(results["parts"])


def test_losses_that_are_not_finite_are_shown_as_unknown():
    row = {"losses_of": "alto", "steps": 3, "here": [None, 1.0], "on_a_cpu": [1.0, 1.0]}
    assert "| – | 1 |" in training.tables([{**row, "difference": None, "noise": None, "within": False}])


def test_what_takes_too_long_within_a_part_is_left_out(monkeypatch):
    monkeypatch.setattr("gpu_parts.run.gc.collect", lambda: 0)  # other tests' garbage is theirs
    run, rows = run_here(edsl.compile)
    with run.attempt("a compilation"), run.within(0.05):
        time.sleep(5)
    assert rows == [{"skipped": "a compilation", "why": "it took more than 0 s"}]


def test_what_was_left_out_is_a_line_for_each_reason():
    rows = [{"skipped": name, "why": "the time was up"} for name in "abcdefgh"]
    assert notes(rows) == ["- not measured: a, b, c, d, e and 3 more: the time was up"]


def test_a_spec_that_torch_stepped_is_not_passed_off_as_edsls_kernels():
    row = {
        "optimizer": "alto",
        "set": "x",
        "parameters": 1,
        "tile": None,
        "kernels": 0,
        "gbps": 1.0,
        "dtype": "float32",
    }
    assert "alto on x: no Triton kernels" in speed.summary([{"copy": True, "gbps": 1.0}, row])


def test_parts_run_where_no_other_edsl_is_found_and_with_the_users_own_path(gpu, tmp_path, monkeypatch):
    started = {}

    class Process:
        pid, returncode = 2**22 + 1, 0  # more than there can be

        def __init__(self, command, **options):
            started.update(options)

        def poll(self):
            return 0

        def wait(self):
            return 0

    monkeypatch.setattr(gpu.subprocess, "Popen", Process)
    monkeypatch.setenv("PYTHONPATH", "/carried")
    with gpu.checkout() as path:
        gpu.run(Namespace(device="cpu", quick=True, minutes=1, out=tmp_path, only="memcheck"), path)
    assert Path(started["cwd"]) != ROOT
    assert started["env"]["PYTHONSAFEPATH"] == "1"
    assert started["env"]["PYTHONPATH"].split(":")[0] == path.split(":")[0]
    assert started["env"]["PYTHONPATH"].split(":")[-1] == "/carried"


def test_a_part_ends_with_its_parent(tmp_path):
    program = (
        f"import importlib.util, os, subprocess, sys, time; sys.path.insert(0, {str(PROGRAM.parent)!r});"
        f"s = importlib.util.spec_from_file_location('g', {str(PROGRAM)!r}); g = importlib.util.module_from_spec(s);"
        "s.loader.exec_module(g); g._end_with(int(sys.argv[1]))"
    )
    parent = subprocess.Popen(["sleep", "60"])
    child = subprocess.Popen([sys.executable, "-c", program, str(parent.pid)], start_new_session=True)
    assert child.wait(timeout=30) == -9  # its parent is this process, and not the one that it was told
    parent.kill()
    parent.wait()


def test_what_fails_within_a_part_is_one_row_and_the_part_goes_on(monkeypatch):
    monkeypatch.setattr("gpu_parts.run.gc.collect", lambda: 0)
    run, rows = run_here(edsl.compile)
    with run.attempt("this"):
        raise RuntimeError("CUDA error: out of memory\nand more")
    run.skip("that", "the time was up")
    assert rows == [
        {"failed": "this", "why": "RuntimeError: CUDA error: out of memory"},
        {"skipped": "that", "why": "the time was up"},
    ]
    assert len(notes(rows)) == 2


def test_operations_of_newton_schulz_are_those_that_torch_counts():
    shapes = [(6, 6), (5, 9), (12, 4)]
    params = [torch.nn.Parameter(torch.randn(shape)) for shape in shapes]
    optimizer = edsl.compile("muon", params, mode="eager")
    for parameter in params:
        parameter.grad = torch.randn_like(parameter)
    with FlopCounterMode(display=False) as counter:
        optimizer.step()
    assert counter.get_total_flops() == matrices.newton_schulz_flops(shapes)


def test_the_step_for_the_memory_checker_moves_every_odd_shape():
    run = Run("cpu", True, float("inf"), lambda row: None)
    assert {len(shape) for shape in memcheck.SHAPES} == {0, 1, 2}
    params = [torch.nn.Parameter(torch.randn(shape)) for shape in memcheck.SHAPES]
    assert run.optimizer("alto", params).engine.cuda.device == "cpu"


def test_counters_are_read_from_what_ncu_prints():
    printed = (
        "==PROF== Connected to process 7\n"
        '"ID","Process ID","Kernel Name","Block Size","Metric Name","Metric Unit","Metric Value"\n'
        '"0","7","pass0","(128, 1, 1)","dram__bytes.sum","Gbyte","11.35"\n'
        '"0","7","pass0","(128, 1, 1)","dram__throughput.avg.pct_of_peak_sustained_elapsed","%","91.2"\n'
    )
    assert counters.counters(printed) == [
        {"counter": "dram__bytes.sum", "kernel_name": "pass0", "unit": "Gbyte", "value": "11.35"},
        {
            "counter": "dram__throughput.avg.pct_of_peak_sustained_elapsed",
            "kernel_name": "pass0",
            "unit": "%",
            "value": "91.2",
        },
    ]
    assert counters.counters("==ERROR== ERR_NVGPUCTRPERM\n") == []


def test_figures_foretold_are_those_of_the_plan():
    text = (PROGRAM.parent / "README.md").read_text()
    rows = re.findall(r"^\| (\w+) \| (gpt2-medium|llama-1b) \| (\w+) \| (.*) \|$", text, re.MULTILINE)
    assert len(rows) == 10
    for spec, name, dtype, cells in rows:
        planned = memory(spec, parameter_set(name), dtype)
        once, loops = planned.traffic, planned.traffic_of_loops
        assert once is not None
        assert loops is not None
        found = [f"{loops / planned.parameters:.0f}", f"{once / planned.parameters:.0f}"]
        for bandwidth in (3.0e12, 4.3e12):
            alone = f"{1e3 * loops / bandwidth:.1f}"
            found.append(alone if found[0] == found[1] else f"{alone} ({1e3 * once / bandwidth:.1f})")
        assert cells.split(" | ") == found


def test_without_a_gpu_it_says_so_in_one_line():
    done = started()
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(r"gpu\.py: no GPU here: .*\n", done.stderr)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--minutes", "0"), "--minutes must be a number > 0, got 0"),
        (("--minutes", "nan"), "--minutes must be a number > 0, got nan"),
        (("--only", "sped"), "invalid choice: 'sped'"),
        (("--device", "cpu"), "--device cpu needs --quick"),
        (("--device", "cpu", "--quick", "--out", "/proc/nowhere"), "--out /proc/nowhere can't be written to"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(words, said):
    done = started(*words)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        ("torch.version.hip", "6.4", "AMD's GPUs (ROCm): edsl steps there through torch.compile"),
        ("torch.backends.mps.is_available", lambda: True, "Apple's (MPS): edsl steps there through torch.compile"),
        ("torch.xpu.is_available", lambda: True, "Intel's (XPU): edsl steps there through torch.compile"),
    ],
)
def test_other_makers_gpus_are_told_what_they_get(gpu, place, value, said, monkeypatch):
    monkeypatch.setattr(place, value)
    assert said in gpu._why_not(Namespace(device="cuda"))


def test_amds_gpus_get_torch_compile(monkeypatch):
    from edsl.kernels.cuda import CudaKernels

    params = [torch.nn.Parameter(torch.ones(3))]
    optimizer = edsl.compile("sgd(lr=0.5)", params, mode="eager")
    optimizer.engine.cuda = CudaKernels("cpu")
    monkeypatch.setattr("torch.version.hip", "6.4")
    params[0].grad = torch.ones(3)
    optimizer.step()
    assert optimizer.engine.cuda.kernels == 0
    assert params[0].tolist() == [0.5] * 3


@needs_triton
def test_a_part_whose_time_is_up_is_stopped_and_what_it_found_is_kept(gpu, tmp_path, monkeypatch):
    monkeypatch.setattr(gpu, "GRACE", 0)
    asked = Namespace(device="cpu", quick=True, minutes=0.01, out=tmp_path, only="speed")
    with gpu.checkout() as path:
        assert gpu.run(asked, path) == 0  # no fault
    found = json.loads((tmp_path / "gpu.json").read_text())
    assert found["parts"]["speed"]["status"] == "stopped: its time was up"
    assert "stopped: its time was up" in (tmp_path / "gpu.md").read_text()


def test_parts_of_another_machine_are_not_kept(gpu, tmp_path):
    machine = gpu.described("cpu")
    place = tmp_path / "gpu.json"
    place.write_text(json.dumps({"machine": machine, "parts": {"speed": {"rows": []}}}))
    assert list(gpu._earlier(place, machine)) == ["speed"]
    assert gpu._earlier(place, {**machine, "torch": "another"}) == {}
    place.write_text("[")
    assert gpu._earlier(place, machine) == {}
