"""Measures on a CPU, and writes cpu.md by `edsl bench` and matrices.md by its targets. A GPU is gpu.py's.

    python docs/benchmarks/write.py [SET…] [--steps N] [--page cpu|matrices] [--seconds N] [--out FOLDER]

Each section is a line of cpu.jsonl or matrices.jsonl beside its page: a run that is cut off goes on where it was, and a
line that is deleted is measured anew. Lines of another machine or other versions stay, and don't count.
"""

from __future__ import annotations

import argparse
import json
import platform
import shlex
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

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
PACKAGES = ("torch", *sorted({name.partition(".")[0] for name in AGAINST.split(",")} - {"torch"}))
OF_THE_CPU = ("Model name", "CPU(s)", "L1d cache", "L2 cache", "L3 cache")
PAGE = """\
# Benchmarks on a CPU

Written by `make bench` on {day}; what the columns are is in [the guide](../tools.md#benchmarks).

| machine | |
|---|---|
{machine}

{sections}
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

{sections}
"""
BEGUN = """\
## First steps

In a fresh process, packages loaded and the optimizer built: cold with empty caches of compiled code, warm in the next
process. A transformer of 19 tensors, two threads.

{rows}
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
        Page(asked.out / "cpu.md", PAGE, PACKAGES).write(cpu_parts(asked.sets, asked.steps))
    if asked.page != "cpu":
        packages = {
            name.partition(".")[0] for one in CONTESTS for name in one.names if name.partition("(")[0].count(".")
        }
        parts = matrices_parts(CONTESTS, ROUNDS, asked.seconds, tuple(FIRST_STEPS))
        Page(asked.out / "matrices.md", MATRICES, sorted(packages | {"torch"})).write(parts)


@dataclass(frozen=True)
class Part:
    """A section of a page that one measurement makes.

    Attributes:
        asked: what tells it from others, such as its command.
        measure: the section's text.
        last: whether it stands behind all that are measured later.
    """

    asked: str
    measure: Callable[[], str]
    last: bool = False


@dataclass(frozen=True)
class Kept:
    """A measured section: a line of the file beside the page.

    Attributes:
        asked: of its `Part`.
        machine: where, and with which versions.
        day: when.
        text: the section.
    """

    asked: str
    machine: Mapping[str, str]
    day: str
    text: str


@dataclass(frozen=True)
class Page:
    """A page, and the sections that are kept beside it.

    Attributes:
        place: of the page.
        template: with places for `day`, `machine` and `sections`.
        packages: whose versions it tells, beside edsl's.
    """

    place: Path
    template: str
    packages: Sequence[str]

    def write(self, parts: Sequence[Part]) -> None:
        """Measure what isn't kept; the page is there after each part, of all parts so far."""
        kept, beside, found = self.kept(), self.place.with_suffix(".jsonl"), {}
        for part in parts:
            one = kept.get(part.asked)
            if one is None:
                one = Kept(part.asked, self.machine, str(date.today()), part.measure())
                with beside.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(asdict(one)) + "\n")
            else:
                print(f"{part.asked}: kept in {beside.name}, of {one.day}", file=sys.stderr)
            found[part] = one
            self.place.write_text(self.text([found[one] for one in sorted(found, key=lambda one: one.last)]))

    def kept(self) -> dict[str, Kept]:
        """Sections that were measured on this machine with these versions, by what was asked."""
        beside = self.place.with_suffix(".jsonl")
        lines = beside.read_text(encoding="utf-8").splitlines() if beside.exists() else []
        rows = [Kept(**json.loads(line)) for line in lines if line.endswith("}")]  # the last may be cut off
        return {one.asked: one for one in rows if _alike(one.machine, self.machine)}

    def text(self, sections: Sequence[Kept]) -> str:
        days = sorted({one.day for one in sections})
        day = days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"
        rows = "\n".join(f"| {name} | {value} |" for name, value in self.machine.items())
        return self.template.format(day=day, machine=rows, sections="\n\n".join(one.text for one in sections))

    @property
    def machine(self) -> dict[str, str]:
        """The machine, and packages with their versions."""
        return {**described(), "edsl": edsl.__version__, **{name: installed(name) for name in self.packages}}


def _alike(one: Mapping[str, str], other: Mapping[str, str]) -> bool:
    """Whether times may stand in one table; the system's build may differ."""
    return {**one, "system": ""} == {**other, "system": ""}


def cpu_parts(sets: Sequence[str], steps: int) -> list[Part]:
    """Tables of `edsl bench`, what a schedule costs, and what a rule does."""
    tables = [Part(shlex.join(["edsl", *bench_words(name, steps)]), partial(table_of, name, steps)) for name in sets]
    return [*tables, Part("schedules", schedules), Part("rules", rules)]


def matrices_parts(contests: Sequence[Contest], rounds: int, seconds: float, specs: Sequence[str]) -> list[Part]:
    """First steps with their targets, while this process has compiled nothing; then contests of matrix updates."""
    begun = Part(f"first steps: {', '.join(specs)}", partial(first_steps, specs), last=True)
    asked = [f"{one.title}: {rounds} rounds, {seconds:g} s" for one in contests]
    return [begun, *(Part(said, partial(contest, one, rounds, seconds)) for said, one in zip(asked, contests))]


def contest(one: Contest, rounds: int, seconds: float) -> str:
    """The section on a contest, measured."""
    return f"## {one.title}\n\n{held_table(hold(one, rounds, seconds))}"


def first_steps(specs: Sequence[str]) -> str:
    """The section on first steps, measured."""
    return BEGUN.format(rows=begun_table([begin(spec) for spec in specs])).rstrip()


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


def bench_words(name: str, steps: int) -> list[str]:
    """The command that measures a set."""
    return ["bench", *SPECS, "--params", name, "--against", AGAINST, "--device", "cpu", "--steps", str(steps)]


def table_of(name: str, steps: int) -> str:
    """A set's command and table, measured in a process of its own."""
    words = bench_words(name, steps)
    command = str(Path(sys.executable).with_name("edsl"))
    done = subprocess.run([command, *words, "--json"], stdout=subprocess.PIPE, text=True, check=True)
    found = json.loads(done.stdout)
    titles, *rows = ([in_one_line(cell) for cell in row] for row in bench_rows(found))
    said = [bench_title(found), markdown(titles, rows), *bench_notes(found)]
    return "\n\n".join([f"## {name}", f"    {shlex.join(['edsl', *words])}", *said])


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
