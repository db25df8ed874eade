"""Training while somebody meddles with its tensors between steps; each run in a process of its own."""

from __future__ import annotations

import os
import pickle
import random
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.testing._internal.two_tensor import TwoTensor

import edsl
from edsl.errors import EdslError

STEPS = 6
SHAPES = ((6, 4), (4, 6), (6, 4))


class Tagged(Tensor):
    """A subclass that only adds a name."""


@dataclass(frozen=True)
class Perturbation:
    """What is done, to what, and when.

    Attributes:
        act: its name in ACTS.
        target: "parameter", "gradient", "m" or "v" of a layer; "group" or "context" of all.
        layer, other: which layers.
        step: before which step.
    """

    act: str
    target: str
    layer: int
    other: int
    step: int

    @property
    def keeps_values(self) -> bool:
        """Whether every number stays what it was, so that training may go on as if nothing had happened."""
        return self.act in KEEPING or self.act == "half"

    @property
    def tolerance(self) -> float:
        return 0.02 if self.act == "half" else 1e-4


@dataclass
class Training:
    """An optimizer with its parameters, and the names of its state."""

    optimizer: Any
    params: list[Any]
    names: dict[str, str]  # "m" → exp_avg

    def tensor(self, target: str, layer: int) -> Any:
        parameter = self.params[layer]
        if target == "parameter":
            return parameter
        if target == "gradient":
            return parameter.grad
        return self.optimizer.state[parameter].get(self.names.get(target, target))

    def put(self, target: str, layer: int, made: Any) -> None:
        """Have another tensor in a tensor's place."""
        parameter = self.params[layer]
        if target == "gradient":
            parameter.grad = made
        elif target == "parameter":
            parameter.data = made
        else:
            self.optimizer.state[parameter][self.names.get(target, target)] = made


def relaid(t: Tensor) -> Tensor:
    return t.detach().t().contiguous().t()


def strided(t: Tensor) -> Tensor:
    return torch.stack([t.detach(), torch.full_like(t, 7)], dim=-1)[..., 0]


def offset(t: Tensor) -> Tensor:
    return torch.cat([t.new_full((5,), 9), t.detach().flatten(), t.new_full((3,), 9)])[5:-3].view(t.shape)


def negated(t: Tensor) -> Tensor:
    return torch._neg_view(-t.detach())


REPLACED: dict[str, Callable[[Tensor], Any]] = {
    "clone": lambda t: t.detach().clone(),
    "relay": relaid,
    "stride": strided,
    "offset": offset,
    "negate": negated,
    "double": lambda t: t.detach().double(),
    "half": lambda t: t.detach().bfloat16(),
    "integers": lambda t: t.detach().to(torch.int32),
    "tag": lambda t: t.detach().as_subclass(Tagged),
    "two": lambda t: TwoTensor(t.detach().clone(), t.detach().clone()),
    "meta": lambda t: t.detach().to("meta"),
    "shrink": lambda t: t.detach()[:3].clone(),
    "shrink_in_place": lambda t: t.detach()[:3],
    "turn": lambda t: t.detach().t(),
    "grow": lambda t: torch.cat([t.detach(), t.detach()]),
    "flatten": lambda t: t.detach().flatten(),
    "expand": lambda t: t.detach()[:1].expand(t.shape),
    "zeros": lambda t: torch._efficientzerotensor(t.shape, dtype=t.dtype, device="cpu"),
    "sparse": lambda t: t.detach().to_sparse(),
    "none": lambda t: None,
}
KEEPING = {
    "clone",
    "relay",
    "stride",
    "offset",
    "negate",
    "double",
    "tag",
    "set",
    "data",
    "relay_data",
    "load",
    "carry",
}


def by_data(make: Callable[[Tensor], Tensor]) -> Callable[[Training, Perturbation], None]:
    def act(training: Training, p: Perturbation) -> None:
        tensor = training.tensor(p.target, p.layer)
        tensor.data = make(tensor)

    return act


def replaced(name: str) -> Callable[[Training, Perturbation], None]:
    def act(training: Training, p: Perturbation) -> None:
        training.put(p.target, p.layer, REPLACED[name](training.tensor(p.target, p.layer)))

    return act


def set_storage(training: Training, p: Perturbation) -> None:
    tensor = training.tensor(p.target, p.layer)
    with torch.no_grad():
        tensor.set_(tensor.detach().clone())


def resize_storage(training: Training, p: Perturbation) -> None:
    training.tensor(p.target, p.layer).untyped_storage().resize_(8)


def share(training: Training, p: Perturbation) -> None:
    """Two layers of one shape on the same memory."""
    training.tensor(p.target, 2).data = training.tensor(p.target, 0).data


