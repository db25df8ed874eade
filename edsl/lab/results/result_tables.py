"""The two tables that a race is read by, as texts: what came out, and what it cost.

The terminal and the page show these; a title's line break is where a narrow column may break it.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass

from edsl.lab.races.race import Race, shown_value
from edsl.lab.results.results import FINAL, Figure, ResultRow, Results
from edsl.lab.results.statistics import FEWEST, FEWEST_RANKED, ConfidenceInterval
from edsl.lab.results.targets import Reached, metric_text
from edsl.lab.trials.trial import CHECKPOINTS

MISSING = "–"
FAMILY_WISE = "family-wise\n(Holm)"
WORDS = ("verdict", FAMILY_WISE)  # columns of words, which may be broken
UNITS = {"accuracy": "accuracy, %", "loss": "test loss", "train": "train loss"}  # of a metric, in a title


@dataclass(frozen=True)
class Line:
    """One optimizer's cells, without its name.

    Attributes:
        ended: how many of its trials diverged or failed, in words; empty for none.
    """

    name: str
    control: bool
    ended: str
    cells: tuple[str, ...]


@dataclass(frozen=True)
class ResultTable:
    """Titles of the columns after the optimizer's, and a line for each optimizer."""

    titles: tuple[str, ...]
    lines: tuple[Line, ...]


def outcomes(race: Race, found: Results) -> ResultTable:
    """Losses and accuracy, and the difference to the baseline with its interval and verdict."""
    return _table(found, dict(_outcomes(race, found)))


def costs(race: Race, found: Results) -> ResultTable:
    """What each optimizer took: to the target, a step, in memory; and what was measured on the way."""
    return _table(found, dict(_costs(race, found)))


def summary(race: Race, found: Results) -> ResultTable:
    """What decides, beside the learning rate: the metric, its difference to the baseline, the interval, the verdict."""
    rows, scale = found.rows, metric_scale(race)
    columns: dict[str, list[str]] = {}
    if race.tuning.tuner:
        columns[_tuned_title(race).replace("\n", " ") if race.tuning.space else "lr"] = [_rates(row) for row in rows]
    columns[UNITS[race.metric]] = [figure_text(getattr(row, FINAL[race.metric]), scale) for row in rows]
    if len(rows) > 1:
        differences = [difference_texts(_to_baseline(race, row), scale) for row in rows]
        columns["− baseline’s"] = [mean for mean, _ in differences]
        columns["95 % interval"] = [between for _, between in differences]
        judged = _family_wise if found.verdicts > 1 else _verdict
        said = [_verdict(race, row) if row.name == race.baseline else judged(race, row) for row in rows]
        columns["verdict"] = [word.partition(":")[0] for word in said]  # why is said in the sentences
    return _table(found, columns)


NARROWEST = 20  # columns of names beside figures; with fewer they stand above


def as_text(table: ResultTable, width: int = 80, head: str = "optimizer") -> str:
    """A table as plain text: names are folded, or stand above their figures, so that it fits the width where it can.

    Args:
        head: what the names are of.
    """
    names = [line.name + (f"  {line.ended}" if line.ended else "") for line in table.lines]
    columns = list(zip(table.titles, *(line.cells for line in table.lines), strict=True))
    widths = [max(map(len, column)) for column in columns]
    longest = max(map(len, (head, *names)))
    room = min(longest, width - sum(widths) - 2 * len(widths))
    beside = room >= min(longest, NARROWEST)
    said = []
    for name, cells in zip((head, *names), (table.titles, *(line.cells for line in table.lines)), strict=True):
        first, *folded = textwrap.wrap(name, room if beside else width) or [""]
        figures = "  ".join(cell.rjust(wide) for cell, wide in zip(cells, widths))
        if beside:
            said += [f"{first.ljust(room)}  {figures}", *(f"  {rest}" for rest in folded)]
        else:
            said += [first, *folded, f"  {figures}"]
    return "\n".join(line.rstrip() for line in said)


def rest(race: Race, found: Results) -> ResultTable:
    """What `outcomes` shows and `summary` doesn't: the other losses, and the metric at the spec's own values."""
    shown = {_tuned_title(race), "95 % interval", "verdict", FAMILY_WISE, f"{UNITS[race.metric]}\n− baseline’s"}
    own = {"accuracy": "test\naccuracy, %", "loss": "test\nloss", "train": "training\nloss"}[race.metric]
    return _table(found, {title: cells for title, cells in _outcomes(race, found) if title not in shown | {own}})


