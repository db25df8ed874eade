"""Several trials at once, each in a process of this machine.

A worker that dies, killed or out of memory, is replaced and its trial begins again; nothing but the
parent writes results, so none is lost or doubled. Ctrl-C is the parent's alone, and workers end by
themselves where they can, so that torch.compile's processes end with them.
"""

from __future__ import annotations

import multiprocessing
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any

from edsl.errors import EdslError
from edsl.lab.executors.executor import Tick
from edsl.lab.races.entrant import Work
from edsl.lab.trials.trial import failed

ATTEMPTS = 3  # of a trial whose worker dies
PATIENCE = 5.0  # seconds that workers get to end by themselves
# What workers are forked with; torch imports its compiler at an optimizer's first step.
PRELOADED = ["edsl.lab.executors.processes", "edsl.lab.executors.worker", "torch._dynamo"]


@dataclass
class Worker:
    """A process, the pipe to it, and the trial that it runs."""

    process: Any
    pipe: Connection
    work: Work | None = None


class Processes:
    """Keeps `jobs` workers, which import everything once."""

    def __init__(self, jobs: int) -> None:
        self.capacity = jobs
        self.workers: list[Worker] = []
        self.attempts: dict[tuple[str, int], int] = {}
        methods = multiprocessing.get_all_start_methods()
        self.context: Any = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
        if self.context.get_start_method() == "forkserver":
            self.context.set_forkserver_preload(PRELOADED)

    def submit(self, work: Work) -> None:
        worker = next((worker for worker in self.workers if worker.work is None), None) or self._hire()
        self.attempts[work.key] = self.attempts.get(work.key, 0) + 1
        worker.work = work
        with suppress(OSError):  # it died before it was given anything, which `next` will see
            worker.pipe.send(work)

    def next(self, tick: Tick) -> tuple[tuple[str, int], dict[str, Any]]:
        while True:
            busy = {worker.pipe: worker for worker in self.workers if worker.work is not None}
            for pipe in wait(list(busy)):
                worker = busy[pipe]  # pyright: ignore[reportArgumentType]
                work = worker.work
                assert work is not None  # it is among the busy
                try:
                    answer = worker.pipe.recv()
                except (EOFError, OSError):
                    answer = self._bury(worker, work)
                    if answer is None:
                        continue
                worker.work = None
                if isinstance(answer, BaseException):
                    raise answer
                return work.key, answer

    def _hire(self) -> Worker:
        _start_server(self.context)
        ours, theirs = self.context.Pipe()
        process = self.context.Process(target=serve, args=(theirs,), daemon=True)
        process.start()
        theirs.close()
        self.workers.append(Worker(process, ours))
        return self.workers[-1]

    def _bury(self, worker: Worker, work: Work) -> dict[str, Any] | None:
        """Replace a dead worker; its trial's record once it was tried often enough."""
        worker.process.join()
        worker.pipe.close()
        self.workers.remove(worker)
        if self.attempts[work.key] >= ATTEMPTS:
            reason = f"its process died {ATTEMPTS} times, the last with exit code {worker.process.exitcode}"
            return failed(work.spec, work.seed, reason).record()
        self.submit(work)
        return None

    def __enter__(self) -> Processes:
        return self

    def __exit__(self, *reason: object) -> None:
        for worker in self.workers:
            worker.pipe.close()  # one that waits for work ends now
            if worker.work is not None:
                worker.process.terminate()
        until = time.monotonic() + PATIENCE
        for worker in self.workers:
            worker.process.join(max(0.0, until - time.monotonic()))
            worker.process.kill()
            worker.process.join()
        self.workers.clear()


def _start_server(context: Any) -> None:
    """Start the process that workers are forked from, deaf to Ctrl-C while it imports, as they are after it."""
    if context.get_start_method() != "forkserver":
        return
    from multiprocessing import forkserver, resource_tracker

    resource_tracker.ensure_running()  # by itself, since it lets Ctrl-C through again
    with _without_interrupts():
        forkserver.ensure_running()


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """Hold Ctrl-C back; what is started within never hears it."""
    if sys.platform == "win32":
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end(*_: object) -> None:
    """End as after the last trial, so that what torch.compile started ends too."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(0)


def serve(pipe: Connection) -> None:
    """A worker's life: trials from the pipe, their records into it, until it is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's, which ends its workers
    signal.signal(signal.SIGTERM, _end)
    from edsl.lab.executors.worker import run_work

    with suppress(EOFError, OSError):  # the parent is gone
        while True:
            work = pipe.recv()
            try:
                answer: Any = run_work(work)
            except EdslError as error:
                answer = EdslError(str(error))
            pipe.send(answer)
