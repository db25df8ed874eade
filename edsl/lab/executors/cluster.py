"""Trials on a Ray cluster. A trial whose worker is lost runs again, as Ray sees to."""

from __future__ import annotations

import logging
import os
from typing import Any

from edsl.errors import EdslError, brief
from edsl.lab.executors.executor import Tick
from edsl.lab.races.entrant import Work
from edsl.lab.trials.trial import failed

RETRIES = 3  # of a trial whose worker is lost


class Cluster:
    """Each trial is a Ray task of one CPU.

    Args:
        jobs: trials at once; 0 for as many as the cluster has CPUs.
        address: as ray.init takes it; None starts Ray on this machine.
        gpus: of each trial, 0 or a share such as 0.5.
    """

    def __init__(self, jobs: int, address: str | None, gpus: float) -> None:
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        try:
            import ray
        except ImportError:
            raise EdslError("--engine ray needs Ray: pip install 'edsl-optim[ray]'") from None
        self.ray: Any = ray
        self.began = not ray.is_initialized()
        if self.began:
            local: dict[str, Any] = {"num_cpus": jobs or None, "include_dashboard": False} if address is None else {}
            try:
                ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **local)
            except Exception as reason:  # Ray raises many kinds
                where = address or "this machine"
                raise EdslError(f"Ray can't be reached at {where}: {brief(reason, 200)}") from None
        self.capacity = jobs or max(1, int(ray.cluster_resources().get("CPU", 1)))
        self.remote: Any = ray.remote(num_cpus=1, num_gpus=gpus, max_retries=RETRIES)(run_on_cluster)
        self.running: dict[Any, Work] = {}

    def submit(self, work: Work) -> None:
        self.running[self.remote.remote(work)] = work

    def next(self, tick: Tick) -> tuple[tuple[str, int], dict[str, Any]]:
        (done, *_), _ = self.ray.wait(list(self.running), num_returns=1)
        work = self.running.pop(done)
        try:
            answer = self.ray.get(done)
        except self.ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, EdslError):
                raise EdslError(str(error.cause)) from None
            raise
        except (self.ray.exceptions.WorkerCrashedError, self.ray.exceptions.NodeDiedError) as error:
            lost = f"its worker was lost {RETRIES + 1} times: {brief(error)}"
            return work.key, failed(work.spec, work.seed, lost).record()
        return work.key, answer

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *reason: object) -> None:
        for future in self.running:
            self.ray.cancel(future, force=True)
        if self.began:
            self.ray.shutdown()


def run_on_cluster(work: Work) -> dict[str, Any]:
    """A trial's record, on whichever machine this is called."""
    from edsl.lab.executors.worker import run_work

    return run_work(work)
