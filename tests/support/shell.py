"""The `edsl` command in a process of its own."""

from __future__ import annotations

import subprocess
import sys


def run(*words: str, **options):
    """(exit code, stdout, stderr) of `edsl WORDS` in a process of its own."""
    program = "from edsl.cli.main import main; main()"
    done = subprocess.run([sys.executable, "-c", program, *words], capture_output=True, text=True, **options)
    return done.returncode, done.stdout, done.stderr


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
