"""The `edsl` command: parsing only. Each command's work is in the file of its name."""

from __future__ import annotations

import functools
import io
import os
import sys
import warnings
from pathlib import Path
from typing import Annotated, Any

import typer

from edsl.cli import analysis, completion
from edsl.cli.ctrl_c import heed_ctrl_c
from edsl.cli.options import (
    RACE,
    RUNNING,
    TRAINING,
    AsJson,
    OnceEach,
    Options,
    Spec,
    Specs,
    spec_argument,
    takes,
    words,
)
from edsl.errors import EdslError, Interrupted, printable

_INTERRUPTED = 130  # the exit code after Ctrl-C
_TAKES_NEGATIVE_NUMBERS = {"ignore_unknown_options": True, "help_option_names": ["-h", "--help"]}
_UsageError: Any = typer.BadParameter.__base__  # typer exports the class but not its base

app = typer.Typer(
    name="edsl",
    help="A language for designing optimizers: one line is compiled, analysed, costed and raced.",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

command = functools.partial(app.command, cls=OnceEach)


@command("compare")
@takes(*RACE, "baseline", "no_controls", "monitor", "measures")
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
    Stop with Ctrl-C; continue with --resume --out DIR.

    Example: edsl compare alto lamb adamw qhm --task mnist1d --batch 4096 --lr auto --seeds 5 --baseline lamb
    """
    from edsl.cli.compare import compare

    compare(options["task"], specs or [], options.settings, options.running)


@command("train")
@takes(*TRAINING, "measures", "as_json")
def train_command(
    options: Options,
    spec: Spec,
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

    train(options["task"], spec, seed, parallel, options.settings, options["as_json"], out)


@command("report")
@takes("target")
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

    report(folders, options["target"], words(to), out)


@command("sharpness")
@takes(*TRAINING, "seeds", *(name for name in RUNNING if name != "target"), "no_controls")
def sharpness_command(
    options: Options,
    specs: Annotated[list[str] | None, spec_argument("SPEC…", "Optimizers; the first is the baseline.")] = None,
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


@command("reproduce")
def reproduce_command(
    names: Annotated[
        list[str],
        typer.Argument(metavar="NAME…", help="Claims: fig1, fig3, fig5, fig8, table3, table7, appendix-a, or all."),
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


OneSpec = Annotated[str | None, spec_argument("SPEC", "Spec, such as 'alto(lr=0.01)', or @FILE.")]


@command("sweep")
@takes(*RACE, "no_controls")
def sweep_command(
    options: Options,
    spec: OneSpec = None,
    grid: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE,…", help="Values of a hyper-parameter; may be repeated.")
    ] = None,
) -> None:
    """Sweep hyper-parameters of one pipeline: every combination, compared with the pipeline without E.

    Invalid combinations are skipped, with the reason.

    Example: edsl sweep 'grad | e | lamb(lr=0.1)' --grid alpha=-5,-2,.5,5 --grid beta1=.01,.9,.99 --task digits
    """
    from edsl.cli.sweep import sweep

    sweep(spec, options["task"], grid or [], options.settings, options.running)


@command("ablate")
@takes(*RACE)
def ablate_command(options: Options, spec: OneSpec = None) -> None:
    """Ablate: race a pipeline against itself without each adaptor, wrapper, and switch of the paper's Table 7.

    Example: edsl ablate 'alto(lr=0.01)' --task digits --batch 1024
    """
    from edsl.cli.ablate import ablate

    ablate(spec, options["task"], options.settings, options.running)


command("show")(analysis.show_command)
command("fmt")(analysis.format_command)


Params = Annotated[
    str,
    typer.Option(
        metavar="SET|FILE.json",
        help="Parameters: gpt2, gpt2-medium, resnet20, resnet50, llama-1b, mlp, …; or a JSON file "
        '{"name": \\[size, …], …}.',
    ),
]


@command("plan")
def plan_command(
    specs: Specs,
    params: Params = "gpt2",
    dtype: Annotated[str, typer.Option(help="dtype of parameters and gradients: float32, bfloat16, ….")] = "float32",
    state_dtype: Annotated[
        str | None, typer.Option(help="dtype of all state; default: float32 for half-precision parameters.")
    ] = None,
    bandwidth: Annotated[
        float | None, typer.Option(metavar="GB/s", help="Memory bandwidth, for a lower bound on step time.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON, with the parameter names on each route.")
    ] = False,
) -> None:
    """Plan memory: state, temporaries and traffic of optimizers on a model, without allocating anything.

    State is exact, buffer by buffer; temporaries are an upper bound on what a step allocates, traffic a lower bound
    on what it must move. Routes and exclusions are decided by parameter name.

    Example: edsl plan alto emuon 'torch.AdamW(lr=0.001)' --params gpt2 --bandwidth 3350
    """
    from edsl.cli.plan import plan

    plan(specs, params, dtype, state_dtype, bandwidth, as_json)


@command("warm")
def warm_command(
    specs: Specs,
    params: Params = "gpt2",
    dtype: Annotated[str, typer.Option(help="dtype of parameters and gradients: float32, bfloat16, ….")] = "float32",
    device: Annotated[str, typer.Option(help="Device: cpu, cuda, …; auto uses cuda if available.")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Warm the caches on disk: compile optimizers for a model's parameters before a job needs them.

    Takes two steps with zero gradients on a few tensors of each kind. Compiled code goes to torch's cache and to
    edsl's, where the next process finds it; TORCHINDUCTOR_CACHE_DIR sets one folder for both.

    Example: edsl warm alto emuon --params gpt2
    """
    from edsl.cli.warm import warm

    warm(specs, params, dtype, device, as_json)


@command("list")
def list_command(
    zoo: Annotated[bool, typer.Option("--zoo", help="List the zoo: the literature's optimizers as rules.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List all stages with their arguments, all recipes and all tasks; or the zoo.

    Example: edsl list --zoo
    """
    from edsl.cli.catalogue import catalogue, zoo_catalogue

    (zoo_catalogue if zoo else catalogue)(as_json)


command("check-stability", context_settings=_TAKES_NEGATIVE_NUMBERS)(analysis.check_stability_command)
command("check-regret")(analysis.check_regret_command)
command("explain")(analysis.explain_command)
command("equivalent")(analysis.equivalent_command)
command("verify")(analysis.verify_command)


@command("bench")
def bench_command(
    specs: Annotated[list[str] | None, spec_argument("SPEC", "Optimizers, such as alto 'eadamw(lr=0.001)'.")] = None,
    params: Annotated[
        str,
        typer.Option(
            metavar="SET",
            help="Parameters: gpt2, gpt2-medium, resnet20, resnet50, mlp, llama-1b, tiny, heavyball; or a JSON file "
            '{"name": \\[size, …], …}.',
        ),
    ] = "mlp",
    against: Annotated[
        str, typer.Option(metavar="NAME,…", help="Other packages' optimizers, with their defaults: heavyball.NAME, ….")
    ] = "",
    dtype: Annotated[str, typer.Option(help="dtype: float32, float64, bfloat16 or float16.")] = "float32",
    device: Annotated[str, typer.Option(help="Device: cpu, cuda, cuda:1, …; auto uses cuda if available.")] = "auto",
    threads: Annotated[int, typer.Option(help="Number of CPU threads.")] = 1,
    steps: Annotated[int, typer.Option(help="Number of timed steps per optimizer, T of schedules.")] = 30,
    first_steps: Annotated[
        bool, typer.Option("--first-step/--no-first-step", help="Also time first steps, in fresh processes.")
    ] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON; progress goes to stderr.")] = False,
) -> None:
    """Benchmark optimizer steps: time relative to fused AdamW and to a copy, compilation, kernels, memory.

    All optimizers step in turn in one process, on random gradients without a model.
    Fused torch.AdamW and a plain copy of the bytes that it moves are always included.

    Example: edsl bench alto eadamw --params gpt2 --against torch.AdamW,heavyball.AdamW
    """
    from edsl.cli.bench import bench

    bench(specs, params, against, dtype, device, threads, steps, first_steps, as_json)


command("map")(analysis.map_command)
command("frequency")(analysis.frequency_command)
command("landscape")(analysis.landscape_command)


def version(value: bool) -> None:
    if value:
        from edsl import __version__

        typer.echo(f"edsl {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def common_options(
    context: typer.Context,
    plugin: Annotated[
        list[Path] | None, typer.Option(help="Python file with your own stages, which is executed; may be repeated.")
    ] = None,
    rules: Annotated[
        list[Path] | None, typer.Option(help="File or folder of rules (NAME.edsl), by whose names specs may call them.")
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", callback=version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    if plugin:
        from edsl.language.registry.plugins import load_plugin

        for path in plugin:
            load_plugin(path)
    for path in rules or ():
        from edsl.language.rules.texts import load_rules

        load_rules(path)
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def main() -> None:
    """Run the command line: one line on stderr and exit code 2 for bad input, 130 for Ctrl-C."""
    warnings.showwarning = _warn
    heed_ctrl_c()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without Greek shows ? for it
    if sys.stdout is None or sys.stderr is None:  # closed by the caller
        sys.exit(1)
    try:
        code = app(standalone_mode=False)
        message = "interrupted" if code == _INTERRUPTED else ""  # typer's own answer to Ctrl-C
        sys.stdout.flush()
    except EdslError as error:
        message, code = str(error), 2
    except _UsageError as error:
        message, code = f"{error.format_message().rstrip('.')}; see `{_command(error)} --help`", 2
    except Interrupted as stopped:
        message, code = str(stopped), _INTERRUPTED
    except (KeyboardInterrupt, typer.Abort):
        message, code = "interrupted", _INTERRUPTED
    except BrokenPipeError:  # the reader has gone, and needs no message
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        message, code = "", 1
    except OSError as reason:
        message, code = f"can't write the output: {reason.strerror or reason}", 1
    except Exception as reason:
        message, code = _of_a_stage(reason), 2
    if message:
        print(f"edsl: {printable(message)}", file=sys.stderr)
    sys.exit(code)


def _of_a_stage(reason: Exception) -> str:
    """What is wrong with a stage that somebody else wrote; any other error is edsl's own, and goes on."""
    from edsl.language.registry.blame import blamed

    found = blamed(reason)
    if found is None:
        raise reason
    return str(found)


def _command(error: Any) -> str:
    return error.ctx.command_path if error.ctx is not None else "edsl"


def _warn(message: Warning | str, category: type[Warning], *_: object) -> None:
    from edsl.errors import EdslWarning

    if issubclass(category, EdslWarning):
        print(f"warning: {printable(str(message))}", file=sys.stderr)
