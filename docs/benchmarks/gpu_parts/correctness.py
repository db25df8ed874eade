"""Part 1: every recipe and stage on the device, against eager steps in float64 on a CPU.

A process of its own for each pipeline, several at a time: an illegal access spoils its process alone.
"""

from __future__ import annotations

import contextlib
import copy
import io
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import wait
from typing import Any

import torch
from problem import bowl
from specs import pipeline_with
from torch import Tensor
from torch.nn import Parameter

import edsl
from edsl.codegen.triton import BLOCK
from edsl.lab.benchmarks.parameter_sets import Shape
from edsl.lab.closure import closure_for
from edsl.language.pipeline import Pipeline
from edsl.language.registry.recipes import RECIPES
from edsl.language.registry.stages import STAGES
from gpu_parts.run import Row, Run, notes, table

TITLE = "Correctness"
STEPS = 20
QUICK = ("alto", "grad | noise | sgd", "sam | sgd", "emuon")
# A method for which a dtype itself parts further from float64 than this (SOAP where a covariance has no rank, a sign)
# may part FACTOR times as far as its own eager steps in that dtype on a CPU do, and MOST at the most.
BOUNDS = {"float32": 1e-6, "bfloat16": 1e-2, "float16": 1e-3}
FACTOR, MOST = 4, 0.05
CRASHED = "its process ended with exit code {}"


def specs(quick: bool) -> list[str]:
    """Recipes first, then a pipeline around each stage that is left."""
    found = dict.fromkeys([*RECIPES, *map(pipeline_with, STAGES)])
    return [spec for spec in found if not edsl.parse(spec).update.moves_weights and (not quick or spec in QUICK)]


def measure(run: Run) -> None:
    """A row for each pipeline and dtype."""
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["gpu_parts.correctness"])
    run.record({"asked": sum(len(dtypes(spec, run.quick)) for spec in specs(run.quick))})
    queues = [[spec for spec in specs(run.quick) if _takes_matrices(spec) is takes] for takes in (False, True)]
    most = max(1, min(12, (os.cpu_count() or 2) - 2)) if run.on_gpu else 1
    working: dict[Any, tuple[Any, str]] = {}
    while any(queues) or working:
        while any(queues) and len(working) < most:
            spec = _next(queues, [spec for _, spec in working.values()], most)
            if spec is None:
                break
            ours, theirs = processes.Pipe(duplex=False)
            process = processes.Process(target=_work, args=(theirs, spec, run.device, run.quick, run.left), daemon=True)
            process.start()
            theirs.close()
            working[ours] = (process, spec)
        if run.left <= 0:
            break
        for ready in wait(list(working), timeout=max(0.1, min(1.0, run.left))):
            process, spec = working[ready]
            try:
                run.record(ready.recv())  # pyright: ignore[reportAttributeAccessIssue]
            except EOFError:
                process.join()
                del working[ready]
                if process.exitcode != 0:
                    run.record({"failed": spec, "why": CRASHED.format(process.exitcode)})
    for process, spec in working.values():
        process.kill()
        run.skip(spec, "the time was up before it ended")
    for spec in queues[0] + queues[1]:
        run.skip(spec, "the time was up before it began")


def _next(queues: list[list[str]], working: Sequence[str], most: int) -> str | None:
    """The next pipeline to check: one with matrices, which compile for minutes, while these take up to half of all."""
    plain, matrices = queues
    room = 2 * sum(map(_takes_matrices, working)) < most
    chosen = matrices if matrices and room else plain
    return chosen.pop(0) if chosen else None


def dtypes(spec: str, quick: bool) -> list[str]:
    """Those in which a pipeline is checked: matrices are not factored in float16; quickly, all with one only."""
    chosen = list(BOUNDS) if not quick or spec == QUICK[0] else ["float32"]
    return [dtype for dtype in chosen if dtype != "float16" or not _takes_matrices(spec)]


def _work(results: Any, spec: str, device: str, quick: bool, left: float) -> None:
    torch.set_num_threads(1)
    run = Run(device, quick, time.monotonic() + left, results.send)
    for dtype in dtypes(spec, quick):
        with run.attempt(f"{spec} in {dtype}"):
            run.record(check(run, spec, dtype))


