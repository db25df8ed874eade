"""Arguments and help of the commands that analyse specs and train no task; their work is in files of their names."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edsl.cli import completion
from edsl.cli.options import AsJson, Spec, Specs, spec_argument, spec_text

Delay = Annotated[
    int | None, typer.Option(metavar="STEPS", help="Age of the gradients, as in asynchronous or pipelined training.")
]
BatchNoise = Annotated[
    float | None,
    typer.Option(metavar="C", help="Deviation of a batch's curvature over its mean, for stability in mean square."),
]
Batch = Annotated[int | None, typer.Option(help="Examples per batch, instead of --batch-noise; needs --noise-scale.")]
NoiseScale = Annotated[
    float | None,
    typer.Option(help="Noise scale in examples, as `edsl train --measure curvature-noise` or noise gives it."),
]
AtStep = Annotated[
    int | None, typer.Option(help="Step whose scheduled values are taken; default: the largest value of each.")
]
Out = Annotated[Path, typer.Option(help="Figure to write: .png, .svg or .pdf.")]


def show_command(
    spec: Spec,
    params: Annotated[
        str,
        typer.Option(
            metavar="SET|FILE.json", help="Also by which path each of these parameters steps here: gpt2, resnet50, …"
        ),
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show what a spec means: its canonical text, stages, cost and recurrences.

    Example: edsl show 'grad | e | lamb(lr=0.01)'
    """
    from edsl.cli.show import show

    show(spec, params, as_json)


def format_command(
    files: Annotated[list[Path], typer.Argument(metavar="FILE…", help="Files with rules, a pipeline, or both.")],
    write: Annotated[bool, typer.Option("--write", help="Replace each file by its canonical text.")] = False,
) -> None:
    """Print the canonical text of a file: its rules, the called before the callers, and its pipeline.

    Comments and docstrings are no part of it.

    Example: edsl fmt mine.edsl
    """
    from edsl.cli.format import format_files

    format_files(files, write)


def check_stability_command(
    alpha: Annotated[str | None, typer.Argument(metavar="ALPHA", help="E's strength, such as -5.")] = None,
    beta1: Annotated[str | None, typer.Argument(metavar="BETA1", help="E's decay in [0, 1), such as 0.99.")] = None,
    spec: Annotated[
        str | None,
        typer.Option(
            callback=spec_text,
            autocompletion=completion.specs,
            help="Any linear pipeline, instead of ALPHA BETA1; or @FILE.",
        ),
    ] = None,
    beta2: Annotated[float | None, typer.Option(help="Momentum decay in [0, 1); default: 0.9.")] = None,
    momentum: Annotated[
        str | None, typer.Option(help="Momentum: ema (as in Adam and Lamb; the default) or sum (as in E-SGD).")
    ] = None,
    lr: Annotated[float | None, typer.Option(help="Learning rate; needs --curvature.")] = None,
    curvature: Annotated[
        str | None, typer.Option(metavar="LOW:HIGH", help="Range of f″; for Adam, of the preconditioned f″.")
    ] = None,
    step: AtStep = None,
    delay: Delay = None,
    batch_noise: BatchNoise = None,
    batch: Batch = None,
    noise_scale: NoiseScale = None,
    as_json: AsJson = False,
) -> None:
    """Check convergence on a quadratic: the paper's bounds, the ODE's, and the exact condition.

    Stable means that every curvature in (0, HIGH] converges. Without --lr and
    --curvature, it means that some lr converges and |alpha| is within the paper's bound.
    With noise it means that θ² decays on average.

    Exit codes: 0 stable, 1 not stable, 2 bad input.

    Example: edsl check-stability -5 0.99 --lr 0.01 --curvature -1:100
    Example: edsl check-stability --spec eadam --delay 1 --batch 256 --noise-scale 2000
    """
    from edsl.cli.check_stability import check_stability
    from edsl.cli.gradients import Noise

    noise = Noise(delay, batch_noise, batch, noise_scale)
    check_stability(alpha, beta1, spec, beta2, momentum, lr, curvature, as_json, step, noise)