def target_text(race: Race, found: Results) -> str:
    """What `steps to target` counts to, and what the seconds are of."""
    times = "Times are medians, the optimizer’s part within the step’s; trials side by side disturb each other’s."
    if not found.targets:
        return times
    whose = "" if race.metric == "train" else "validation "
    aims = ", ".join(metric_text(race, target) for target in found.targets)
    return (
        f"Target{'s' * (len(found.targets) > 1)}: {whose}{race.metric} {aims}, read at {CHECKPOINTS} points of each "
        "trial; seconds to a target are of training, the first step’s compilation among them, without the readings. "
        f"{times}"
    )


def reading(race: Race, found: Results) -> list[str]:
    """How to read the differences, as sentences."""
    said = [
        "mean ± sd over seeds, of the final weights; differences are paired by seed, with 95 % intervals by Student's t"
    ]
    if race.seeds < FEWEST and len(found.rows) > 1:
        said.append(f"with fewer than {FEWEST} seeds nothing is compared: give --seeds 5 or more")
    elif found.verdicts > 1:
        said.append(
            f"{found.verdicts} verdicts: each alone is wrong in at most 5 % of races without a difference, all "
            "family-wise ones together (Holm) in at most 5 %"
        )
    if found.timed > 1:
        said.append(
            f"{found.timed} differences in steps to targets are judged, in whole {CHECKPOINTS}ths of a trial, "
            "family-wise among themselves (Holm); seconds are shown and not judged"
        )
    if race.looks:
        said.append(
            f"this race looked after {', '.join(str(look) for look in race.looks if look <= race.seeds)} of at most "
            f"{race.looks[-1]} seeds; p and intervals are corrected for all {len(race.looks)} looks (Pocock)"
        )
    if any(row.diverged or row.failed for row in found.rows):
        said.append(
            "where trials diverged or failed, verdicts are by exact signed ranks, such trials ranked worst: "
            f"{FEWEST_RANKED} seeds are the fewest that can decide"
        )
    return said


def figure_text(figure: Figure | None, scale: float = 1.0) -> str:
    """Mean ± sd, with four significant digits or one decimal of a percentage."""
    if figure is None:
        return MISSING
    form, spread = (".1f", ".1f") if scale == 100 else (".4g", ".2g")
    return format(figure.mean * scale, form) + ("" if figure.sd is None else f" ± {figure.sd * scale:{spread}}")


def difference_texts(interval: ConfidenceInterval | None, scale: float = 1.0) -> tuple[str, str]:
    """A mean difference, and its interval."""
    if interval is None or math.isnan(interval.mean):
        return MISSING, MISSING
    mean = signed_text(interval.mean, scale)
    if interval.low is None or interval.high is None:
        return mean, MISSING
    return mean, f"{signed_text(interval.low, scale)} to {signed_text(interval.high, scale)}"


def signed_text(value: float, scale: float = 1.0) -> str:
    """A difference with its sign: two decimals of a percentage, or four significant digits; never −0."""
    text = format(value * scale, "+.2f" if scale == 100 else "+.4g")
    return text.replace("-", "+") if float(text) == 0 else text


def number_text(value: float | None, form: str) -> str:
    """A number, or a dash for none."""
    return MISSING if value is None else format(value, form)


def steps_text(one: Reached) -> str:
    """Median steps to a target, and how many trials came to it where not all did."""
    if one.steps is None:
        return f"never ({one.trials})"
    return f"{one.steps:.0f}" + ("" if one.reached == one.trials else f" ({one.reached} of {one.trials})")


def metric_scale(race: Race) -> float:
    """100 where the metric is shown in percent."""
    return 100.0 if race.metric == "accuracy" else 1.0


def _table(found: Results, columns: dict[str, list[str]]) -> ResultTable:
    lines = [
        Line(row.name, bool(row.control_of), _ended(row), cells)
        for row, cells in zip(found.rows, zip(*columns.values(), strict=True), strict=True)
    ]
    return ResultTable(tuple(columns), tuple(lines))