def check(run: Run, spec: str, dtype: str) -> Row:
    """One pipeline in one dtype.

    Returns:
        error: of θ after the steps, ‖θ − θ₆₄‖ / ‖θ₆₄‖ of the worst tensor; `bound`: the most that it may be.
        repeats, resumes, moves: the same bits when run again (on a stream of its own, on a GPU), when saved and loaded
            at half-time, when the saved state was loaded on a CPU in between.
        recompiled: after the second step, while lr changes in each.
        scaled: with GradScaler the same bits as without, and nothing moved by a step that overflowed; None in half
            precision, whose gradients it refuses to unscale, and for closures.
        offloaded, attached: the same bits with state in the CPU's memory, and stepped one parameter at a time; None
            without a GPU and where a pipeline refuses it, and for matrices that would no longer step in a stack.
    """
    pipeline = edsl.parse(spec)
    problem = Problem(pipeline, getattr(torch, dtype), run.quick)
    random = pipeline.estimator.draws_directions or any(stage.needs_noise for stage in pipeline.stages)
    if random:  # a GPU draws other numbers than a CPU
        exact = problem.walk(run.device, eager(spec))
        rounding = 0.0
    else:
        exact = problem.walk("cpu", eager(spec), torch.float64)
        rounding = distance(problem.walk("cpu", eager(spec)), exact)

    def build(params: Any) -> Any:
        return run.optimizer(spec, params)

    walked = Walked()
    ours = problem.walk(run.device, build, watched=walked)
    with _stream(run):
        again = problem.walk(run.device, build)
    resumed = problem.walk(run.device, build, interrupted=_reloaded(build))
    moved = problem.walk(run.device, build, interrupted=_through_the_cpu(spec, build))
    bound = max(BOUNDS[dtype], min(FACTOR * rounding, MOST))
    row = {
        "spec": spec,
        "dtype": dtype,
        "against": "eager steps here" if random else "float64 on a CPU",
        "error": distance(ours, exact),
        "bound": bound,
        "repeats": same(ours, again),
        "resumes": same(ours, resumed),
        "moves": same(ours, moved),
        "recompiled": walked.graphs[-1] - walked.graphs[1],
        "kernels": walked.optimizer.engine.cuda.kernels,
        "expects_kernels": not _takes_matrices(spec),
        "reasons": list(walked.optimizer.engine.cuda.reasons),
        "fallbacks": list(walked.optimizer.fallbacks),
        "scaled": _scaled(run, problem, build) if dtype == "float32" and _is_plain(pipeline) else None,
        "offloaded": _same_with(run, problem, ours, lambda params: edsl.compile(spec, params, offload=True)),
        "attached": None
        if _takes_matrices(spec)
        else _same_with(run, problem, ours, lambda params: edsl.attach(spec, params)),
    }
    right = row["error"] <= bound and row["repeats"] and row["resumes"] and row["moves"]
    right = right and all(row[name] is not False for name in ("scaled", "offloaded", "attached"))
    compiled = row["kernels"] > 0 or not row["expects_kernels"]
    return {**row, "ok": bool(right and compiled and row["recompiled"] == 0 and not row["fallbacks"])}


class Walked:
    """What a walk saw: its optimizer, and how many graphs were compiled by the end of each step."""

    def __init__(self) -> None:
        self.optimizer: Any = None
        self.graphs: list[int] = []