def overlap(training: Training, p: Perturbation) -> None:
    """Two layers on memory of which they share a part."""
    one, other = training.tensor(p.target, 0), training.tensor(p.target, 2)
    room = torch.cat([one.detach().flatten(), other.detach().flatten()[:8]])
    one.data, other.data = room[:24].view(6, 4), room[8:].view(6, 4)


def gradient_is(what: str) -> Callable[[Training, Perturbation], None]:
    def act(training: Training, p: Perturbation) -> None:
        training.params[p.layer].grad = training.tensor(what, p.layer).detach()

    return act


def state_is(what: str) -> Callable[[Training, Perturbation], None]:
    def act(training: Training, p: Perturbation) -> None:
        training.put("m", p.layer, training.tensor(what, p.layer).detach())

    return act


def new_parameter(training: Training, p: Perturbation, carried: bool = False) -> None:
    """A fresh parameter in an old one's place, as densification makes them."""
    old = training.params[p.layer]
    made = nn.Parameter(old.detach().clone())
    made.grad = old.grad
    state = training.optimizer.state.pop(old)
    if carried:
        training.optimizer.state[made] = state
    training.params[p.layer] = made
    training.optimizer.param_groups[0]["params"] = list(training.params)


def drop_parameter(training: Training, p: Perturbation) -> None:
    params = training.optimizer.param_groups[0]["params"]
    training.optimizer.param_groups[0]["params"] = [q for q in params if q is not training.params[p.layer]]


def turn_groups_order(training: Training, p: Perturbation) -> None:
    training.optimizer.param_groups[0]["params"].reverse()


def clear_state(training: Training, p: Perturbation) -> None:
    training.optimizer.state[training.params[p.layer]].clear()


def lose(training: Training, p: Perturbation) -> None:
    del training.optimizer.state[training.params[p.layer]][training.names.get(p.target, p.target)]


def step_is(value: Any) -> Callable[[Training, Perturbation], None]:
    def act(training: Training, p: Perturbation) -> None:
        if "step" in training.optimizer.state[training.params[p.layer]]:
            training.put("step", p.layer, value)

    return act


ACTS: dict[str, Callable[[Training, Perturbation], None]] = {
    **{name: replaced(name) for name in REPLACED},
    "data": by_data(lambda t: t.detach().clone()),
    "relay_data": by_data(relaid),
    "turn_data": by_data(lambda t: t.detach().flatten().view(t.shape[::-1]).t()),
    "shrink_data": by_data(lambda t: t.detach()[:2]),
    "set": set_storage,
    "resize": resize_storage,
    "share": share,
    "overlap": overlap,
    "gradient_is_parameter": gradient_is("parameter"),
    "gradient_is_state": gradient_is("m"),
    "state_is_parameter": state_is("parameter"),
    "state_is_gradient": state_is("gradient"),
    "replace": new_parameter,
    "carry": lambda training, p: new_parameter(training, p, carried=True),
    "drop": drop_parameter,
    "reverse": turn_groups_order,
    "clear": clear_state,
    "lose": lose,
    "load": lambda training, p: training.optimizer.load_state_dict(training.optimizer.state_dict()),
    "step_nan": step_is(torch.tensor(float("nan"))),
    "step_text": step_is("three"),
    "step_long": step_is(torch.ones(3)),
}
WHOLE = {"replace", "carry", "drop", "reverse", "clear", "load", "step_nan", "step_text", "step_long"}
WHOLE |= {"gradient_is_parameter", "gradient_is_state", "state_is_parameter", "state_is_gradient"}


def some(seed: int, count: int, buffers: tuple[str, ...]) -> list[Perturbation]:
    """Random perturbations; every kind comes as often as every other."""
    chosen = random.Random(seed)
    found = []
    names = sorted(ACTS)
    while len(found) < count:
        chosen.shuffle(names)
        for act in names:
            target = "group" if act in WHOLE else chosen.choice(("parameter", "gradient", *buffers))
            if act == "lose":
                target = chosen.choice(("step", *buffers))
            layer, other = chosen.sample(range(len(SHAPES)), 2)
            found.append(Perturbation(act, target, layer, other, chosen.randint(1, STEPS - 2)))
    return found[:count]


def train(made: Callable[[list[Any]], Any], names: dict[str, str], perturbation: Perturbation | None) -> Any:
    """The parameters after each step as lists of floats, or what ended it."""
    torch.manual_seed(0)
    params = [nn.Parameter(torch.randn(shape)) for shape in SHAPES]
    training = Training(made(params), params, names)
    seen = []
    for step in range(STEPS):
        for layer, parameter in enumerate(training.params):
            drawn = torch.randn(SHAPES[layer], generator=torch.Generator().manual_seed(10 * step + layer))
            parameter.grad = drawn.to(parameter.dtype) if parameter.shape == drawn.shape else parameter.grad
        if perturbation is not None and step == perturbation.step:
            try:
                ACTS[perturbation.act](training, perturbation)
            except Exception as reason:  # torch itself does not let anybody
                return "impossible", repr(reason)
        try:
            training.optimizer.step()
            seen.append([p.detach().to(torch.float64, copy=True).flatten().tolist() for p in training.params])
        except EdslError as reason:  # and its kinds
            return "refused", str(reason)
        except Exception as reason:
            return "raised", repr(reason)
    return "trained", seen


