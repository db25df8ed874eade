"""Measures bytes of state, time and stalled updates of optimizers that save memory, and writes bytes.md.

    python docs/benchmarks/bytes.py [--params gpt2] [--rounds 3] [--seconds 45] [--only TEXT] [--out FOLDER]

Each optimizer has a process of its own, in which it steps in turn with torch's fused AdamW in float32, and with what
it is to be compared with. What a process has found when its time is over counts; one that has found nothing is named
below the table, with the reason. Each row is a line of bytes.jsonl beside the page: a run that is cut off goes on where
it was, and a line that is deleted is measured anew.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from operator import truediv
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor
from write import described, installed, markdown  # the same folder's

import edsl
from edsl.lab.benchmarks.parameter_sets import parameter_set
from edsl.optim.optimizer import PipelineOptimizer
from edsl.optim.state import state_bytes

PAGE = """\
# Bytes of state

Written by `python docs/benchmarks/bytes.py` on {day}: {params}, {elements:,} parameters. *State* is all that an
optimizer keeps between steps, with compensations and low halves of weights, but not the weights: bytes a parameter,
measured. *Time* is the median of up to {rounds} ratios of a step by one of torch's fused AdamW on float32 weights in
the same round, on one thread; *beside* that by a step of the same spec with float32 state, or in bfloat16 with nearest
weights, on one thread and on two; – where the process had no time left for it. One thread spends its time on making
codes; two, which share the memory, gain more by fewer bytes. *Held* is the mean over 4,096 weights of 1 after
100 steps of 10⁻⁴ along a gradient of 1, in the dtype of the column *weights*: .990 where no update is lost.

torchao, bitsandbytes and HeavyBall write their steps for GPUs: what they take on this CPU says little about them there.

| machine | |
|---|---|
{machine}

{table}

