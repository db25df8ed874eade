"""How long a race will take, from a short trial of each entrant."""

from __future__ import annotations

import time
from dataclasses import replace

from edsl.lab.races.race import Race
from edsl.lab.trials.run import run_trial
from edsl.lab.trials.trial import CHECKPOINTS


def loading(jobs: int) -> float:
    """Seconds until processes of several jobs have loaded what this one has: as long as it took itself."""
    return time.process_time() if jobs > 1 else 0.0


def forecast(race: Race) -> float:
    """Seconds of all trials one after the other.

    A trial of 20 steps has all that one of the whole budget has, but for the rest of the steps, which take the mean
    of those after the first: a median would not see that a busy machine interrupts some.
    """
    total = 0.0
    for entrant in race.entrants:
        short = replace(race.setting, budget=CHECKPOINTS, unit="steps")
        began = time.perf_counter()
        trial = run_trial(race.task, short, entrant.spec, 0)
        first = trial.first_step_s if trial.first_step_s > 0 else 0.0
        seconds = time.perf_counter() - began - first
        step = (trial.seconds - first) / (trial.steps - 1) if trial.steps > 1 else first
        per_unit = {"steps": step, "evaluations": step * trial.steps / max(1, trial.evaluations), "seconds": 1.0}
        spent = {"steps": trial.steps, "evaluations": trial.evaluations, "seconds": trial.seconds}
        left = max(0.0, race.setting.budget - spent[race.setting.unit])
        total += (seconds + left * per_unit[race.setting.unit]) * race.planned / len(race.entrants)
    return total