def in_a_process(run: Callable[[], Any], seconds: int = 60) -> Any:
    """What it returns, or ("died", signal)."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        signal.alarm(seconds)
        os.close(reading)
        try:
            data = pickle.dumps(run())
            with os.fdopen(writing, "wb") as pipe:
                pipe.write(data)
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        data = pipe.read()
    _, status = os.waitpid(child, 0)
    return pickle.loads(data) if data and status == 0 else ("died", status)


@dataclass(frozen=True)
class Path:
    """One way in which edsl steps, and the torch optimizer that does the same.

    Attributes:
        names, theirs: of the buffers m and v.
        noise: how far the two part by rounding alone.
    """

    spec: str
    mode: str
    reference: Callable[[list[Any]], Any]
    names: dict[str, str]
    theirs: dict[str, str]
    noise: float = 0.0

    def compiled(self, params: list[Any]) -> Any:
        return edsl.compile(self.spec, params, mode=self.mode)


def _adamw(params: list[Any]) -> Any:
    return torch.optim.AdamW(params, lr=0.1, weight_decay=0.01, foreach=False)


def _muon(params: list[Any]) -> Any:
    return torch.optim.Muon(params, lr=0.1, weight_decay=0.0)


ADAM = {"m": "adamw.m", "v": "adamw.v"}, {"m": "exp_avg", "v": "exp_avg_sq"}
MUON = {"m": "muon.m"}, {"m": "momentum_buffer"}
MUON_SPEC = "muon(lr=0.1, polynomials='jordan', precision='bfloat16')"
PATHS = {
    "native": Path("adamw(lr=0.1, weight_decay=0.01)", "compiled", _adamw, *ADAM),
    "eager": Path("adamw(lr=0.1, weight_decay=0.01)", "eager", _adamw, *ADAM),
    "inductor": Path("adamw(lr=0.1, weight_decay=0.01)", "inductor", _adamw, *ADAM),
    "matrix": Path(MUON_SPEC, "eager", _muon, *MUON, noise=0.02),
    "stacks": Path(MUON_SPEC, "compiled", _muon, *MUON, noise=0.02),
}


def alike(one: Any, other: Any, tolerance: float) -> bool:
    """Whether two trainings went the same way."""
    if one[0] != "trained" or other[0] != "trained":
        return False
    steps = zip(one[1], other[1], strict=True)
    pairs = [pair for a, b in steps for pair in zip(a, b, strict=True)]
    if any(len(a) != len(b) for a, b in pairs):
        return False
    values = (value for a, b in pairs for value in zip(a, b))
    return all(abs(a - b) <= tolerance * (1 + abs(b)) or (a != a and b != b) for a, b in values)


def verdict(path: Path, perturbation: Perturbation, undisturbed: Any) -> str:
    """What became of a perturbed training: as torch, as undisturbed, one clear error, or what is wrong."""
    ours = in_a_process(lambda: train(path.compiled, path.names, perturbation))
    theirs = in_a_process(lambda: train(path.reference, path.theirs, perturbation))
    tolerance = max(path.noise, perturbation.tolerance)
    if ours[0] == "impossible":
        return "impossible"
    if ours[0] == "refused" and "\n" not in ours[1]:
        return "a clear error"
    if alike(ours, theirs, tolerance):
        return "as torch"
    if perturbation.keeps_values and alike(ours, undisturbed, tolerance):
        return "as undisturbed"
    return f"{perturbation}: {_short(ours)}, torch {_short(theirs)}"


def _short(result: Any) -> Any:
    return "trained to other numbers" if result[0] == "trained" else result


def main(name: str, count: int, seed: int) -> None:
    """Print a path's name and the verdict of each of some random perturbations of it."""
    path = PATHS[name]
    undisturbed = train(path.reference, path.theirs, None)
    ours = train(path.compiled, path.names, None)  # which compiles for all that follow
    assert alike(ours, undisturbed, max(path.noise, 1e-5)), "the two optimizers are not the same to begin with"
    for perturbation in some(seed, count, tuple(path.names)):
        print(name, verdict(path, perturbation, undisturbed), flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    for word in sys.argv[2:]:
        main(word.partition("=")[0], int(word.partition("=")[2]), seed=int(sys.argv[1]))
