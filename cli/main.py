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

from edsl.cli.options import RACE, RUNNING, TRAINING, OnceEach, Options, takes, words
from edsl.errors import EdslError, Interrupted, printable

_INTERRUPTED = 130  # the exit code after Ctrl-C
_UsageError: Any = typer.BadParameter.__base__  # typer exports the class but not its base

app = typer.Typer(
    name="edsl",
    help="A language for designing optimizers: one line is compiled, analysed, costed and raced.",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

command = functools.partial(app.command, cls=OnceEach)

Spec = Annotated[str, typer.Argument(metavar="SPEC", help="Spec, such as 'grad | e | lamb(lr=0.01)'.")]


AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Specs = Annotated[list[str], typer.Argument(metavar="SPEC", help="Optimizers, such as 'alto(lr=0.01)'.")]


@command("compare")
@takes(*RACE, "baseline", "no_controls", "monitor", "measures")
def compare_command(
    options: Options,
    specs: Annotated[
        list[str] | None,
        typer.Argument(metavar="[TASK] SPEC…", help="Optimizers, such as 'alto(lr=0.01)'; a task may come first."),
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
    parallel: Annotated[str, typer.Option(help="Under torchrun: ddp replicates the model, fsdp shards it.")] = "ddp",
    out: Annotated[Path | None, typer.Option("--out", help="File for the trial's record, as JSON.")] = None,
) -> None:
    """Train once with one optimizer: a single trial, on one process or under torchrun.

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
    specs: Annotated[
        list[str] | None, typer.Argument(metavar="SPEC…", help="Optimizers; the first is the baseline.")
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


OneSpec = Annotated[str | None, typer.Argument(metavar="SPEC", help="Spec, such as 'alto(lr=0.01)'.")]


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


@command("show")
def show_command(
    spec: Spec,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show what a spec means: its canonical text, stages, cost and recurrences.

    Example: edsl show 'grad | e | lamb(lr=0.01)'
    """
    from edsl.cli.show import show

    show(spec, as_json)


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
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List all stages with their arguments, all recipes and all tasks."""
    from edsl.cli.catalogue import catalogue

    catalogue(as_json)


_TAKES_NEGATIVE_NUMBERS = {"ignore_unknown_options": True, "help_option_names": ["-h", "--help"]}
Out = Annotated[Path, typer.Option(help="Figure to write: .png, .svg or .pdf.")]


@command("check-stability", context_settings=_TAKES_NEGATIVE_NUMBERS)
def check_stability_command(
    alpha: Annotated[str | None, typer.Argument(metavar="ALPHA", help="E's strength, such as -5.")] = None,
    beta1: Annotated[str | None, typer.Argument(metavar="BETA1", help="E's decay in [0, 1), such as 0.99.")] = None,
    spec: Annotated[str | None, typer.Option(help="Any linear pipeline, instead of ALPHA BETA1.")] = None,
    beta2: Annotated[float, typer.Option(help="Momentum decay in [0, 1).")] = 0.9,
    momentum: Annotated[str, typer.Option(help="Momentum: ema (as in Adam and Lamb) or sum (as in E-SGD).")] = "ema",
    lr: Annotated[float | None, typer.Option(help="Learning rate; needs --curvature.")] = None,
    curvature: Annotated[
        str | None, typer.Option(metavar="LOW:HIGH", help="Range of f″; for Adam, of the preconditioned f″.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check convergence on a quadratic: the paper's bounds, the ODE's, and the exact condition.

    Stable means that every curvature in (0, HIGH] converges. Without --lr and
    --curvature, it means that some lr converges and |alpha| is within the paper's bound.

    Exit codes: 0 stable, 1 not stable, 2 bad input.

    Example: edsl check-stability -5 0.99 --lr 0.01 --curvature -1:100
    """
    from edsl.cli.check_stability import check_stability

    check_stability(alpha, beta1, spec, beta2, momentum, lr, curvature, as_json)


@command("check-regret")
def check_regret_command(
    beta2: Annotated[float | None, typer.Option(help="Decay of the first moment; default: the spec's.")] = None,
    beta3: Annotated[float | None, typer.Option(help="Decay of the second moment; default: the spec's.")] = None,
    spec: Annotated[str | None, typer.Option(help="Pipeline with two moments; default: alto.")] = None,
    lr_schedule: Annotated[str | None, typer.Option(help="Factor on lr, a formula in k; default: 1/sqrt(k).")] = None,
    alpha_schedule: Annotated[
        str | None, typer.Option(help="Factor on alpha, a formula in k; default: 1/sqrt(k).")
    ] = None,
    decay_schedule: Annotated[
        str | None, typer.Option(help="Factor on weight decay, a formula in k; default: 1/sqrt(k).")
    ] = None,
    gradient_bound: Annotated[float, typer.Option(help="G∞, a bound on all gradient entries, for Theorem 1.")] = 1.0,
    as_json: AsJson = False,
) -> None:
    """Check the conditions of the paper's Theorems 2 (convex regret) and 1 (non-convex rate).

    Exit codes: 0 if every condition of Theorem 2 on hyper-parameters and schedules holds, 1 if not, 2 bad input.

    Example: edsl check-regret --beta2 0.9 --beta3 0.99 --lr-schedule '1/sqrt(k)'
    """
    from edsl.cli.check_regret import check_regret

    check_regret(beta2, beta3, spec, lr_schedule, alpha_schedule, decay_schedule, gradient_bound, as_json)


@command("explain")
def explain_command(
    spec: Spec,
    latex: Annotated[bool, typer.Option("--latex", help="Print the recurrences as LaTeX.")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print everything as Markdown.")] = False,
    as_json: AsJson = False,
) -> None:
    """Explain a spec: recurrences, transfer function, gains, stability, equivalent known methods.

    Example: edsl explain 'grad | e(alpha=-9, beta1=0.9) | sgd(lr=0.1)'
    """
    from edsl.cli.explain import explain

    explain(spec, latex, markdown, as_json)


@command("equivalent")
def equivalent_command(
    first: Annotated[str, typer.Argument(metavar="SPEC", help="First pipeline.")],
    second: Annotated[str, typer.Argument(metavar="SPEC", help="Second pipeline.")],
    as_json: AsJson = False,
) -> None:
    """Check whether two specs take the same steps: equal, equal in the linear part only, or different.

    Compares the recurrences, then runs in float64. For the linear part it
    lists what a linear model ignores; for different specs it shows where they
    differ and searches for hyper-parameters of the second that match the first.
    Exit codes: 0 equal, 3 linear part only, 1 different, 2 bad input.

    Example: edsl equivalent 'sgd(lr=0.1, momentum=0.9)' 'grad | e | sgd'
    """
    from edsl.cli.equivalent import equivalent

    equivalent(first, second, as_json)


@command("verify")
def verify_command(
    spec: Spec,
    against: Annotated[
        str, typer.Option(metavar="SPEC", help="Optimizer to compare with, such as 'torch.AdamW(lr=0.001)'.")
    ],
    steps: Annotated[int, typer.Option(help="Number of steps to compare.")] = 50,
    tolerance: Annotated[float, typer.Option(help="Largest |a − b| / max(1, |a|) that counts as equal.")] = 1e-10,
    seed: Annotated[int, typer.Option(help="Seed of the network's weights and the batches.")] = 0,
    mode: Annotated[str, typer.Option(help="Mode: eager, or compiled (as in training).")] = "eager",
    as_json: AsJson = False,
) -> None:
    """Verify that two specs take the same steps: one small network, the same batches, float64.

    Prints the largest difference, or the first step and tensor where they diverge.
    Exit codes: 0 equal, 1 different, 2 bad input.

    Example: edsl verify 'adamw(lr=0.001)' --against 'torch.AdamW(lr=0.001)'
    """
    from edsl.cli.verify import verify

    verify(spec, against, steps, tolerance, seed, mode, as_json)


@command("bench")
def bench_command(
    specs: Annotated[
        list[str] | None, typer.Argument(metavar="SPEC", help="Optimizers, such as alto 'eadamw(lr=0.001)'.")
    ] = None,
    params: Annotated[
        str,
        typer.Option(
            metavar="SET",
            help="Parameters: gpt2, gpt2-medium, resnet20, resnet50, mlp, llama-1b, tiny, heavyball; or a JSON file "
            '{"name": \\[size, …], …}.',
        ),
    ] = "mlp",
    against: Annotated[
        str,
        typer.Option(
            metavar="NAME,…",
            help="Other packages' optimizers, with their defaults: torch.NAME, torch_optimizer.NAME, "
            "pytorch_optimizer.NAME, heavyball.NAME.",
        ),
    ] = "",
    dtype: Annotated[str, typer.Option(help="dtype: float32, float64, bfloat16 or float16.")] = "float32",
    device: Annotated[str, typer.Option(help="Device: cpu, cuda, cuda:1, …; auto uses cuda if available.")] = "auto",
    threads: Annotated[int, typer.Option(help="Number of CPU threads.")] = 1,
    steps: Annotated[int, typer.Option(help="Number of timed steps per optimizer.")] = 30,
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


@command("map")
def map_command(
    spec: Spec,
    out: Out,
    x: Annotated[str, typer.Option(metavar="NAME=LOW:HIGH", help="Horizontal axis.")] = "alpha=-100:100",
    y: Annotated[str, typer.Option(metavar="NAME=LOW:HIGH", help="Vertical axis.")] = "beta1=0:0.999",
    curvature: Annotated[float | None, typer.Option(help="Curvature in the left panel; default: 1/lr.")] = None,
) -> None:
    """Plot spectral radius and stable sharpness over two hyper-parameters, with the paper's bound.

    Example: edsl map esgd --x alpha=-100:100 --y beta1=0:0.999 --out map.png
    """
    from edsl.cli.plots import stability_map

    stability_map(spec, x, y, curvature, out)


@command("frequency")
def frequency_command(spec: Spec, out: Out) -> None:
    """Plot gain and phase over frequency, and poles and zeros.

    Example: edsl frequency 'grad | e | adam' --out bode.png
    """
    from edsl.cli.plots import frequency

    frequency(spec, out)


@command("landscape")
def landscape_command(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Function: cardioid, rosenbrock, f1 or f2.")],
    specs: Specs,
    out: Out,
    starts: Annotated[int | None, typer.Option(help="Number of starting points in the plane; default: 20.")] = None,
    steps: Annotated[int, typer.Option(help="Number of steps per run, in float64.")] = 4000,
    seed: Annotated[int, typer.Option(help="Seed of the starting points.")] = 0,
    controls: Annotated[
        bool,
        typer.Option(
            "--controls/--no-controls", help="Run each spec with E also without E, and with an equally slow momentum."
        ),
    ] = True,
    as_json: AsJson = False,
) -> None:
    """Run optimizers on a function with valleys or several minima; measure and plot how far they explore.

    In the plane (cardioid, rosenbrock), from many starting points; on a line (f1, f2), at 51 learning rates.

    Example: edsl landscape cardioid 'adam(lr=0.01)' 'grad | e(alpha=-90) | adam(lr=0.01)' --out valley.png
    """
    from edsl.cli.landscape import landscape

    landscape(name, specs, starts, steps, seed, controls, as_json, out)


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
    version: Annotated[
        bool, typer.Option("--version", callback=version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    if plugin:
        from edsl.language.registry.plugins import load_plugin

        for path in plugin:
            load_plugin(path)
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def main() -> None:
    """Run the command line: one line on stderr and exit code 2 for bad input, 130 for Ctrl-C."""
    warnings.showwarning = _warn
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
