"""Measures on a CPU, and writes cpu.md by `edsl bench` and matrices.md by its targets. A GPU is gpu.py's.

python docs/benchmarks/write.py [SET…] [--steps N] [--page cpu|matrices] [--seconds N] [--out FOLDER]
"""

from __future__ import annotations

import argparse
import json
import platform
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

import edsl
from edsl.cli.render.bench import bench_notes, bench_rows, bench_title
from edsl.lab.benchmarks.rounds import Spread
from edsl.lab.benchmarks.rules import CHAIN, MOST_CHAIN, MOST_RULE, PARTS, PERIOD, chain_cost, rule_cost
from edsl.lab.benchmarks.schedule import scheduled_step
from edsl.lab.benchmarks.targets import CONTESTS, FIRST_STEPS, Begun, Contest, Outcome, begin, hold

SETS = ("mlp", "gpt2", "resnet20", "tiny")
SPECS = ("alto", "eadamw")
AGAINST = "torch.AdamW,heavyball.AdamW,torch_optimizer.Lamb,pytorch_optimizer.Lamb"
OF_THE_CPU = ("Model name", "CPU(s)", "L1d cache", "L2 cache", "L3 cache")
PAGE = """\
# Benchmarks on a CPU

Written by `make bench` on {day}; what the columns are is in [the guide](../tools.md#benchmarks).

| machine | |
|---|---|
{machine}

{tables}

{schedules}

{rules}
"""
SCHEDULES = """\
## Schedules

What a new lr costs: the fastest of 1000 steps with an unchanged lr, with another at each step as a scheduler writes it,
and with `lr=cosine(…)` in the text, in turn in one process, on 20 tensors of 64 elements, where a step is Python more
than arithmetic (float32, CPU, 1 thread).

| optimizer | constant lr µs | new lr µs | ratio | schedule in the text µs | ratio |
| --- | ---: | ---: | ---: | ---: | ---: |
{rows}
"""
RULES = """\
## Rules

AdEMAMix as a rule beside the same stage as a class: the fastest of 2000 steps, in turn in one process, on the tensors
above. And {chain} beside its parts, each an optimizer of its own: the median of {rounds} rounds of
{period} steps, of which one refreshes SOAP's bases, on four matrices of 256 to 512 rows and columns, in processor time.

| | a step | beside | a step | ratio | target | |
| --- | ---: | --- | ---: | ---: | ---: | --- |
{rows}
"""
MATRICES = """\
# Benchmarks of matrix updates on a CPU

Written by `make bench` on {day}. In each table one process and one thread step the optimizers in turn, each round
beginning with another; a ratio is of two times in the same round, with its median and quartiles over the rounds. A
target is what the median may be at most. State is all that an optimizer keeps between steps, wherever it does.

| machine | |
|---|---|
{machine}

{tables}

## First steps

In a fresh process, packages loaded and the optimizer built: cold with empty caches of compiled code, warm in the next
process. A transformer of 19 tensors, two threads.

{begun}
"""
ROUNDS = 20


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("sets", nargs="*", metavar="SET", default=SETS)
    options.add_argument("--steps", type=int, default=30)
    options.add_argument("--page", choices=("cpu", "matrices"), help="one page alone")
    options.add_argument("--seconds", type=float, default=20.0, help="of the rounds of each table of matrices.md")
    options.add_argument("--out", type=Path, default=Path(__file__).parent, help="folder of the pages")
    asked = options.parse_args()
    if asked.page != "matrices":
        (asked.out / "cpu.md").write_text(cpu_page(asked.sets, asked.steps))
    if asked.page != "cpu":
        (asked.out / "matrices.md").write_text(matrices_page(CONTESTS, ROUNDS, asked.seconds, tuple(FIRST_STEPS)))


def cpu_page(sets: Sequence[str], steps: int) -> str:
    """Tables of `edsl bench`, and what a schedule costs."""
    measured = [measure(name, steps) for name in sets]
    versions = {name: number for _, found in measured for name, number in found["versions"].items()}
    tables = "\n\n".join(section(command, found) for command, found in measured)
    return PAGE.format(day=date.today(), machine=machine(versions), tables=tables, schedules=schedules(), rules=rules())


def matrices_page(contests: Sequence[Contest], rounds: int, seconds: float, specs: Sequence[str]) -> str:
    """Contests of matrix updates with their targets, and first steps with theirs."""
    begun = begun_table([begin(spec) for spec in specs])  # first, while this process has compiled nothing
    tables = "\n\n".join(f"## {one.title}\n\n{held_table(hold(one, rounds, seconds))}" for one in contests)
    packages = {name.partition(".")[0] for one in contests for name in one.names if name.partition("(")[0].count(".")}
    versions = {"edsl": edsl.__version__, **{name: installed(name) for name in sorted(packages | {"torch"})}}
    return MATRICES.format(day=date.today(), machine=machine(versions), tables=tables, begun=begun)


