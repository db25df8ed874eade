"""Runs edsl on an NVIDIA GPU: is it right, how fast, how near to the limit of memory. Writes gpu.md and gpu.json.

    python docs/benchmarks/gpu.py [--minutes 8] [--out DIR] [--only PART]
    python docs/benchmarks/gpu.py --device cpu --quick      # every part on tiny sizes, in Triton's interpreter

From a checkout, without installing it. Each part is a process of its own, so that a failure stays within its part;
results are written as they come, and a run that is cut off keeps them. README.md beside this file says what the figures
should be.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import json
import math
import os
import platform
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import date
from pathlib import Path
from typing import Any, NoReturn

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(HERE))

from gpu_parts import PARTS  # noqa: E402

GRACE = 10  # seconds that a part may take beyond its end before it is killed
MOST_LINES = 100  # that are printed
OTHERS = "edsl steps there through torch.compile, and this command measures NVIDIA's"


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        sys.exit(_refused(message))


def main() -> int:
    asked = _asked()
    try:
        importlib.import_module("torch")
    except ImportError as reason:
        return _refused(f"torch can't be imported here ({reason}): take a Python that has it, make gpu PYTHON=…")
    reason = _why_not(asked)
    if reason:
        return _refused(reason)
    try:
        asked.out.mkdir(parents=True, exist_ok=True)
        (asked.out / "gpu.json").touch()
    except OSError as error:
        return _refused(f"--out {asked.out} can't be written to: {error.strerror}")
    with checkout() as path:
        sys.path[:0] = path.split(os.pathsep)
        return run(asked, path)


def _asked() -> argparse.Namespace:
    parser = _Parser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=8.0, help="when it stops by itself")
    parser.add_argument("--out", type=Path, default=HERE, help="the folder of gpu.md and gpu.json")
    parser.add_argument("--only", choices=list(PARTS), help="one part; others in gpu.json stay")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that all of it runs")
    parser.add_argument("--part", choices=list(PARTS), help=argparse.SUPPRESS)
    parser.add_argument("--rows", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--ends", type=float, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if not (math.isfinite(asked.minutes) and asked.minutes > 0):
        parser.error(f"--minutes must be a number > 0, got {asked.minutes:g}")
    if asked.device == "cpu" and not asked.quick:
        parser.error("--device cpu needs --quick: Triton's interpreter takes hours for real sizes")
    return asked


def _refused(message: str) -> int:
    print(f"gpu.py: {message}", file=sys.stderr)
    return 2


def _why_not(asked: argparse.Namespace) -> str:
    """Why this machine can't run it, or "" where it can."""
    import torch

    if asked.device == "cpu":
        found = importlib.util.find_spec("triton") is not None
        return "" if found else "--device cpu runs kernels in Triton's interpreter: pip install triton"
    if torch.version.hip is not None:
        return f"this torch is for AMD's GPUs (ROCm): {OTHERS}"
    if torch.cuda.is_available():
        return ""
    if torch.backends.mps.is_available():
        return f"this GPU is Apple's (MPS): {OTHERS}"
    if hasattr(torch, "xpu") and torch.xpu.is_available():
        return f"this GPU is Intel's (XPU): {OTHERS}"
    return "no GPU here: torch.cuda.is_available() is false; --device cpu --quick tries every part without one"


@contextmanager
def checkout() -> Iterator[str]:
    """A PYTHONPATH on which edsl is this checkout, with the folders that an installation maps into it."""
    with tempfile.TemporaryDirectory(prefix="edsl-") as folder:
        package = Path(folder) / "edsl"
        package.mkdir()
        mapped = [ROOT / name for name in ("adapters", "theory", "cli")]
        for entry in [*(ROOT / "edsl").iterdir(), *mapped]:
            if entry.name != "__pycache__":
                (package / entry.name).symlink_to(entry)
        yield os.pathsep.join([folder, str(HERE), str(ROOT / "tests" / "support")])