def certify_command(
    spec: Spec,
    condition: Annotated[
        float, typer.Option(metavar="KAPPA", help="Condition κ = L/m above 1: the largest curvature over the least.")
    ],
    smoothness: Annotated[float, typer.Option(metavar="L", help="Largest curvature L, at which the verdict is.")] = 1.0,
    run: Annotated[
        bool, typer.Option("--run", help="Step the compiled optimizer on the function on which it cycles.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="Figure of certified rates and of the cycle: .png, .svg or .pdf.")
    ] = None,
    step: AtStep = None,
    as_json: AsJson = False,
) -> None:
    """Certify step sizes for every smooth strongly convex function, or show one on which the pipeline cycles for ever.

    Stability on quadratics is not enough for them: this searches a certificate (weighted off-by-one condition),
    and cycles of up to 60 steps. All in s = lr · L. The verdict is at the spec's own lr and --smoothness.

    Exit codes: 0 certified, 1 a cycle found or unproven, 2 bad input.

    Example: edsl certify "grad | e(alpha=-50) | sgd(momentum=0.9, average='ema')" --condition 1000
    """
    from edsl.cli.certify import certify

    certify(spec, condition, smoothness, run, out, as_json, step)


def design_command(
    spec: Spec,
    spectrum: Annotated[
        str | None, typer.Option(metavar="LOW:HIGH", help="Curvatures for which it shall be fast, above 0.")
    ] = None,
    of: Annotated[
        str,
        typer.Option(
            help="What is made smallest: rate (on quadratics, the default) or certified (the rate that holds for every "
            "f of these curvatures)."
        ),
    ] = "rate",
    condition: Annotated[
        float | None, typer.Option(metavar="KAPPA", help="Instead of --spectrum: curvatures from 1/KAPPA to 1.")
    ] = None,
    over: Annotated[
        str, typer.Option(metavar="NAME,…", help="Hyper-parameters to choose; default: all that matter but decay.")
    ] = "",
    delay: Delay = None,
    batch_noise: BatchNoise = None,
    batch: Batch = None,
    noise_scale: NoiseScale = None,
    out: Annotated[Path | None, typer.Option(help="Figure of the rates: .png, .svg or .pdf.")] = None,
    step: AtStep = None,
    as_json: AsJson = False,
) -> None:
    """Design: search the hyper-parameters whose worst rate over a spectrum of curvatures is best, with and without E.

    With noise rates are of √E‖θ‖².
    Exit codes: 0 found, 1 nothing found that converges, 2 bad input.

    Example: edsl design esgd --spectrum 0.01:10 --delay 1
    Example: edsl design esgd --of certified --condition 1000
    """
    from edsl.cli.design import Sought, design
    from edsl.cli.gradients import Noise

    noise = Noise(delay, batch_noise, batch, noise_scale)
    design(spec, Sought(of, spectrum, condition), over, noise, out, as_json, step)


def check_regret_command(
    beta2: Annotated[float | None, typer.Option(help="Decay of the first moment; default: the spec's.")] = None,
    beta3: Annotated[float | None, typer.Option(help="Decay of the second moment; default: the spec's.")] = None,
    spec: Annotated[
        str | None,
        typer.Option(
            callback=spec_text, autocompletion=completion.specs, help="Pipeline with two moments; default: alto."
        ),
    ] = None,
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


def explain_command(
    spec: Spec,
    latex: Annotated[bool, typer.Option("--latex", help="Print the recurrences as LaTeX.")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print everything as Markdown.")] = False,
    step: AtStep = None,
    as_json: AsJson = False,
) -> None:
    """Explain a spec: recurrences, transfer function, gains, stability, equivalent known methods.

    Example: edsl explain 'grad | e(alpha=-9, beta1=0.9) | sgd(lr=0.1)'
    """
    from edsl.cli.explain import explain

    explain(spec, latex, markdown, as_json, step)


def equivalent_command(
    first: Annotated[str, spec_argument("SPEC", "First pipeline, or @FILE.")],
    second: Annotated[str, spec_argument("SPEC", "Second pipeline, or @FILE.")],
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


def verify_command(
    spec: Spec,
    against: Annotated[
        str,
        typer.Option(
            metavar="SPEC",
            callback=spec_text,
            autocompletion=completion.specs,
            help="Optimizer to compare with, such as 'torch.AdamW(lr=0.001)'.",
        ),
    ],
    steps: Annotated[int, typer.Option(help="Number of steps to compare, T of schedules.")] = 50,
    tolerance: Annotated[float, typer.Option(help="Largest |a − b| / max(1, |a|) that counts as equal.")] = 1e-10,
    seed: Annotated[int, typer.Option(help="Seed of the network's weights and the batches.")] = 0,
    mode: Annotated[str, typer.Option(help="Mode: eager, compiled (as in training) or inductor.")] = "eager",
    as_json: AsJson = False,
) -> None:
    """Verify that two specs take the same steps: one small network, the same batches, float64.

    Prints the largest difference, or the first step and tensor where they diverge.
    Exit codes: 0 equal, 1 different, 2 bad input.

    Example: edsl verify 'adamw(lr=0.001)' --against 'torch.AdamW(lr=0.001)'
    """
    from edsl.cli.verify import verify

    verify(spec, against, steps, tolerance, seed, mode, as_json)


def map_command(
    spec: Spec,
    out: Out,
    x: Annotated[
        str | None, typer.Option(metavar="NAME=LOW:HIGH", help="Horizontal axis; default with E: alpha=-100:100.")
    ] = None,
    y: Annotated[
        str | None, typer.Option(metavar="NAME=LOW:HIGH", help="Vertical axis; default with E: beta1=0:0.999.")
    ] = None,
    curvature: Annotated[
        float | None, typer.Option(help="Curvature in the left panel, above 0; default: 1/lr.")
    ] = None,
    of: Annotated[
        str,
        typer.Option(
            help="What to draw: stability, certified (needs --condition), delay (--delay), batch (--batch-noise) or "
            "rate (--spectrum)."
        ),
    ] = "stability",
    condition: Annotated[float | None, typer.Option(metavar="KAPPA", help="Condition L/m of the functions.")] = None,
    delay: Delay = None,
    batch_noise: BatchNoise = None,
    batch: Batch = None,
    noise_scale: NoiseScale = None,
    spectrum: Annotated[str | None, typer.Option(metavar="LOW:HIGH", help="Curvatures of the worst rate.")] = None,
    step: AtStep = None,
) -> None:
    """Plot what is stable, certified or fast over two hyper-parameters, with the paper's bound.

    The default has two panels: spectral radius at one curvature, and stable sharpness.

    Example: edsl map esgd --x alpha=-100:100 --y beta1=0:0.999 --out map.png
    Example: edsl map esgd --of certified --condition 1000 --out certified.png
    """
    from edsl.cli.gradients import Noise
    from edsl.cli.plots import Asked, draw_map

    noise = Noise(delay, batch_noise, batch, noise_scale)
    draw_map(spec, x, y, curvature, out, Asked(of, noise, condition, spectrum), step)


def frequency_command(spec: Spec, out: Out, step: AtStep = None) -> None:
    """Plot gain and phase over frequency, and poles and zeros.

    Example: edsl frequency 'grad | e | adam' --out bode.png
    """
    from edsl.cli.plots import frequency

    frequency(spec, out, step)


def landscape_command(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Function: cardioid, rosenbrock, f1 or f2.")],
    specs: Specs,
    out: Out,
    starts: Annotated[int | None, typer.Option(help="Number of starting points in the plane; default: 20.")] = None,
    steps: Annotated[int, typer.Option(help="Number of steps per run, in float64; T of schedules.")] = 4000,
    seed: Annotated[int | None, typer.Option(help="Seed of the starting points in the plane; default: 0.")] = None,
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