def _outcomes(race: Race, found: Results) -> Iterator[tuple[str, list[str]]]:
    rows, scale, name = found.rows, metric_scale(race), UNITS[race.metric]
    if race.tuning.tuner:
        yield _tuned_title(race), [_rates(row) for row in rows]
    yield "training\nloss", [figure_text(row.train_loss) for row in rows]
    if any(row.suboptimality for row in rows):
        yield "training loss\n− least", [figure_text(row.suboptimality) for row in rows]
    yield "test\nloss", [figure_text(row.test_loss) for row in rows]
    if any(row.test_accuracy for row in rows):
        yield "test\naccuracy, %", [figure_text(row.test_accuracy, 100) for row in rows]
    if race.tuning.tuner:
        yield (
            f"{name}\n{'as given' if race.tuning.space else 'at default lr'}",
            [figure_text(row.default, scale) for row in rows],
        )
    if len(rows) > 1:
        differences = [difference_texts(_to_baseline(race, row), scale) for row in rows]
        yield f"{name}\n− baseline’s", [mean for mean, _ in differences]
        yield "95 % interval", [between for _, between in differences]
        yield "verdict", [_verdict(race, row) for row in rows]
    if found.verdicts > 1:
        yield FAMILY_WISE, [_family_wise(race, row) for row in rows]


def _tuned_title(race: Race) -> str:
    if not race.tuning.space:
        return "learning\nrate"
    return ",\n".join(dimension.name for dimension in race.tuning.dimensions)


def _costs(race: Race, found: Results) -> Iterator[tuple[str, list[str]]]:
    rows = found.rows
    for place, target in enumerate(found.targets):
        alone = len(found.targets) == 1
        called = "target" if alone else metric_text(race, target)
        end = "" if alone else f"\nto {called}"
        reached = [row.targets[place] for row in rows]
        yield f"steps to\n{called}", [steps_text(one) for one in reached]
        if alone or any(one.evaluations != one.steps for one in reached):
            yield f"evaluations{end}", [number_text(one.evaluations, ".0f") for one in reached]
        yield f"seconds{end}", [number_text(one.seconds, ".3g") for one in reached]
    yield "step,\nms", [number_text(row.step_ms, ".3f") for row in rows]
    yield "optimizer’s,\nms", [number_text(row.optimizer_ms, ".3f") for row in rows]
    yield "first\nstep, s", [number_text(row.first_step_s, ".2f") for row in rows]
    yield "state,\nB/param", [number_text(row.state_bytes, ".1f") for row in rows]
    if race.tuning.prune:
        spent = [f"{row.tuning_steps:,} ({row.tuning_stopped} stopped)" for row in rows]
        yield "steps of\ntuning", spent
    if race.setting.monitor:
        fired = [None if row.regret_fired is None else 100 * row.regret_fired for row in rows]
        yield "q fell, %\nof steps", [number_text(share, ".1f") for share in fired]
        yield "NV/√T", [number_text(row.regret_variation, ".3g") for row in rows]
    for name in dict.fromkeys(name for row in rows for name in row.sensitivity):
        yield f"{name}\nmatters, %", [number_text(_percent(row.sensitivity.get(name)), ".0f") for row in rows]
    for name in dict.fromkeys(name for row in rows for name in row.measures):
        yield name, [figure_text(row.measures.get(name)) for row in rows]


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share


def _to_baseline(race: Race, row: ResultRow) -> ConfidenceInterval | None:
    return next((effect.interval for effect in row.effects if effect.against == race.baseline), None)


def _verdict(race: Race, row: ResultRow) -> str:
    if row.name == race.baseline:
        return "baseline"
    return next((effect.verdict for effect in row.effects if effect.against == race.baseline), MISSING)


def _family_wise(race: Race, row: ResultRow) -> str:
    judged = [effect for effect in row.effects if effect.interval is not None and effect.interval.p is not None]
    return next((effect.family_wise for effect in judged if effect.against == race.baseline), MISSING)


def _rates(row: ResultRow) -> str:
    return ", ".join(map(shown_value, row.lr.values())) + (" (edge)" if row.lr_on_edge else "") or MISSING


def _ended(row: ResultRow) -> str:
    counts = {"diverged": row.diverged, "failed": row.failed}
    return ", ".join(
        f"{count} of {row.ok + row.diverged + row.failed} {word}" for word, count in counts.items() if count
    )