def run(asked: argparse.Namespace, path: str) -> int:
    """All parts, one after another, each within its share of the time."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the part that runs is ended too
    ends = time.monotonic() + 60 * asked.minutes
    chosen = [asked.only] if asked.only else list(PARTS)
    machine = described(asked.device)
    kept = _earlier(asked.out / "gpu.json", machine)
    results = {"machine": machine, "parts": {} if asked.only is None else kept}
    for number, name in enumerate(chosen):
        left = ends - time.monotonic()
        share = left * PARTS[name] / sum(PARTS[later] for later in chosen[number:])
        part = {"command": _command(), "day": str(date.today()), "status": "running", "seconds": 0.0, "rows": []}
        results["parts"][name] = part
        print(f"{name}: at most {share:.0f} s", file=sys.stderr, flush=True)
        for _ in _rows(asked, path, name, share, part):
            write(asked.out, results)
        write(asked.out, results)
    now = {name: results["parts"][name] for name in chosen}
    print(shortened(now))
    return 0 if all(map(_is_right, now.values())) else 1


def _rows(asked: argparse.Namespace, path: str, name: str, seconds: float, part: dict[str, Any]) -> Iterator[None]:
    """Run a part in a process of its own; yields whenever rows have come."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="edsl-") as folder:
        rows, log = Path(folder) / "rows", Path(folder) / "log"
        rows.touch()
        command = [sys.executable, str(HERE / "gpu.py"), "--part", name, "--rows", str(rows)]
        command += ["--ends", str(began + seconds), "--device", asked.device, *(["--quick"] if asked.quick else [])]
        found = os.pathsep.join(filter(None, [path, os.environ.get("PYTHONPATH")]))
        environment = {**os.environ, "PYTHONPATH": found, "PYTHONSAFEPATH": "1", "PYTHONUNBUFFERED": "1"}
        if name == "correctness":
            environment["TORCHINDUCTOR_COMPILE_THREADS"] = "1"  # its processes work side by side
        if asked.device == "cpu":
            environment["TRITON_INTERPRET"] = "1"
        with log.open("w", encoding="utf-8") as said:
            process = subprocess.Popen(
                command, stdout=said, stderr=said, env=environment, cwd=folder, start_new_session=True
            )  # in a folder where no other edsl can be found
            try:
                while process.poll() is None:
                    if time.monotonic() - began > seconds + GRACE:
                        part["status"] = "stopped: its time was up"
                        break
                    time.sleep(0.2)
                    if _read(rows, part):
                        yield
            finally:
                _end(process)
        _read(rows, part)
        part["seconds"] = time.monotonic() - began
        if part["status"] == "running":
            part["status"] = "ended" if process.returncode == 0 else _last_words(process.returncode, log)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process with all that it has started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, 9)
    process.wait()


