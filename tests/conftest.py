"""Caches in the checkout and one thread for all tests, processes forked from one, and nothing loaded left behind."""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Iterator
from multiprocessing import forkserver
from pathlib import Path

ROOT = Path(__file__).parents[1]
os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(ROOT / ".cache" / "inductor"))
os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")
os.environ.setdefault("HF_DATASETS_CACHE", str(ROOT / ".cache" / "datasets"))  # in every process, and not at home
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # else every process that a test starts would compile edsl anew
for _asked in ("COLUMNS", "LINES"):  # of the caller's terminal; workers get what pytest's readline has set
    os.environ.pop(_asked, None)

import pytest  # noqa: E402
import torch  # noqa: E402

from edsl.lab.executors import processes  # noqa: E402

torch.set_num_threads(1)

FORKING = ("distributed", "lab", "zoo")  # rooms whose tests have processes forked
PRELOADED = [
    *processes.PRELOADED,
    "torch.distributed.checkpoint.state_dict",
    "torch.distributed.fsdp",
    "torch.distributed.tensor.parallel",
]


@pytest.fixture(autouse=True)
def _seeded() -> Iterator[None]:
    torch.manual_seed(0)
    yield
    torch.compiler.reset()


@pytest.fixture(autouse=True)
def _no_terminal() -> None:
    """Nothing that a test starts has the width of a caller's terminal, or that which importing readline sets in C."""
    for name in ("COLUMNS", "LINES"):
        os.environ.pop(name, None)
        os.unsetenv(name)  # readline's is not in os.environ


@pytest.fixture(autouse=True)
def _own_stages() -> Iterator[None]:
    """What a test loads, rules and plugins, is gone with it."""
    from edsl.language.registry.plugins import loaded
    from edsl.language.rules.names import loaded_rules

    held = [(known, dict(known)) for known in (loaded_rules(), loaded())]
    yield
    for known, before in held:
        known.clear()
        known.update(before)


@pytest.fixture(autouse=True)
def _own_modules(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A module that a test wrote and imported is gone with it: the next test may write another of that name."""
    before = set(sys.modules)
    yield
    folder = str(tmp_path_factory.getbasetemp())
    for name in set(sys.modules) - before:
        if (getattr(sys.modules[name], "__file__", None) or "").startswith(folder):
            del sys.modules[name]


def pytest_runtest_setup(item: pytest.Item) -> None:
    """All processes of all tests are forked from one, which has imported once what any of them needs."""
    if item.path.parent.name in FORKING and "forkserver" in multiprocessing.get_all_start_methods():
        multiprocessing.set_forkserver_preload(PRELOADED)
        forkserver.ensure_running()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What shares started processes, or packages that load for seconds, runs in one worker."""
    for item in items:
        if item.path.parent.name in ("distributed", "clients"):
            item.add_marker(pytest.mark.xdist_group(item.path.stem))