{absent}
"""
PACKAGES = ("torch", "torchao", "bitsandbytes", "heavyball", "torch-optimi")
THREADS = {"": 1, ", 2 threads": 2}  # by what the names of ratios end in
TIMED = 0.7  # of a process's time, after which no further round begins
UNTIMED = {"edsl": 4}  # steps; edsl looks for updates that round away at the 1st, 2nd, 4th and 8th
STALL = (100, 1e-4, (64, 64))  # steps, their length, weights


@dataclass(frozen=True)
class Entry:
    """An optimizer of the table.

    Attributes:
        package: "edsl", or another's name.
        spec: of edsl, or a class of the package.
        dtype: of the weights.
        options: how it is built beside lr.
        beside: the number of the entry that its time is divided by, too.
    """

    package: str
    spec: str
    dtype: str = "float32"
    options: dict[str, Any] = field(default_factory=dict)
    beside: int | None = None

    @property
    def _built(self) -> str:
        said = ", ".join(f"{key}={value!r}" for key, value in self.options.items())
        return self.spec + (f" ({said})" if said else "")

    @property
    def name(self) -> str:
        return f"{self.package} {self._built}"

    @property
    def shown(self) -> str:
        return f"{self.package}: `{self._built}`"


def entries() -> list[Entry]:
    """All optimizers, each behind what it is compared with."""
    found: list[Entry] = []
    for spec in ("adamw", "eadamw", "alto"):
        first, all_forms = len(found), spec == "adamw"
        found.append(Entry("edsl", spec))
        kept = ("bfloat16", "int8", "int4", *(("float8_e4m3fn",) if all_forms else ()))
        found += [Entry("edsl", spec, options={"state_dtype": one}, beside=first) for one in kept]
        nearest = len(found)
        found.append(Entry("edsl", spec, "bfloat16", {"weights": "nearest"}))
        forms = ("stochastic", *(("kahan", "split") if all_forms else ()))
        found += [Entry("edsl", spec, "bfloat16", {"weights": one}, nearest) for one in forms]
        found.append(Entry("edsl", spec, "bfloat16", {"weights": "split", "state_dtype": "int8"}, nearest))
    found += [Entry("torch", "AdamW"), Entry("torch", "AdamW", "bfloat16")]
    found += [Entry("torchao", name) for name in ("AdamW8bit", "AdamW4bit", "AdamWFp8")]
    found.append(Entry("torchao", "AdamW8bit", "bfloat16", {"bf16_stochastic_round": True}))
    found += [Entry("bitsandbytes", "AdamW8bit"), Entry("bitsandbytes", "AdamW8bit", "bfloat16")]
    found.append(Entry("heavyball", "AdamW"))
    found.append(Entry("heavyball", "AdamW", options={"ecc": "bf16+8"}))
    found.append(Entry("heavyball", "AdamW", "bfloat16", {"ecc": "bf16+8", "param_ecc": "bf16+8"}))
    found.append(Entry("torch-optimi", "AdamW", "bfloat16", {"kahan_sum": True}))
    return found


def built(entry: Entry, named: Sequence[tuple[str, Tensor]], lr: float, decay: float = 0.01) -> Any:
    """The optimizer of an entry."""
    tensors = [tensor for _, tensor in named]
    if entry.package == "edsl":
        own: dict[str, Any] = {} if entry.spec == "alto" else {"weight_decay": decay}
        return edsl.compile(f"{entry.spec}(lr={lr})", list(named), **entry.options, **own)
    if entry.package == "torch":
        return torch.optim.AdamW(tensors, lr=lr, weight_decay=decay, fused=True)
    modules = {"torchao": "torchao.optim", "bitsandbytes": "bitsandbytes.optim", "torch-optimi": "optimi"}
    module = __import__(modules.get(entry.package, entry.package), fromlist=[entry.spec])
    return getattr(module, entry.spec)(tensors, lr=lr, weight_decay=decay, **entry.options)


class Contender:
    """An optimizer on parameters of its own, and gradients that others of its dtype may share."""

    def __init__(self, entry: Entry, start: Sequence[tuple[str, Tensor]], gradients: Sequence[Tensor]) -> None:
        dtype = getattr(torch, entry.dtype)
        self.named = [(name, torch.nn.Parameter(value.to(dtype, copy=True))) for name, value in start]
        self.gradients = [gradient.to(dtype) for gradient in gradients]
        self.package, self.optimizer = entry.package, built(entry, self.named, lr=1e-3)

    def step(self) -> float:
        """Seconds of a step."""
        for (_, parameter), gradient in zip(self.named, self.gradients):
            parameter.grad = gradient
        began = time.perf_counter()
        self.optimizer.step()
        return time.perf_counter() - began

    @property
    def bytes(self) -> float:
        return state_bytes(self.optimizer) / sum(parameter.numel() for _, parameter in self.named)


def measure(entry: Entry, beside: Entry | None, params: str, rounds: int, seconds: float) -> Iterator[dict[str, Any]]:
    """One optimizer's state, what it holds in the stall test, and ratios of time, as far as each is known by then."""
    ends = time.perf_counter() + seconds
    generator = torch.Generator().manual_seed(0)
    start, gradients = (
        [(name, torch.randn(shape, generator=generator).mul_(size)) for name, shape in parameter_set(params).items()]
        for size in (0.02, 0.01)
    )
    raw = [gradient for _, gradient in gradients]
    own = Contender(entry, start, raw)
    own.step()
    found: dict[str, Any] = {"bytes": own.bytes}
    yield dict(found)
    found["held"] = stalled(entry)
    yield dict(found)
    others = {"torch": Entry("torch", "AdamW"), **({} if beside is None else {"beside": beside})}
    runners = {"own": own, **{name: Contender(one, start, raw) for name, one in others.items()}}
    for runner in runners.values():  # the first step makes state, and may compile
        for _ in range(UNTIMED.get(runner.package, 1)):
            runner.step()
    for ending, threads in THREADS.items():
        torch.set_num_threads(threads)
        for timed in _ratios(runners, rounds, ends, ending):
            found.update(timed)
            yield dict(found)


def _ratios(runners: dict[str, Contender], rounds: int, ends: float, ending: str) -> Iterator[dict[str, float]]:
    """A step's time by those of the others, after each round that there is time for."""
    names = list(runners)
    took: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds):
        if number and time.perf_counter() > ends:
            return
        first = number % len(names)
        for name in (*names[first:], *names[:first]):
            took[name].append(runners[name].step())
        ratios = {f"{name}{ending}": median(map(truediv, took["own"], took[name])) for name in names[1:]}
        yield {**ratios, f"rounds{ending}": number + 1}


def stalled(entry: Entry) -> float:
    """The mean of the weights that an optimizer holds after many short steps."""
    steps, length, shape = STALL
    weight = torch.nn.Parameter(torch.ones(shape, dtype=getattr(torch, entry.dtype)))
    optimizer = built(entry, [("weight", weight)], lr=length, decay=0.0)
    for _ in range(steps):
        weight.grad = torch.ones_like(weight)
        optimizer.step()
    return float(held(entry, optimizer, weight).double().mean())


def held(entry: Entry, optimizer: Any, weight: Tensor) -> Tensor:
    """Weights with what is kept beside them, where it is known how they go together."""
    value, state = weight.detach().float(), optimizer.state[weight]
    if isinstance(optimizer, PipelineOptimizer) and "weights" in entry.options:
        from edsl.numerics.weights.forms import form_of  # pyright: ignore[reportMissingImports]

        form = form_of(entry.options["weights"], weight.dtype)
        return form.join(weight.detach(), state.get(form.buffer))
    if "kahan_comp" in state:
        return value + state["kahan_comp"].float()
    return value


