"""A race's curves for the viewers that people have open already: TensorBoard, Weights & Biases."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from edsl.errors import EdslError, brief, nearest, shown
from edsl.lab.races.race import TUNING_SEEDS_FROM, Race
from edsl.lab.results.results import Results


def runs(race: Race, found: Results, finished: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The final trials, each under "OPTIMIZER/seed-N"."""
    names = {row.spec: row.name for row in found.rows}
    for trial in finished:
        if trial["spec"] in names and trial["seed"] < min(race.seeds, TUNING_SEEDS_FROM):
            yield f"{names[trial['spec']].replace('/', '-')}/seed-{trial['seed']}", trial


def scalars(trial: Mapping[str, Any]) -> Iterator[tuple[int, dict[str, float]]]:
    """(step, values by name) of a trial, in the order of its steps."""
    points: dict[int, dict[str, float]] = {}
    for point in trial["checkpoints"]:
        values = {name: point[name] for name in ("loss", "validation_loss", "accuracy", "seconds", "evaluations")}
        points.setdefault(point["steps"], {}).update(values)
    for point in trial["measured"]:
        points.setdefault(point["step"], {}).update({k: v for k, v in point.items() if k != "step"})
    for step in sorted(points):
        yield step, {name: value for name, value in points[step].items() if value is not None}


def tensorboard(race: Race, found: Results, finished: Sequence[Mapping[str, Any]], folder: Path) -> str:
    """Event files under FOLDER/tensorboard; raises EdslError where TensorBoard is missing."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise EdslError("TensorBoard is not installed: pip install 'edsl-optim[sinks]'") from None
    place = folder / "tensorboard"
    for name, trial in runs(race, found, finished):
        with SummaryWriter(str(place / name)) as writer:
            for step, values in scalars(trial):
                for scalar, value in values.items():
                    writer.add_scalar(scalar, value, step)
    return f"tensorboard --logdir {place}"


def wandb(race: Race, found: Results, finished: Sequence[Mapping[str, Any]], folder: Path) -> str:
    """One run of Weights & Biases for each final trial, in one group; WANDB_MODE=offline keeps them here.

    Raises:
        EdslError: where the package is missing.
    """
    try:
        import wandb as package
    except ImportError:
        raise EdslError("Weights & Biases is not installed: pip install 'edsl-optim[sinks]'") from None
    for name, trial in runs(race, found, finished):
        configuration = {**race.configuration(), "spec": trial["spec"], "seed": trial["seed"]}
        settings = package.Settings(silent=True)
        with package.init(
            project="edsl", group=folder.name, name=name, config=configuration, dir=str(folder), settings=settings
        ) as logged:
            for step, values in scalars(trial):
                logged.log(values, step=step)
    return f"runs of the group {folder.name} in the project edsl"


SINKS: dict[str, Callable[..., str]] = {"tensorboard": tensorboard, "wandb": wandb}


def sink(name: str) -> Callable[..., str]:
    """The function (race, results, trials, folder) → where to look; raises EdslError for an unknown name."""
    if name not in SINKS:
        raise EdslError(f"unknown viewer {shown(name)}; {nearest(name, SINKS, 'viewers')}")

    def export(race: Race, found: Results, finished: Sequence[Mapping[str, Any]], folder: Path) -> str:
        try:
            return SINKS[name](race, found, finished, folder)
        except EdslError:
            raise
        except Exception as reason:  # another package may raise anything: no key, no network, a full disk
            raise EdslError(f"{name} failed: {brief(reason)}; the report itself is written") from None

    return export
