"""Write docs/zoo.md: what each entry of the zoo is, costs and comes to on two tasks: `make zoo`.

    python docs/zoo.py            races, writes docs/zoo.json with what came out, and the page
    python docs/zoo.py --page     writes the page anew from docs/zoo.json; nothing is trained
    python docs/zoo.py NAME …     races these entries alone, and keeps what docs/zoo.json holds of the others

Trials that runs/zoo holds already are not run again.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

import edsl
from edsl.cli.catalogue import about_and_source
from edsl.costs.cost import Cost, cost, stage_state
from edsl.errors import EdslError
from edsl.lab.executors.driver import run
from edsl.lab.executors.serial import Serial
from edsl.lab.races.build import open_record, race
from edsl.lab.races.entrant import Entrant
from edsl.lab.results.result_tables import MISSING
from edsl.lab.results.results import ResultRow, results
from edsl.language.registry.lookup import stage_class
from edsl.language.registry.zoo import zoo_names
from edsl.language.spec import parse
from edsl.theory.stability.report import check_pipeline
from edsl.theory.text.notation import recurrences

DOCS = Path(__file__).parent
PAGE, RESULTS = DOCS / "zoo.md", DOCS / "zoo.json"
RUNS = Path("runs/zoo")
BASELINE = "adamw"
CLASSES = ("galore", "psgd_kron")  # of the literature too, but no rules: rules run them
RACES: dict[str, dict[str, Any]] = {  # of each task: what a trial may spend
    "digits": {"steps": 200, "batch": 128},
    "mnist1d": {"steps": 250, "batch": 256},
}
MATRIX = 1024  # rows and columns of the parameter whose state is counted

# How an entry is trained whose name alone is no optimizer for every parameter of a network.
TRAINED = {
    "gradient_centralization": "grad | route(matrix=gradient_centralization | adamw, other=adamw)",
    "hyperball": "adamw(weight_decay=0) | hyperball",
    "scion": "route(matrix=scion, other=scion_vector)",
}
HEAD = """\
# The zoo

The literature's optimizers as rules, and {classes} as classes that rules run: each is a name in a spec,
such as `grad | e | {first}`, and `edsl show NAME` prints what it computes. Written by `make zoo`; the recurrences are
written by running the stages on letters.

- **State and traffic** are bytes per float32 parameter of a {matrix} × {matrix} matrix. Traffic is what must pass
  through memory in a step, each tensor once, of an adaptor with `sgd` behind it and of a wrapper with `sgd` before it.
- **Stability** is of the entry with its defaults (of an adaptor or wrapper around `sgd(lr=1)`) on a quadratic of
  curvature f″, by the exact boundaries of its recurrence, where that is linear with constant coefficients.
- **Parity**: it takes the steps of an independent implementation in float64, for 50 steps, on matrices or vectors with
  gradients of both signs, rows of zeros, missing gradients, and weight decay where it has some: the largest
  |a − b| / max(1, |b|) is within the bound. Where the package's own defaults differ from the paper, the line says how.
- **Results**: test accuracy in %, mean ± sd over {seeds} seeds, at the best of {trials} learning rates by validation
  accuracy (`--lr auto`). A trial is short: {budgets}.
  Such a race shows that an entry trains. It ranks none: no beta, decay or schedule was tuned, all but the rate is each
  paper's default, and a rate at the edge of what was tried may not be the best.