def held_table(outcome: Outcome) -> str:
    """Every optimizer's time and state, then the ratios beside their targets, and who is missing."""
    rows = [
        [f"`{row.name}`", f"{row.step_ms.median:.3g}", _span(row.step_ms, ".3g"), f"{row.state_bytes:.1f}"]
        for row in outcome.rows
    ]
    judged = [
        [
            f"`{one.target.ours}`",
            f"`{one.target.theirs}`",
            f"{one.ratio.median:.2f}",
            _span(one.ratio, ".2f"),
            f"≤ {one.target.most:g}",
            _said(one.met),
        ]
        for one in outcome.judged
    ]
    steps = f", each of {outcome.contest.period} steps" if outcome.contest.period > 1 else ""
    return "\n\n".join(
        [
            f"{outcome.contest.title}; {outcome.rounds} rounds{steps}",
            markdown(["optimizer", "step ms", "quartiles ms", "state B/param"], rows),
            markdown(["optimizer", "beside", "ratio", "quartiles", "target", ""], judged, left=2),
            *(f"not measured: {line}" for line in outcome.absent),
        ]
    )


def begun_table(begun: Sequence[Begun]) -> str:
    """First steps beside what they may take."""
    rows = []
    for one in begun:
        most = ["–", "–"] if one.most is None else [f"≤ {one.most[0]:g}, ≤ {one.most[1]:g}", _said(one.met)]
        rows.append([f"`{one.spec}`", f"{one.took.cold:.2f}", f"{one.took.warm:.2f}", *most])
    return markdown(["optimizer", "cold s", "warm s", "target", ""], rows)


def markdown(titles: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> str:
    """A table whose first columns are text and the others numbers."""
    lines = [titles, ["---"] * left + ["---:"] * (len(titles) - left), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _span(of: Spread, form: str) -> str:
    return f"{of.lower:{form}}–{of.upper:{form}}"


def _said(met: bool) -> str:
    return "met" if met else "not met"


def measure(name: str, steps: int) -> tuple[str, dict[str, Any]]:
    """The command, and what it found, in a process of its own."""
    words = ["bench", *SPECS, "--params", name, "--against", AGAINST, "--device", "cpu", "--steps", str(steps)]
    edsl = str(Path(sys.executable).with_name("edsl"))
    done = subprocess.run([edsl, *words, "--json"], stdout=subprocess.PIPE, text=True, check=True)
    return shlex.join(["edsl", *words]), json.loads(done.stdout)


def section(command: str, found: dict[str, Any]) -> str:
    """A set's command and table."""
    titles, *rows = ([in_one_line(cell) for cell in row] for row in bench_rows(found))
    table = markdown(titles, rows)
    name = found["configuration"]["params"]
    return "\n\n".join([f"## {name}", f"    {command}", bench_title(found), table, *bench_notes(found)])


def schedules() -> str:
    """The section on scheduled steps, measured."""
    torch.set_num_threads(1)
    found = {spec: scheduled_step(spec) for spec in SPECS}
    rows = (
        f"| {spec} | {one.constant_us:.1f} | {one.scheduled_us:.1f} | {one.ratio:.2f} "
        f"| {one.text_us:.1f} | {one.text_ratio:.2f} |"
        for spec, one in found.items()
    )
    return SCHEDULES.format(rows="\n".join(rows)).rstrip()


def rules() -> str:
    """The section on rules and chains, measured."""
    torch.set_num_threads(1)
    rule, chain = rule_cost(), chain_cost(rounds=ROUNDS)
    rows = [
        f"| rule | {rule.rule_us:.1f} µs | class | {rule.class_us:.1f} µs | {rule.ratio:.3f} "
        f"| ≤ {MOST_RULE:g} | {_said(rule.ratio <= MOST_RULE)} |",
        f"| chain | {chain.chain_ms:.1f} ms | {' + '.join(PARTS)} | {chain.parts_ms:.1f} ms "
        f"| {chain.ratio:.2f} | ≤ {MOST_CHAIN:g} | {_said(chain.ratio <= MOST_CHAIN)} |",
    ]
    return RULES.format(chain=f"`{CHAIN}`", rounds=ROUNDS, period=PERIOD, rows="\n".join(rows)).rstrip()


def in_one_line(cell: str) -> str:
    """A cell of a terminal's table as Markdown has it."""
    return cell.replace("-\n", "").replace("\n", " ").replace("|", "\\|")


def machine(versions: Mapping[str, str]) -> str:
    """Rows of a table: the machine, and packages with their versions."""
    return "\n".join(f"| {name} | {value} |" for name, value in {**described(), **versions}.items())


def installed(package: str) -> str:
    """The version of a package, – where it is missing."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "–"


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