class Problem:
    """Tensors of every layout with gradients for some steps, the same on every device."""

    def __init__(self, pipeline: Pipeline, dtype: torch.dtype, quick: bool) -> None:
        self.pipeline, self.dtype, self.steps = pipeline, dtype, 4 if quick else STEPS
        self.generator = torch.Generator().manual_seed(7)
        matrices: dict[str, Shape] = {"matrix": (6, 6), "its partner": (6, 6)}  # two of a shape are stepped in a stack
        matrices |= {"transposed": (5, 3), "strided": (6, 4), "channels last": (4, 2, 2, 2)}
        long = BLOCK + 1 if quick else 4 * BLOCK + 1  # elements: of more than one program
        others = {"scalar": (), "one": (1,), "seven": (7,), "long": (long,), "idle": (3,)}
        self.shapes = matrices if _only_matrices(pipeline) else {**matrices, **others}
        self.values = {name: self._drawn(shape, 1.0) for name, shape in self.shapes.items()}
        self.rows = [{name: self._drawn(shape, 0.1) for name, shape in self.shapes.items()} for _ in range(self.steps)]

    def _drawn(self, shape: tuple[int, ...], scale: float) -> Tensor:
        """In float64, numbers that the dtype has."""
        return (scale * torch.randn(shape, generator=self.generator, dtype=torch.float64)).to(self.dtype).double()

    def walk(
        self,
        device: str,
        build: Callable[[Any], Any],
        dtype: torch.dtype | None = None,
        watched: Walked | None = None,
        interrupted: Callable[[Any, Any], Any] | None = None,
    ) -> list[Tensor]:
        """θ after all steps, on a CPU in float64.

        Args:
            build: named parameters → optimizer.
            interrupted: (parameters, optimizer) → another optimizer that goes on in its place, at half-time.
        """
        dtype = dtype or self.dtype
        params = {name: _laid(name, value.to(device, dtype)) for name, value in self.values.items()}
        optimizer = build(list(params.items()))
        rates = [group["lr"] for group in optimizer.param_groups]
        for step, row in enumerate(self.rows):
            if interrupted is not None and step == self.steps // 2:
                optimizer = interrupted(list(params.items()), optimizer)
            for group, rate in zip(optimizer.param_groups, rates):
                group["lr"] = rate * (1 - step / (2 * self.steps))
            self.step(optimizer, params, {name: value.to(device, dtype) for name, value in row.items()}, step)
            if watched is not None:
                watched.optimizer = optimizer
                watched.graphs.append(optimizer.compiled_graphs)
        return [parameter.detach().double().cpu() for parameter in params.values()]

    def step(self, optimizer: Any, params: dict[str, Parameter], row: dict[str, Tensor], step: int) -> None:
        """A step on gradients, one of which is missing each third time, or on a loss with these gradients."""
        if self.pipeline.estimator.needs_closure:
            loss = closure_for(self.pipeline, optimizer, lambda: bowl(params.values(), row.values()))
            for _ in range(self.pipeline.estimator.calls):
                optimizer.step(loss)
            return
        for name, parameter in params.items():
            gradient = row[name] if step % 2 else _like(parameter, row[name])
            parameter.grad = None if name == "idle" and step % 3 == 1 else gradient
        for _ in range(self.pipeline.estimator.calls):
            optimizer.step()


def eager(spec: str) -> Callable[[Any], Any]:
    """Makes optimizers that compile nothing."""
    return lambda params: edsl.compile(spec, params, mode="eager")


def distance(ours: Sequence[Tensor], exact: Sequence[Tensor]) -> float:
    """‖a − b‖ / ‖b‖ of the worst tensor; NaN counts as infinity."""
    found = [float((a - b).norm() / b.norm()) for a, b in zip(ours, exact, strict=True)]
    return max(error if error == error else float("inf") for error in found)


def same(these: Sequence[Tensor], those: Sequence[Tensor]) -> bool:
    return all(map(torch.equal, these, those))


def _laid(name: str, value: Tensor) -> Parameter:
    """A parameter of its own, with the layout that its name says."""
    value = value.clone()
    if name == "transposed":
        value = value.t().contiguous().t()
    elif name == "strided":
        value = torch.stack([value, value], dim=-1).flatten(-2)[:, ::2]
    elif name == "channels last":
        value = value.to(memory_format=torch.channels_last)
    return Parameter(value)


def _like(parameter: Tensor, gradient: Tensor) -> Tensor:
    """A gradient in the parameter's layout."""
    return torch.empty_like(parameter, requires_grad=False).copy_(gradient)


def _reloaded(build: Callable[[Any], Any]) -> Callable[[Any, Any], Any]:
    def reload(params: Any, optimizer: Any) -> Any:
        file = io.BytesIO()
        torch.save(optimizer.state_dict(), file)
        file.seek(0)
        another = build(params)
        another.load_state_dict(torch.load(file, weights_only=True))
        return another

    return reload


def _through_the_cpu(spec: str, build: Callable[[Any], Any]) -> Callable[[Any, Any], Any]:
    """Loads the state into an optimizer of copies on a CPU, and what that says into one on the device."""

    def move(params: Any, optimizer: Any) -> Any:
        copies = [(name, Parameter(parameter.detach().cpu())) for name, parameter in params]
        there = edsl.compile(spec, copies, mode="eager")
        there.load_state_dict(copy.deepcopy(optimizer.state_dict()))
        back = build(params)
        back.load_state_dict(there.state_dict())
        return back

    return move