"""


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("names", nargs="*", metavar="NAME", help="entries to race; all without any")
    options.add_argument("--page", action="store_true", help="write the page from docs/zoo.json; train nothing")
    options.add_argument("--seeds", type=int, default=3, help="final trials of each entry")
    options.add_argument("--trials", type=int, default=5, help="learning rates that each entry may try")
    options.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="trials at once")
    asked = options.parse_args()
    if not asked.page:
        measured = raced(asked.names or (BASELINE, *entries()), asked.seeds, asked.trials, asked.jobs)
        if asked.names:
            measured = merged(json.loads(RESULTS.read_text(encoding="utf-8")), measured)
        RESULTS.write_text(json.dumps(measured, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    PAGE.write_text(page(json.loads(RESULTS.read_text(encoding="utf-8"))), encoding="utf-8")


def entries() -> tuple[str, ...]:
    """The names of all entries, rules and classes."""
    return tuple(sorted((*zoo_names(), *CLASSES)))


def merged(known: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """What is known of all entries, with what was measured anew of some."""
    for task, one in known["tasks"].items():
        one["rows"] = {name: (one["rows"] | new["tasks"][task]["rows"]).get(name) for name in (BASELINE, *entries())}
    return known


def raced(names: Sequence[str], seeds: int, trials: int, jobs: int) -> dict[str, Any]:
    """A race of each of these entries on each task: what came out, as JSON."""
    work = [(task, name, seeds, trials) for task in RACES for name in names]
    with ProcessPoolExecutor(jobs, mp_context=get_context("forkserver")) as pool:
        rows = dict(zip(work, pool.map(outcome, *zip(*work))))
    tasks = {
        task: {**budget, "rows": {name: rows[task, name, seeds, trials] for name in names}}
        for task, budget in RACES.items()
    }
    machine = f"torch {torch.__version__}, Python {platform.python_version()}, {platform.machine()}"
    return {"edsl": edsl.__version__, "machine": machine, "seeds": seeds, "trials": trials, "tasks": tasks}


def outcome(task: str, name: str, seeds: int, trials: int) -> dict[str, Any]:
    """What comes out of an entry's own race on a task; trials that its folder holds are not run again."""
    pipeline = parse(BASELINE if name == BASELINE else trained(name))
    entrant = Entrant(name, str(pipeline))
    chosen = race(task, [entrant], seeds=seeds, lr="auto", trials=trials, tune_seeds=1, device="cpu", **RACES[task])
    folder = RUNS / f"{task}-{chosen.planned}" / f"{name}-{pipeline.fingerprint}"
    record = open_record(chosen, folder, resume=True)
    run(chosen, record, Serial(), lambda progress: None)
    (row,) = results(chosen, record.finished).rows
    print(f"{task} {name}: {_outcome(row)}", file=sys.stderr, flush=True)
    return _outcome(row)


def _outcome(row: ResultRow) -> dict[str, Any]:
    """What the page says of an entrant."""
    accuracy = row.test_accuracy
    return {
        "lr": next(iter(row.lr.values()), None),
        "on_edge": row.lr_on_edge,
        "accuracy": None if accuracy is None else [round(accuracy.mean, 4), round(accuracy.sd or 0.0, 4)],
        "not_well": row.diverged + row.failed,
        "reason": row.reasons[0] if row.reasons else "",
    }


def trained(name: str) -> str:
    """The spec by which an entry trains a network."""
    if name in TRAINED:
        return TRAINED[name]
    kind = stage_class(name)
    if kind.kind == "base update" and kind.is_matrix and not kind.takes_vectors:
        return f"route(matrix={name}, other=adamw)"
    return {"adaptor": f"grad | {name} | adamw", "wrapper": f"adamw | {name}"}.get(kind.kind, name)


def alone(name: str) -> str:
    """The spec that shows an entry's own state, traffic and stability: around plain gradient descent."""
    kind = stage_class(name).kind
    return {"adaptor": f"grad | {name} | sgd(lr=1)", "wrapper": f"sgd(lr=1) | {name}"}.get(kind, name)


