"""Measures with `edsl bench` on a CPU, and writes cpu.md beside this file. A GPU is gpu.py's.

python docs/benchmarks/write.py [SET…] [--steps N] [--out FILE]
"""

from __future__ import annotations

import argparse
import json
import platform
import shlex
import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import Any

import torch

from edsl.cli.render.bench import bench_notes, bench_rows, bench_title
from edsl.lab.benchmarks.schedule import scheduled_step

SETS = ("mlp", "gpt2", "resnet20", "tiny")
SPECS = ("alto", "eadamw")
AGAINST = "torch.AdamW,heavyball.AdamW,torch_optimizer.Lamb,pytorch_optimizer.Lamb"
OF_THE_CPU = ("Model name", "CPU(s)", "L1d cache", "L2 cache", "L3 cache")
PAGE = """\
# Benchmarks on a CPU

Written by `make bench` on {day}; what the columns are is in [the guide](../guide.md#benchmarks).

| machine | |
|---|---|
{machine}

{tables}

{schedules}
"""
SCHEDULES = """\
## Schedules

What a new lr costs: the fastest of 1000 steps with an unchanged lr and with another at each step, in turn in one
process, on 20 tensors of 64 elements, where a step is Python more than arithmetic (float32, CPU, 1 thread).

| optimizer | constant lr µs | new lr µs | ratio |
| --- | ---: | ---: | ---: |
{rows}
"""


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("sets", nargs="*", metavar="SET", default=SETS)
    options.add_argument("--steps", type=int, default=30)
    options.add_argument("--out", type=Path, default=Path(__file__).parent / "cpu.md")
    asked = options.parse_args()
    measured = [measure(name, asked.steps) for name in asked.sets]
    versions = {name: number for _, found in measured for name, number in found["versions"].items()}
    machine = "\n".join(f"| {name} | {value} |" for name, value in {**described(), **versions}.items())
    tables = "\n\n".join(section(command, found) for command, found in measured)
    asked.out.write_text(PAGE.format(day=date.today(), machine=machine, tables=tables, schedules=schedules()))


def measure(name: str, steps: int) -> tuple[str, dict[str, Any]]:
    """The command, and what it found, in a process of its own."""
    words = ["bench", *SPECS, "--params", name, "--against", AGAINST, "--device", "cpu", "--steps", str(steps)]
    edsl = str(Path(sys.executable).with_name("edsl"))
    done = subprocess.run([edsl, *words, "--json"], stdout=subprocess.PIPE, text=True, check=True)
    return shlex.join(["edsl", *words]), json.loads(done.stdout)


def section(command: str, found: dict[str, Any]) -> str:
    """A set's command and table."""
    titles, *rows = ([in_one_line(cell) for cell in row] for row in bench_rows(found))
    lines = [titles, ["---", *["---:"] * (len(titles) - 1)], *rows]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    name = found["configuration"]["params"]
    return "\n\n".join([f"## {name}", f"    {command}", bench_title(found), table, *bench_notes(found)])


def schedules() -> str:
    """The section on scheduled steps, measured."""
    torch.set_num_threads(1)
    found = {spec: scheduled_step(spec) for spec in SPECS}
    rows = (
        f"| {spec} | {one.constant_us:.1f} | {one.scheduled_us:.1f} | {one.ratio:.2f} |" for spec, one in found.items()
    )
    return SCHEDULES.format(rows="\n".join(rows)).rstrip()


def in_one_line(cell: str) -> str:
    """A cell of a terminal's table as Markdown has it."""
    return cell.replace("-\n", "").replace("\n", " ").replace("|", "\\|")


def described() -> dict[str, str]:
    """The machine: its processor with cores and caches, its Python."""
    try:
        told = subprocess.run(["lscpu"], capture_output=True, text=True, check=True).stdout.splitlines()
    except (OSError, subprocess.CalledProcessError):
        told = []
    facts = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in told)}
    cpu = {name: facts[name] for name in OF_THE_CPU if name in facts}
    return {**cpu, "system": platform.platform(), "Python": platform.python_version()}


if __name__ == "__main__":
    main()
