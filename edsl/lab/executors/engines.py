"""Where trials run: in this process, in processes of this machine, or on a Ray cluster."""

from __future__ import annotations

import os

from edsl.errors import EdslError, either, shown
from edsl.lab.executors.executor import Executor

ENGINES = ("local", "ray")


def executor(engine: str, jobs: int, address: str | None = None, gpus: float = 0) -> Executor:
    """The executor of these options.

    Args:
        jobs: trials at once; with Ray 0 for as many as the cluster has CPUs.
        address: of a Ray cluster, as ray.init takes it.
        gpus: of each trial on Ray.

    Raises:
        EdslError: for an unknown engine, a bad number, or Ray that is not installed or reachable.
    """
    if engine not in ENGINES:
        raise EdslError(f"engine must be {either(ENGINES)}, got {shown(engine)}")
    if jobs < 0 or (engine == "local" and jobs < 1):
        raise EdslError(f"jobs must be at least 1, got {jobs}")
    if engine == "ray":
        from edsl.lab.executors.cluster import Cluster

        return Cluster(jobs, address, gpus)
    most = os.cpu_count() or 1
    if jobs > most:
        raise EdslError(f"jobs must be at most {most}, the CPUs of this machine, got {jobs}")
    if jobs == 1:
        from edsl.lab.executors.serial import Serial

        return Serial()
    from edsl.lab.executors.processes import Processes

    return Processes(jobs)
