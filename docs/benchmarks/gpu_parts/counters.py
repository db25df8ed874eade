"""DRAM throughput of the kernels of one step of ALTO, by Nsight Compute where it is there and may read counters."""

from __future__ import annotations

import csv
import shutil
import subprocess
import sys
from collections.abc import Sequence

from gpu_parts.profile import warmed_up
from gpu_parts.run import Row, Run, notes, table

TITLE = "Counters"
METRICS = "dram__throughput.avg.pct_of_peak_sustained_elapsed,dram__bytes.sum"
SECONDS = 90


def measure(run: Run) -> None:
    """A row for each counter of each kernel."""
    program = shutil.which("ncu")
    if not run.on_gpu or program is None:
        run.skip("DRAM counters", "no ncu here" if run.on_gpu else "no GPU")
        return
    script = f"from gpu_parts.counters import few_steps; few_steps({run.quick})"
    command = [program, "--clock-control", "none", "--metrics", METRICS, "--kernel-name", "regex:^(pass|scalars)"]
    command += ["--launch-skip", "12", "--launch-count", "6", "--csv", sys.executable, "-c", script]
    limit = min(SECONDS, run.left - 2)
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=max(1.0, limit))
    except subprocess.TimeoutExpired:
        run.skip("DRAM counters", f"ncu took more than {limit:.0f} s")
        return
    rows = counters(done.stdout)
    if not rows:
        said = (done.stdout + done.stderr).strip().splitlines() or [f"exit code {done.returncode}"]
        run.skip("DRAM counters", f"ncu: {said[-1][:200]}")
    for row in rows:
        run.record(row)


def counters(printed: str) -> list[Row]:
    """The counters of each kernel in what ncu prints as CSV, behind lines of its own."""
    lines = printed.splitlines()
    begin = next((number for number, line in enumerate(lines) if line.startswith('"ID"')), len(lines))
    return [
        {
            "counter": row["Metric Name"],
            "kernel_name": row["Kernel Name"],
            "unit": row["Metric Unit"],
            "value": row["Metric Value"],
        }
        for row in csv.DictReader(lines[begin:])
        if row.get("Metric Name")
    ]


def few_steps(quick: bool) -> None:
    """Three steps, for programs that watch this process."""
    warmed_up(Run("cuda", quick, float("inf"), lambda row: None))


def summary(rows: Sequence[Row]) -> str:
    found = {row["kernel_name"] for row in rows if "counter" in row}
    return "\n".join([f"{len(found)} kernels" if found else "no counters here", *notes(rows)])


def tables(rows: Sequence[Row]) -> str:
    keys = ("kernel_name", "counter", "value", "unit")
    return table(
        ["kernel", "counter", "value", "unit"], [[row[key] for key in keys] for row in rows if "counter" in row]
    )