def page(measured: dict[str, Any]) -> str:
    """docs/zoo.md, of what was measured and of what follows from the rules alone."""
    names = entries()
    budgets = "; ".join(
        f"{task}: {one['steps']} steps of {one['batch']} examples" for task, one in measured["tasks"].items()
    )
    classes = " and ".join(f"`{name}`" for name in CLASSES)
    head = HEAD.format(
        classes=classes,
        first=names[0],
        matrix=MATRIX,
        seeds=measured["seeds"],
        trials=measured["trials"],
        budgets=budgets,
    )
    titles = ["entry", "kind", "state, B", "traffic, B", *measured["tasks"]]
    baseline = ["`adamw`, for comparison", *_costs(BASELINE), *_accuracies(BASELINE, measured)]
    rows = [baseline, *([f"[`{name}`](#{name})", *_costs(name), *_accuracies(name, measured)] for name in names)]
    sections = "\n".join("\n".join(_section(name, measured)) for name in names)
    foot = f"Measured with edsl {measured['edsl']}, {measured['machine']}.\n"
    return f"{head}{_table(titles, rows)}\n\n{sections}\n{foot}"


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [titles, ["---", "---", *["---:"] * (len(titles) - 2)], *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def _costs(name: str) -> tuple[str, str, str]:
    """Kind, state and traffic."""
    pipeline = parse(alone(name))
    stage = next(stage for stage in pipeline.stages if stage.name == name)
    found = cost(pipeline, (MATRIX, MATRIX))
    assert isinstance(found, Cost)  # no other package's
    state = stage_state(stage, MATRIX, MATRIX)
    return stage.kind, "a number a layer" if 0 < state * MATRIX**2 <= 8 else f"{state:.3g}", f"{found.traffic:.3g}"


def _accuracies(name: str, measured: dict[str, Any]) -> list[str]:
    return [_accuracy(task["rows"].get(name)) for task in measured["tasks"].values()]


def _accuracy(row: dict[str, Any] | None) -> str:
    """Mean ± sd in percent, and how many trials did not end well."""
    if row is None or row["accuracy"] is None:
        return f"{MISSING} ({row['reason']})" if row is not None and row["reason"] else MISSING
    lost = f" ({row['not_well']} did not end well)" if row["not_well"] else ""
    return f"{100 * row['accuracy'][0]:.1f} ± {100 * row['accuracy'][1]:.1f}{lost}"


def _section(name: str, measured: dict[str, Any]) -> Iterator[str]:
    """An entry: what it is, whence, its recurrence, what theory says, parity, and how it was trained."""
    about, source = about_and_source(stage_class(name).__doc__)
    source = source.partition("Source: ")[2].partition(" Args: ")[0] or source  # of a class, with formulas before it
    pipeline = parse(alone(name))
    part = next(part for part in recurrences(pipeline) if part.stage.name == name)
    yield from (f"## {name}", "", about, "", source, "", "```text", *part.lines, "```", "")
    yield f"- Stability: {stability(name)}"
    yield from (f"- Parity: {line}" for line in parity(name))
    rates = ", ".join(
        f"{task} at lr {row['lr']:.3g}{' (the edge of what was tried)' if row['on_edge'] else ''}"
        for task, one in measured["tasks"].items()
        if (row := one["rows"].get(name)) is not None and row["lr"] is not None
    )
    yield f"- Trained as `{trained(name)}`{': ' if rates else ''}{rates}"
    yield ""


def stability(name: str) -> str:
    """What theory says on a quadratic, or why nothing."""
    try:
        found = check_pipeline(parse(alone(name)))
        return " ".join([found["verdict"], *(f"Idealised: {note}." for note in found["notes"])])
    except EdslError as reason:
        return f"nothing is said, since {reason}"


def parity(name: str) -> list[str]:
    """The implementations that an entry was compared with, one in each line."""
    sys.path.insert(0, str(DOCS.parent / "tests" / "reference"))
    from zoo_references import REFERENCES

    sys.path.pop(0)
    found = []
    for one in REFERENCES:
        if any(stage.name == name for branch in parse(one.spec).branches.values() for stage in branch.stages):
            whose = f"`{one.package}`" if one.package else "a loop written from the paper"
            differs = f"; {'it' if one.package else 'which'} {one.differs}" if one.differs else ""
            found.append(f"`{one.spec}` steps as {whose}, within {one.bound:.0e}{differs}")
    return found or ["none yet"]


if __name__ == "__main__":
    main()