def _last_words(code: int, log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines() or [""]
    return f"failed with exit code {code}: {lines[-1][:300]}"


def _read(rows: Path, part: dict[str, Any]) -> bool:
    """Take the rows that have come, each a whole line; whether there are new ones."""
    lines = rows.read_text(encoding="utf-8").split("\n")[:-1]
    before = len(part["rows"])
    part["rows"] = [json.loads(line) for line in lines]
    return len(part["rows"]) > before


def work(asked: argparse.Namespace) -> int:
    """The process of one part."""
    from edsl.as_json import as_json
    from gpu_parts.run import Run

    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    module = importlib.import_module(f"gpu_parts.{asked.part}")
    with asked.rows.open("a", encoding="utf-8") as file:

        def record(row: dict[str, Any]) -> None:
            file.write(json.dumps(as_json(row)) + "\n")
            file.flush()

        module.measure(Run(asked.device, asked.quick, asked.ends, record))
    return 0


def _end_with(parent: int) -> None:
    """End this part, with all that it has started, when gpu.py is gone."""
    while os.getppid() == parent:
        time.sleep(1)
    os.killpg(0, signal.SIGKILL)


def described(device: str) -> dict[str, str]:
    """What the figures are of."""
    import torch

    found = {"device": "CPU, in Triton's interpreter"}
    if device == "cuda":
        about = torch.cuda.get_device_properties(0)
        found = {"device": about.name, "memory": f"{about.total_memory / 2**30:.0f} GiB", "CUDA": torch.version.cuda}
    versions = {"Python": platform.python_version(), "torch": torch.__version__}
    for name in ("triton", "heavyball"):
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "not installed"
    return {**found, **versions, "CPUs": str(os.cpu_count())}


def _earlier(place: Path, machine: dict[str, str]) -> dict[str, Any]:
    """The parts of a run before, if it was on such a machine."""
    try:
        found = json.loads(place.read_text(encoding="utf-8"))
        return {name: found["parts"][name] for name in PARTS if name in found["parts"] and found["machine"] == machine}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def write(out: Path, results: dict[str, Any]) -> None:
    """gpu.json and gpu.md, whole at every moment."""
    for name, text in (("gpu.json", json.dumps(results, indent=1)), ("gpu.md", page(results))):
        unfinished = out / f"{name}.part"
        unfinished.write_text(text + "\n", encoding="utf-8")
        os.replace(unfinished, out / name)


def page(results: dict[str, Any]) -> str:
    """All that was found, in Markdown."""
    machine = "\n".join(f"| {name} | {value} |" for name, value in results["machine"].items())
    sections = [_section(name, part) for name, part in results["parts"].items()]
    head = "# Benchmarks on a GPU\n\nWritten by `make gpu`; expected results are in [README.md](README.md)."
    return "\n\n".join([head, f"| machine | |\n|---|---|\n{machine}", *sections])


def _section(name: str, part: dict[str, Any]) -> str:
    module = importlib.import_module(f"gpu_parts.{name}")
    told = f"    {part['command']}\n\n{part['day']}, {part['seconds']:.0f} s, {part['status']}"
    return "\n\n".join([f"## {module.TITLE}", told, *(_shown(show, part) for show in (module.summary, module.tables))])


def _shown(show: Callable[[list[dict[str, Any]]], str], part: dict[str, Any]) -> str:
    """What a part says of its rows; rows that it can't show must not end the run."""
    try:
        return show(part["rows"])
    except Exception as reason:
        return f"- **failed**: its rows can't be shown ({type(reason).__name__}: {reason}); they are in gpu.json"


def shortened(parts: dict[str, Any]) -> str:
    """The page of some parts without its longest table, in at most MOST_LINES lines."""
    lines: list[str] = []
    for name, part in parts.items():
        module = importlib.import_module(f"gpu_parts.{name}")
        lines += ["", f"{module.TITLE}: {part['status']} in {part['seconds']:.0f} s"]
        lines += _shown(module.summary, part).split("\n")
        if name != "correctness":
            lines += [line for line in _shown(module.tables, part).split("\n") if line and "---" not in line]
    return "\n".join(lines[1:] if len(lines) <= MOST_LINES + 1 else [*lines[1:MOST_LINES], "… the rest is in gpu.md"])


def _is_right(part: dict[str, Any]) -> bool:
    """Whether nothing that a part checked was wrong, and it did not fail; that its time was up is no fault."""
    verdicts = [row[key] for row in part["rows"] for key in ("ok", "within", "clean") if key in row]
    failed = part["status"].startswith("failed") or any("failed" in row for row in part["rows"])
    return all(verdicts) and not failed


def _command() -> str:
    """As it was called, but for --out, which no figure depends on."""
    options = re.sub(r"--out[ =]\S+ ?", "", shlex.join(sys.argv[1:]))
    return f"python docs/benchmarks/gpu.py {options}".rstrip()


if __name__ == "__main__":
    options = _asked()
    sys.exit(work(options) if options.part else main())
