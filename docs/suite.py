"""Write docs/suite.md: one score over the tasks of the suite `small`, measured here: `make suite`.

Trials that runs/suite holds already are not run again.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import torch

import edsl
from edsl.lab.races.build import race_from
from edsl.lab.races.record import finished_in, read_configuration
from edsl.lab.races.suites import suite_in
from edsl.lab.results.result_tables import ResultTable
from edsl.lab.results.score_tables import by_task, findings, notes, score_table
from edsl.lab.results.scores import scores
from edsl.lab.results.statistics import BETTER, WORSE

PAGE = Path(__file__).parent / "suite.md"
FOLDER = Path("runs/suite")
OPTIMIZERS = [
    *("adamw(lr=0.003)", "eadamw(lr=0.003)", "lamb(lr=0.01)", "alto(lr=0.01)", "emuon(lr=0.02, other_lr=0.003)"),
    *("esoap(lr=0.003)", "lion(lr=0.001)", "adan(lr=0.003)"),
]
SCHEDULE_FREE = "schedulefree.AdamWScheduleFree(lr=0.003)"  # where its package is there and edsl takes it
HEAD = """# One score over six tasks

{count} optimizers on the suite `small`, each with {trials} learning rates tried on every task and {seeds} final seeds,
compared to {baseline}. What it is, and what its intervals mean: [lab/race.md](lab/race.md#several-tasks).

"""


def main() -> None:
    """Race what is missing, and write the page."""
    specs = [*OPTIMIZERS, *([SCHEDULE_FREE] if _is_taken(SCHEDULE_FREE) else [])]
    asked = ["--resume"] if suite_in(FOLDER) else [*specs, "--no-controls"]
    words = ["suite", *([] if asked == ["--resume"] else ["small"]), *asked, "--out", str(FOLDER)]
    subprocess.run([sys.executable, "-m", "edsl.cli", *words], check=True)
    suite = suite_in(FOLDER)
    assert suite is not None
    places = [FOLDER / workload.folder for workload in suite.workloads]
    races = [(race_from(read_configuration(place)), finished_in(place)) for place in places]
    found = scores(races, [workload.target for workload in suite.workloads])
    first = races[0][0]
    head = HEAD.format(
        count=len(found.rows), trials=first.tuning.trials, seeds=first.seeds, baseline=f"`{found.baseline}`"
    )
    decided = [row.name for row in found.rows if row.family_wise in (BETTER, WORSE)]
    lines = [
        head,
        _markdown(score_table(found)),
        "\nMedian steps to each task's target, with seconds:\n\n",
        _markdown(by_task(found)),
        "\n",
        *(f"- {line}\n" for line in findings(found)),
        "\nWhat this can't decide: ",
        f"{len(found.rows) - 1 - len(decided)} of {len(found.rows) - 1} optimizers are not told from the baseline. Six "
        "small tasks of seconds to minutes need not predict large models or long training; one machine's seconds need "
        "not predict another's.\n\n",
        *(f"{line[:1].upper()}{line[1:]}.\n" for line in notes(found)),
        f"\nMeasured with edsl {edsl.__version__}, torch {torch.__version__}, Python {platform.python_version()}, "
        f"{os.cpu_count()} CPUs, {platform.machine()}, by `make suite`.\n",
    ]
    PAGE.write_text("".join(lines), encoding="utf-8")


def _is_taken(spec: str) -> bool:
    """Whether edsl can make an optimizer here."""
    if find_spec(spec.partition(".")[0]) is None:
        return False
    try:
        edsl.parse(spec)
    except edsl.EdslError:
        return False
    return True


def _markdown(table: ResultTable) -> str:
    titles = ["optimizer", *(title.replace("\n", " ") for title in table.titles)]
    lines = [titles, ["---"] * len(titles), *([f"`{line.name}`", *line.cells] for line in table.lines)]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


if __name__ == "__main__":
    main()
