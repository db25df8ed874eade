"""What a race says: one row for each optimizer, over its seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import mean, median, stdev
from typing import Any


@dataclass(frozen=True)
class Figure:
    """Mean and sample standard deviation over the trials that ended well; sd is None for one trial."""

    mean: float
    sd: float | None


@dataclass(frozen=True)
class Row:
    """One optimizer. Figures are None where no trial ended well.

    `regret_fired` is the share of steps at which q of Theorem 2 fell in some coordinate, and
    `regret_variation` NV/√T, both where the regret monitor watched.
    """

    spec: str
    ok: int
    diverged: int
    failed: int
    reasons: tuple[str, ...]
    train_loss: Figure | None
    test_loss: Figure | None
    test_accuracy: Figure | None
    step_ms: float | None
    optimizer_ms: float | None
    first_step_s: float | None
    state_bytes: float | None
    regret_fired: float | None
    regret_variation: float | None

    def record(self) -> dict[str, Any]:
        return asdict(self)


def summary(specs: Sequence[str], seeds: int, trials: Sequence[dict[str, Any]]) -> list[Row]:
    """The rows of a race, in the order of its specs; each planned trial counts once, others not at all."""
    once = {(trial["spec"], trial["seed"]): trial for trial in trials if trial["seed"] in range(seeds)}
    return [_row(spec, [trial for trial in once.values() if trial["spec"] == spec]) for spec in specs]


def _row(spec: str, trials: list[dict[str, Any]]) -> Row:
    well = [trial for trial in trials if trial["status"] == "ok"]

    def values(key: str) -> list[float]:
        return [trial[key] for trial in well if trial[key] is not None]

    def figure(key: str) -> Figure | None:
        found = values(key)
        return Figure(mean(found), stdev(found) if len(found) > 1 else None) if found else None

    def middle(key: str) -> float | None:
        return median(values(key)) if values(key) else None

    def watched(key: str) -> float | None:
        found = [trial["regret"][key] for trial in well if trial.get("regret")]
        return mean(found) if found else None

    return Row(
        spec=spec,
        ok=len(well),
        diverged=sum(trial["status"] == "diverged" for trial in trials),
        failed=sum(trial["status"] == "failed" for trial in trials),
        reasons=tuple(dict.fromkeys(trial["reason"] for trial in trials if trial["reason"])),
        train_loss=figure("train_loss"),
        test_loss=figure("test_loss"),
        test_accuracy=figure("test_accuracy"),
        step_ms=middle("step_ms"),
        optimizer_ms=middle("optimizer_ms"),
        first_step_s=max(values("first_step_s"), default=None),
        state_bytes=middle("state_bytes"),
        regret_fired=watched("fired"),
        regret_variation=watched("per_root"),
    )
