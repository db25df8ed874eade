"""How long a race will take, from a short trial of each entrant."""

from __future__ import annotations

import time
from dataclasses import replace

from edsl.lab.races.race import Race
from edsl.lab.trials.run import run_trial
from edsl.lab.trials.trial import CHECKPOINTS


def forecast(race: Race) -> float:
    """Seconds of all trials one after the other.

    A trial of 20 steps has all that one of the whole budget has, but for the rest of the steps.
    """
    total = 0.0
    for entrant in race.entrants:
        short = replace(race.setting, budget=CHECKPOINTS, unit="steps")
        began = time.perf_counter()
        trial = run_trial(race.task, short, entrant.spec, 0)
        seconds = time.perf_counter() - began - (trial.first_step_s if trial.first_step_s > 0 else 0.0)
        step = trial.step_ms / 1e3 if trial.step_ms > 0 else 0.0
        per_unit = {"steps": step, "evaluations": step * trial.steps / max(1, trial.evaluations), "seconds": 1.0}
        spent = {"steps": trial.steps, "evaluations": trial.evaluations, "seconds": trial.seconds}
        left = max(0.0, race.setting.budget - spent[race.setting.unit])
        total += (seconds + left * per_unit[race.setting.unit]) * race.planned / len(race.entrants)
    return total
