"""`edsl map` and `edsl frequency`: pictures of a pipeline's mathematics."""

from __future__ import annotations

from pathlib import Path

from edsl.cli.numbers import read_axis
from edsl.cli.render.page import print_note
from edsl.errors import EdslError, nearest
from edsl.spec import parse

POINTS = 200  # along each axis of a map


def stability_map(spec: str, x: str, y: str, curvature: float | None, out: Path) -> None:
    """Draw spectral radius and stable sharpness over two hyper-parameters."""
    import numpy as np

    from edsl.theory.linearise import linearise
    from edsl.theory.maps import radius_map, sharpness_map
    from edsl.theory.plot import save_map

    pipeline = parse(spec)
    axes = read_axis(x, "--x"), read_axis(y, "--y")
    names = (axes[0][0], axes[1][0])
    system = linearise(pipeline)
    for name in names:
        if name not in pipeline.hyperparameters:
            raise EdslError(f"unknown hyper-parameter {name!r}; {nearest(name, pipeline.hyperparameters, 'it has')}")
    if names[0] == names[1]:
        raise EdslError(f"--x and --y must be two hyper-parameters, got {names[0]} twice")
    for name, low, high in axes:
        if name.rpartition(".")[2].startswith(("beta", "momentum")) and not (low >= 0 and high < 1):
            raise EdslError(f"{name} must lie in [0, 1), got {low:g}:{high:g}")
    lr = float(pipeline.hyperparameters.get("lr", 1.0))
    if curvature is None:
        if lr == 0:
            raise EdslError("lr is 0: nothing moves; give an lr above 0")
        curvature = 1 / lr
    grid = [np.linspace(low, high, POINTS) for _, low, high in axes]
    radius = radius_map(system, names, *grid, h=curvature)
    sharpness = sharpness_map(system, names, *grid)
    save_map(out, str(pipeline), names, (grid[0], grid[1]), radius, sharpness, curvature, lr)
    for remark in system.notes:
        print_note(remark)
    print_note(f"drawn: {out}")


def frequency(spec: str, out: Path) -> None:
    """Draw gain, phase, poles and zeros of the adaptors, and of the whole pipeline per unit of lr."""
    from edsl.theory.filter import adaptor_filter, update_filter
    from edsl.theory.plot import save_bode

    pipeline = parse(spec)
    filters = {"adaptors, g → u": adaptor_filter(pipeline)}
    try:
        unit = pipeline.override(lr=1.0) if "lr" in pipeline.hyperparameters else pipeline
        filters["whole, g → −Δθ/lr"] = update_filter(unit)
    except EdslError as reason:
        print_note(f"the adaptors alone: {reason}")
    save_bode(out, str(pipeline), filters)
    print_note(f"drawn: {out}")
