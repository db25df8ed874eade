"""Arguments and help of the commands that train, and of their reports; their work is in files of their names."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edsl.cli import completion
from edsl.cli.options import RACE, RUNNING, TRAINING, AsJson, Options, listed, spec_argument, takes
from edsl.lab.claims.catalogue import CLAIMS, LARGE


@takes(
    *("batches" if name == "batch" else name for name in RACE),
    *("scale_lr", "baseline", "no_controls", "monitor", "measures"),
)
def compare_command(
    options: Options,
    specs: Annotated[
        list[str] | None,
        spec_argument(
            "[TASK] SPEC…",
            "Optimizers, such as 'alto(lr=0.01)' or @FILE; a task may come first.",
            completion.entrants,
        ),
    ] = None,
) -> None:
    """Race optimizers on a task: each gets the same initial weights, batches and number of trials.

    Every metric has a confidence interval. Each optimizer with E also runs without E and as its linear twin.
    Several tasks (--task a,b) get one score; several batches (--batch 128,1024), steps and seconds to --targets at
    each. Stop with Ctrl-C; continue with --resume --out DIR.

    Example: edsl compare alto lamb adamw qhm --task mnist1d --batch 4096 --lr auto --seeds 5 --baseline lamb
    """
    from edsl.cli.compare import compare

    compare(options["task"], specs or [], options.settings, options.running)


@takes(*RACE, "baseline", "no_controls")
def suite_command(
    options: Options,
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="SUITE",
            autocompletion=completion.suites,
            help="Suite: small (a CPU), medium (a GPU), or lightbench; or tasks with commas, such as digits,cancer.",
        ),
    ] = None,
    specs: Annotated[
        list[str] | None,
        spec_argument("SPEC…", "Optimizers; the first is the baseline."),
    ] = None,
) -> None:
    """Race optimizers on a named set of tasks, with budgets and targets, and give each one score.

    The score is AlgoPerf's: the share of tasks on which an optimizer needs at most τ times the fastest's steps to the
    target, averaged over τ from 1 to 4. Options replace the suite's own. Stop with Ctrl-C; continue with --resume.

    Example: edsl suite small lamb alto adamw eadamw --no-controls --out runs/small
    """
    from edsl.cli.suite import suite

    suite(name, specs or [], options["task"], options.settings, options.running)


OneSpec = Annotated[
    list[str] | None,
    spec_argument(
        "[TASK] SPEC", "Spec, such as 'alto(lr=0.01)', or @FILE; the task may come first.", completion.entrants
    ),
]


@takes(*TRAINING, "measures", "as_json")
def train_command(
    options: Options,
    words: OneSpec = None,
    seed: Annotated[int, typer.Option(help="Seed of the initial weights and of the batch order.")] = 0,
    parallel: Annotated[
        str | None, typer.Option(help="Under torchrun: ddp (the default) replicates the model, fsdp shards it.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="File for the trial's record, as JSON.")] = None,
) -> None:
    """Train once with one optimizer: a single trial, on one process or under torchrun.

    Exit codes: 0 trained (a loss may have diverged), 1 the optimizer failed, 2 bad input.

    Example: torchrun --nproc-per-node 2 -m edsl.cli train alto --task digits --batch 1024 --parallel fsdp
    """
    from edsl.cli.train import train

    train(options["task"], words or [], seed, parallel, options.settings, options["as_json"], out)


@takes("targets")
def report_command(
    options: Options,
    folders: Annotated[list[Path], typer.Argument(metavar="DIR…", help="Folders of races, sweeps or ablations.")],
    to: Annotated[str, typer.Option(metavar="VIEWER,…", help="Also export the curves: tensorboard, wandb.")] = "",
    out: Annotated[Path | None, typer.Option("--out", help="Folder for the page; the first DIR by default.")] = None,
) -> None:
    """Report races: one HTML page, with figures and tables (PNG, SVG, CSV, Parquet) next to each record.

    Races of the same optimizers on several tasks also get a performance profile.

    Example: edsl report runs/a
    """
    from edsl.cli.report import report

    report(folders, options["targets"], listed(to), out)


@takes(*TRAINING, "seeds", *(name for name in RUNNING if name != "targets"), "no_controls")
def sharpness_command(
    options: Options,
    specs: Annotated[
        list[str] | None,
        spec_argument(
            "[TASK] SPEC…", "Optimizers; the first is the baseline. A task may come first.", completion.entrants
        ),
    ] = None,
    match_loss: Annotated[
        str, typer.Option(metavar="LOSS,…", help="Training losses at which to compare the runs.")
    ] = "1,0.3,0.1",
) -> None:
    """Measure sharpness and drift at matched training loss: the top Hessian eigenvalue, and ‖θ−θ₀‖.

    At equal steps, one optimizer may only be further along than the other. Ratios are to the first spec. The figure
    is written next to the record in --out. Stop with Ctrl-C; continue with --resume --out DIR.

    Example: edsl sharpness 'adam(lr=0.003)' 'eadam(lr=0.003, alpha=-50)' --task digits --batch 512 --out runs/sharp
    """
    from edsl.cli.sharpness import sharpness

    sharpness(options["task"], specs or [], match_loss, options.settings, options.running)


def reproduce_command(
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="NAME…",
            help=f"Claims: {', '.join(CLAIMS)}; or all, without {' and '.join(LARGE)}, which want a GPU and CIFAR-100.",
        ),
    ],
    quick: Annotated[bool, typer.Option("--quick", help="Few seeds and steps: a smoke test, not a result.")] = False,
    out: Annotated[Path, typer.Option("--out", help="Output folder, with one subfolder per claim.")] = Path(
        "runs/reproduce"
    ),
    as_json: AsJson = False,
) -> None:
    """Reproduce the paper's claims at small scale: the claim, our measurements with intervals, and a verdict.

    Trials already in the folder are not run again. Each verdict follows from the measurements by its stated rule.

    Example: edsl reproduce fig1
    """
    from edsl.cli.reproduce import reproduce

    reproduce(names, quick, out, as_json)


@takes(*RACE, "no_controls")
def sweep_command(
    options: Options,
    words: OneSpec = None,
    grid: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE,…", help="Values of a hyper-parameter; may be repeated.")
    ] = None,
) -> None:
    """Sweep hyper-parameters of one pipeline: every combination, compared with the pipeline without E.

    Invalid combinations are skipped, with the reason.

    Example: edsl sweep 'grad | e | lamb(lr=0.1)' --grid alpha=-5,-2,.5,5 --grid beta1=.01,.9,.99 --task digits
    """
    from edsl.cli.sweep import sweep

    sweep(words or [], options["task"], grid or [], options.settings, options.running)


@takes(*RACE)
def ablate_command(options: Options, words: OneSpec = None) -> None:
    """Ablate: race a pipeline against itself without each adaptor, wrapper, and switch of the paper's Table 7.

    Example: edsl ablate 'alto(lr=0.01)' --task digits --batch 1024
    """
    from edsl.cli.ablate import ablate

    ablate(words or [], options["task"], options.settings, options.running)


def new_command(
    kind: Annotated[str, typer.Argument(metavar="KIND", help="What to write: a stage, a rule or a task.")],
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the file: NAME.py, or NAME.edsl for a rule.")],
) -> None:
    """Write a file to begin with, and its test: a stage, a rule or a task of your own, which run as they are.

    Example: edsl new rule myrule, then: edsl show @myrule.edsl, and pytest test_myrule.py
    """
    from edsl.cli.new import new

    new(kind, name)