def main() -> None:
    asked = _asked()
    all_of_them = entries()
    torch.set_num_threads(1)
    if asked.entry is not None:
        entry = all_of_them[asked.entry]
        beside = None if entry.beside is None else all_of_them[entry.beside]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # another package's are about itself
            for found in measure(entry, beside, asked.params, asked.rounds, asked.seconds * TIMED):
                print(json.dumps(found), flush=True)
        return
    chosen = [place for place, entry in enumerate(all_of_them) if asked.only in entry.name]
    kept, results = asked.out / "bytes.jsonl", {}
    done = finished(kept)
    for place in chosen:  # the page is whole at every moment
        row = {"name": all_of_them[place].name, "weights": all_of_them[place].dtype, "params": asked.params}
        found = done.get(tuple(row.values()))
        if found is None:
            found = _in_a_process(place, asked)
            with kept.open("a", encoding="utf-8") as file:
                file.write(json.dumps({**row, "found": found}) + "\n")
        results[place] = found
        (asked.out / "bytes.md").write_text(page(all_of_them, results, asked.params, asked.rounds), encoding="utf-8")


def finished(kept: Path) -> dict[tuple[str, str, str], dict[str, Any]]:
    """What is measured already, by name, weights and parameters."""
    lines = kept.read_text(encoding="utf-8").splitlines() if kept.exists() else []
    rows = [json.loads(line) for line in lines if line.endswith("}")]  # the last may be cut off
    return {(row["name"], row["weights"], row["params"]): row["found"] for row in rows}


def _asked() -> argparse.Namespace:
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--params", default="gpt2", help="a set of parameters, as of edsl bench")
    options.add_argument("--rounds", type=int, default=3, help="steps of each that are timed, at most")
    options.add_argument("--seconds", type=float, default=45.0, help="the most that one optimizer takes")
    options.add_argument("--only", default="", help="optimizers whose names have this in them")
    options.add_argument("--out", type=Path, default=Path(__file__).parent, help="folder of bytes.md and bytes.jsonl")
    options.add_argument("--entry", type=int, help=argparse.SUPPRESS)
    asked = options.parse_args()
    if asked.rounds < 1 or asked.seconds <= 0:
        options.error(f"--rounds and --seconds must be above 0, got {asked.rounds} and {asked.seconds:g}")
    return asked


def _in_a_process(place: int, asked: argparse.Namespace) -> dict[str, Any]:
    """What one optimizer's process found, or why it found nothing."""
    words = ["--entry", str(place), "--params", asked.params, "--rounds", str(asked.rounds)]
    words += ["--seconds", str(asked.seconds)]
    print(entries()[place].name, file=sys.stderr, flush=True)
    out, said, code = "", "", None
    try:
        done = subprocess.run(
            [sys.executable, __file__, *words], capture_output=True, text=True, timeout=asked.seconds, check=False
        )
        out, said, code = done.stdout, done.stderr, done.returncode
    except subprocess.TimeoutExpired as late:
        out, said = (late.stdout or b"").decode(), f"TimeoutError: did not end within {asked.seconds:g} s"
    lines = [line for line in said.strip().splitlines() if not line.startswith(" ")]
    reason = next((line for line in reversed(lines) if "Error" in line), lines[-1] if lines else "")
    told = [line for line in out.splitlines() if line.startswith("{") and line.endswith("}")]
    if code == 0 or (told and code is None):
        return json.loads(told[-1])
    return {"failed": reason[:200] or f"ended with code {code}"}


def page(all_of_them: Sequence[Entry], results: dict[int, dict[str, Any]], params: str, rounds: int) -> str:
    """The page of what was found."""
    titles = ["optimizer", "weights", "state B/param", "time", "beside", "beside, 2 threads", "held"]
    rows = [
        [
            all_of_them[place].shown,
            all_of_them[place].dtype,
            f"{found['bytes']:.2f}",
            *(f"{found[name]:.2f}" if name in found else "–" for name in ("torch", "beside", "beside, 2 threads")),
            f"{found['held']:.4f}" if "held" in found else "–",
        ]
        for place, found in results.items()
        if "failed" not in found
    ]
    failed = {place: found["failed"] for place, found in results.items() if "failed" in found}
    absent = [f"- {all_of_them[place].shown}, {all_of_them[place].dtype}: {why}" for place, why in failed.items()]
    versions = {"edsl": edsl.__version__, **{name: installed(name) for name in PACKAGES}}
    machine = "\n".join(f"| {name} | {value} |" for name, value in {**described(), **versions}.items())
    return (
        PAGE.format(
            day=date.today(),
            params=params,
            elements=sum(map(math.prod, parameter_set(params).values())),
            rounds=rounds,
            machine=machine,
            table=markdown(titles, rows, left=2),
            absent="Not measured:\n\n" + "\n".join(absent) if absent else "",
        ).rstrip()
        + "\n"
    )


if __name__ == "__main__":
    main()
