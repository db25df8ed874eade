"""Last: one step of ALTO on odd shapes under compute-sanitizer."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence

import torch

from gpu_parts.run import Row, Run, notes, table

TITLE = "Memory checker"
SECONDS = 60
CODE = 77  # what it exits with where it found an error
SHAPES = ((), (1,), (7,), (4097,), (33, 65))


def measure(run: Run) -> None:
    """One row: whether every access was to memory that is ours."""
    program = shutil.which("compute-sanitizer")
    if not run.on_gpu:
        one_step(run.device)  # as far as it goes here
        run.skip("compute-sanitizer", "no GPU")
        return
    if program is None:
        run.skip("compute-sanitizer", "it is not installed")
        return
    script = "from gpu_parts.memcheck import one_step; one_step('cuda')"
    command = [program, "--tool", "memcheck", "--error-exitcode", str(CODE), sys.executable, "-c", script]
    environment = {**os.environ, "PYTORCH_NO_CUDA_MEMORY_CACHING": "1"}  # so that each tensor is a block of its own
    limit = max(1.0, min(SECONDS, run.left))
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit, env=environment)
    except subprocess.TimeoutExpired:
        run.skip("compute-sanitizer", f"it took more than {limit:.0f} s")
        return
    said = [line for line in done.stdout.splitlines() if "ERROR SUMMARY" in line] or done.stderr.splitlines()[-1:]
    if done.returncode not in (0, CODE):
        run.skip("compute-sanitizer", f"exit code {done.returncode}: {' '.join(said)[:200]}")
        return
    run.record({"checked": "alto", "clean": done.returncode == 0, "said": " ".join(said)[:200]})


def one_step(device: str) -> list[torch.Tensor]:
    """A step of ALTO; θ after it."""
    generator = torch.Generator().manual_seed(3)
    run = Run(device, True, float("inf"), lambda row: None)
    drawn = [[torch.randn(shape, generator=generator).to(device) for shape in SHAPES] for _ in range(2)]
    params = [torch.nn.Parameter(tensor) for tensor in drawn[0]]
    optimizer = run.optimizer("alto", params)
    for parameter, gradient in zip(params, drawn[1]):
        parameter.grad = gradient
    optimizer.step()
    run.wait()
    return [parameter.detach().cpu() for parameter in params]


def summary(rows: Sequence[Row]) -> str:
    found = [row for row in rows if "checked" in row]
    said = [f"{row['checked']}: {row['said']}" if row["clean"] else f"- **wrong**: {row['said']}" for row in found]
    return "\n".join([*said, *notes(rows)])


def tables(rows: Sequence[Row]) -> str:
    return table(["pipeline", "clean"], [[row["checked"], row["clean"]] for row in rows if "checked" in row])