def _scaled(run: Run, problem: Problem, build: Callable[[Any], Any]) -> bool:
    """Whether steps through GradScaler give the bits of plain ones, and one that overflowed moves nothing."""
    scaler = torch.amp.GradScaler(run.device, init_scale=2.0**8)
    scaler.scale(torch.zeros((), device=run.device))
    overflow, ends = 2, []
    for scales in (True, False):
        params = {name: _laid(name, value.to(run.device, problem.dtype)) for name, value in problem.values.items()}
        optimizer = build(list(params.items()))
        for step, row in enumerate(problem.rows[:4]):
            for name, parameter in params.items():
                gradient = row[name].to(run.device, problem.dtype)
                parameter.grad = scaler.get_scale() * gradient if scales else gradient
            if scales:
                if step == overflow:
                    params["matrix"].grad = torch.full_like(params["matrix"], float("inf"))
                scaler.step(optimizer)
                scaler.update(2.0**8)
            elif step != overflow:
                optimizer.step()
        ends.append([parameter.detach().cpu() for parameter in params.values()])
    return same(*ends)


def _same_with(run: Run, problem: Problem, ours: Sequence[Tensor], build: Callable[[Any], Any]) -> bool | None:
    """Whether another way of stepping gives the same bits on a GPU; None where there is none, or it is refused."""
    if not run.on_gpu:
        return None
    try:
        build([(name, Parameter(value.to(run.device, problem.dtype))) for name, value in problem.values.items()])
    except edsl.EdslError:
        return None
    return same(ours, problem.walk(run.device, build))


@contextlib.contextmanager
def _stream(run: Run) -> Iterator[None]:
    """A stream beside the default one."""
    if not run.on_gpu:
        yield
        return
    torch.cuda.synchronize()
    with torch.cuda.stream(torch.cuda.Stream()):
        yield
    torch.cuda.synchronize()


def _is_plain(pipeline: Pipeline) -> bool:
    """Whether one call on gradients is a step, as GradScaler needs."""
    return not pipeline.estimator.needs_closure and pipeline.estimator.calls == 1


def _takes_matrices(spec: str) -> bool:
    pipeline = edsl.parse(spec)
    return any(stage.is_matrix for branch in pipeline.branches.values() for stage in branch.stages)


def _only_matrices(pipeline: Pipeline) -> bool:
    return "" in pipeline.branches and any(stage.is_matrix for stage in pipeline.stages)


def summary(rows: Sequence[Row]) -> str:
    """One line, and all that is wrong."""
    checked = [row for row in rows if "spec" in row]
    wrong = [row for row in checked if not row["ok"]]
    asked = sum(row.get("asked", 0) for row in rows)
    right = len(checked) - len(wrong)
    lines = [f"{right} of {len(checked)} pipelines and dtypes right, of {asked} asked for", *map(_what_is_wrong, wrong)]
    return "\n".join([*lines, *notes(rows)])


def _what_is_wrong(row: Row) -> str:
    kept = ("repeats", "resumes", "moves", "scaled", "offloaded", "attached")
    said = [f"{name}: no" for name in kept if row.get(name) is False]
    error = float("inf") if row["error"] is None else row["error"]  # as JSON has what is not finite
    if not error <= row["bound"]:
        said.append(f"error {error:.2g} over {row['bound']:.2g}")
    if row["expects_kernels"] and not row["kernels"]:
        said.append(f"no Triton kernels ({'; '.join(row['reasons']) or 'no reason was given'})")
    said += [f"{row['recompiled']} graphs after the second step"] * bool(row["recompiled"])
    return f"- **wrong**: {row['spec']} in {row['dtype']}: {'; '.join([*said, *row['fallbacks']])}"


def tables(rows: Sequence[Row]) -> str:
    """All pipelines, a row each."""
    titles = ["pipeline", "dtype", "against", "error", "≤", "repeats", "resumes", "moves", "GradScaler"]
    titles += ["recompiled", "Triton kernels"]
    keys = ("spec", "dtype", "against", "error", "bound", "repeats", "resumes", "moves", "scaled")
    keys += ("recompiled", "kernels")
    body = sorted((row for row in rows if "spec" in row), key=lambda row: (row["ok"], row["spec"], row["dtype"]))
    return table(titles, [[row[key] for key in keys] for row in body])
