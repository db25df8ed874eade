"""The `edsl` command in a process of its own."""

from __future__ import annotations

import atexit
import functools
import json
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

PROGRAM = "from edsl.cli.main import main; main()"

# Imports once what commands import, then runs each in a child of its own, in the caller's folder and environment.
SERVER = """
import atexit, gc, importlib, json, os, sys

sys.argv = ["edsl"]
for name in json.loads(sys.stdin.readline()):
    importlib.import_module(name)
from edsl.cli.main import main
gc.freeze()
for line in sys.stdin:
    words, folder, environment, out, err = json.loads(line)
    child = os.fork()
    if child == 0:
        for name, place in ((0, os.devnull), (1, out), (2, err)):
            os.dup2(os.open(place, os.O_RDWR | os.O_CREAT), name)
        sys.stdin = open(0, closefd=False)
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environment)
        sys.argv = ["edsl", *words]
        code = 1
        try:
            main()
        except SystemExit as ended:
            code = ended.code or 0
        except BaseException:
            sys.excepthook(*sys.exc_info())
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)  # to take torch apart would take a second
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
PRELOADED = [
    "edsl.cli.compare",
    "edsl.cli.report",
    "edsl.lab.benchmarks.bench",
    "edsl.lab.executors.driver",
    "edsl.lab.races.build",
    "edsl.lab.report.page",
    "edsl.lab.results.result_tables",
    "edsl.lab.verify",
    "matplotlib.pyplot",
    "scipy.stats",
    "sklearn.datasets",
    "sympy",
    "torch._dynamo",  # which torch imports at the first step of an optimizer
]


def run(*words: str, env: dict[str, str] | None = None) -> tuple[int, str, str]:
    """(exit code, stdout, stderr) of `edsl WORDS` in a process of its own, which begins with packages imported."""
    server = _server()
    assert server.stdin is not None
    assert server.stdout is not None
    with TemporaryDirectory() as folder:
        out, err = Path(folder, "out"), Path(folder, "err")
        task = [words, os.getcwd(), dict(os.environ if env is None else env), str(out), str(err)]
        server.stdin.write(json.dumps(task) + "\n")
        server.stdin.flush()
        return int(server.stdout.readline()), out.read_text(), err.read_text()


def run_anew(*words: str, **options) -> tuple[int, str, str]:
    """The same in a process that imports everything itself."""
    done = subprocess.run([sys.executable, "-c", PROGRAM, *words], capture_output=True, text=True, **options)
    return done.returncode, done.stdout, done.stderr


@functools.cache
def _server() -> subprocess.Popen[str]:
    server = subprocess.Popen([sys.executable, "-c", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert server.stdin is not None
    server.stdin.write(json.dumps(PRELOADED) + "\n")
    atexit.register(server.communicate)  # which ends its input, and so the server
    return server


def imported_by(*words: str) -> set[str]:
    program = f"""
import sys
sys.argv = ["edsl", *{words!r}]
from edsl.cli.main import main
try:
    main()
except SystemExit:
    pass
print("IMPORTED", *sys.modules)
"""
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    return set(out.rsplit("IMPORTED", 1)[1].split())
