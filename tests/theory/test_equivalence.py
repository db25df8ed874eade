"""`compare`: never "equal" of what is not, all that is equal by construction found, every map right."""

import contextlib
import json
import random
import sys
from dataclasses import dataclass

import pytest
import torch
from specs import pipeline_with

import edsl
from edsl.adapters.exploration import PastMean
from edsl.cli import main as cli
from edsl.lab.closure import closure_for
from edsl.language.domain import DECAY, Number, field
from edsl.language.registry.recipes import RECIPES
from edsl.language.registry.stages import STAGES
from edsl.stage import Adaptor
from edsl.theory.equivalence.comparison import compare
from edsl.theory.equivalence.mapping import find_map
from edsl.theory.statements.relations import relations
from edsl.theory.systems.linearise import NotLinear

STEPS = 60


def walk(pipeline, seed=7):
    """θ after every step on a quadratic of 6 dimensions, by the optimizer itself in float64."""
    generator = torch.Generator().manual_seed(seed)
    basis, _ = torch.linalg.qr(torch.randn(6, 6, generator=generator, dtype=torch.float64))
    hessian = basis @ torch.diag(torch.logspace(-1.5, 0, 6, dtype=torch.float64)) @ basis.T
    parameter = torch.nn.Parameter(1 + torch.randn(2, 3, generator=generator, dtype=torch.float64))
    optimizer = edsl.compile(pipeline, [parameter], mode="eager")

    def loss():
        x = parameter.reshape(-1)
        return x @ hessian @ x / 2 - x.sum() / 3

    closure = closure_for(pipeline, optimizer, loss)
    for _ in range(STEPS):
        optimizer.step(closure)
        yield parameter.detach()


def parting(first, second, enough=1e-9):
    """The largest |a − b| / max(1, |a|) in a run of both, which ends where that is enough, or neither is finite."""
    worst = 0.0
    for a, b in zip(walk(first), walk(second)):
        if not (a.isfinite().any() or b.isfinite().any()) or worst > enough:
            break
        worst = max(worst, ((a - b).abs() / a.abs().clamp(min=1)).nan_to_num(nan=torch.inf).max().item())
    return worst


def drawn(rng, *values):
    return rng.choice(values)


def exploration(rng, starts=("zero", "first")):
    beta1 = drawn(rng, 0, 0.01, 0.5, 0.9, 0.99, round(rng.uniform(0, 0.99), 4))
    alpha = round(rng.uniform(-0.95, 0.95) / (1 - beta1), 3)
    return f"e(alpha={alpha}, beta1={beta1}, buffers={drawn(rng, 1, 2)}, start='{drawn(rng, *starts)}')"


def update(rng):
    lr = drawn(rng, 0.01, 0.05, round(rng.uniform(0.001, 0.1), 5))
    decay = drawn(rng, 0, 0, 0.1)
    beta2, beta3 = drawn(rng, 0.5, 0.9, 0.95), drawn(rng, 0.9, 0.99)
    eps = drawn(rng, 1e-8, 1e-6, 1e-3)
    momentum = drawn(rng, 0, 0.5, 0.9)
    nesterov = momentum > 0 and rng.random() < 0.4
    average = drawn(rng, "sum", "ema")
    moments = f"lr={lr}, beta2={beta2}, beta3={beta3}, weight_decay={decay}"
    reads = f"m_reads='{drawn(rng, 'u', 'g')}', v_reads='{drawn(rng, 'u', 'g')}'"
    switches = f"layerwise={drawn(rng, True, False, False)}, bias_correction={drawn(rng, True, False)}"
    return drawn(
        rng,
        f"sgd(lr={lr}, momentum={momentum}, weight_decay={decay}, average='{average}', nesterov={nesterov})",
        f"qhm(lr={lr}, momentum={momentum}, nu={drawn(rng, 0.7, 1, 1.3)}, weight_decay={decay})",
        f"{drawn(rng, 'adam', 'adamw', 'adabelief')}({moments}, eps1={eps})",
        f"lamb({moments}, eps1={eps}, {switches}, {reads})",
        f"adan({moments}, eps1={eps})",
        f"rmsprop(lr={lr}, beta3={beta3}, momentum={momentum}, weight_decay={decay}, eps1={eps})",
        f"lars(lr={lr}, momentum={momentum}, weight_decay={decay}, layerwise={drawn(rng, True, False)})",
        f"lion(lr={lr}, weight_decay={decay})",
    )


def pipeline(rng):
    estimator = drawn(rng, *["grad"] * 8, "grad(accumulate=2)", "spsa(seed=1)", "sam")
    before = [exploration(rng) for _ in range(drawn(rng, 0, 1, 1, 2))]
    if rng.random() < 0.2:
        before.insert(rng.randrange(len(before) + 1), drawn(rng, "noise(std=0.1)", "clip(norm=1)", "guard"))
    behind = drawn(rng, *[[]] * 6, ["decay(rate=0.1)"], ["lookahead(every=5)"], ["caution"], ["ema_weights(decay=0.9)"])
    return " | ".join([estimator, *before, update(rng), *behind])


def mutated(rng, text):
    """A pipeline with one change: of a number, a switch, or a stage."""
    before = edsl.parse(text)
    kind = rng.random()
    if kind < 0.5:
        numbers = before.hyperparameters
        for _ in range(10):
            key = rng.choice(list(numbers))
            value = numbers[key] * drawn(rng, 1 + 1e-6, 0.99, 0.5) if numbers[key] else drawn(rng, 0.01, 0.3)
            try:
                return before.override(**{key: value})
            except edsl.EdslError:
                continue
        return before
    stages = list(before.stages)
    if kind < 0.75:
        return edsl.parse(drawn(rng, f"{text} | decay(rate=0.01)", text.replace("grad", "grad(accumulate=3)", 1)))
    changes = {
        "nesterov": None, "average": ("sum", "ema"), "m_reads": ("u", "g"), "v_reads": ("u", "g"),
        "bias_correction": None, "layerwise": None, "start": ("zero", "first"), "buffers": (1, 2),
    }  # fmt: skip
    places = [(i, name) for i, stage in enumerate(stages) for name in stage.argument_names() if name in changes]
    if not places:
        return edsl.parse(update(rng))
    place, name = rng.choice(places)
    own, values = getattr(stages[place], name), changes[name]
    other = (not own) if values is None else values[1 - values.index(own)]
    try:
        stages[place] = stages[place].replace({name: other})
    except edsl.EdslError:
        return before
    return edsl.Pipeline(tuple(stages))


def random_pairs(count, seed):
    rng = random.Random(seed)
    pairs = []
    while len(pairs) < count:
        text = pipeline(rng)
        try:
            pair = edsl.parse(text), mutated(rng, text) if rng.random() < 0.8 else edsl.parse(pipeline(rng))
        except edsl.EdslError:  # nothing stands behind ema_weights
            continue
        if pair[0] != pair[1]:
            pairs.append(pair)
    return pairs


@dataclass(frozen=True)
class Grokfast(Adaptor):
    """u = g + λ m,  m = β m + (1−β) g.  Lee et al. 2024, Grokfast-EMA."""

    name = "grokfast"
    beta: float = field(0.98, DECAY)
    strength: float = field(2.0, Number())

    def init(self, zero):
        return PastMean(zero)

    def step(self, x, memory, at):
        mean = self.beta * memory.mean + (1 - self.beta) * x
        return x + self.strength * mean, PastMean(mean)


def same_pairs(count, seed):
    """Pairs that are equal by a known identity, with numbers of all 16 digits."""
    rng = random.Random(seed)
    pairs = []
    for number in range(count):
        lr, beta, rate = rng.uniform(0.001, 0.1), rng.uniform(0.05, 0.95), rng.uniform(0.001, 0.3)
        slower, strength = beta + rng.uniform(0.1, 0.9) * (1 - beta), rng.uniform(0.1, 5)
        alpha = rng.uniform(-0.95, 0.95) / (1 - beta)
        e, one, other = with_e(alpha, beta), exploration(rng, ["zero"]), exploration(rng, ["zero"])
        behind, decays, m = update(rng), f"beta2={beta}, beta3={slower}", f"momentum={beta}"
        mixed = -(slower - beta) / (1 - beta) / (1 - slower)
        grokfast = -strength * beta / (1 + strength) / (1 - beta)
        known = [
            (f"grad | {e} | {behind}", f"grad | {with_e(alpha, beta, buffers=2)} | {behind}"),
            (f"grad | {one} | {other} | {behind}", f"grad | {other} | {one} | {behind}"),
            (f"grad | {e} | sgd(lr={lr})", f"qhm(lr={lr}, {m}, nu={-alpha * (1 - beta) / beta})"),
            (f"sgd(lr={lr}, {m})", f"grad | {with_e(-beta / (1 - beta), beta)} | sgd(lr={lr / (1 - beta)})"),
            (
                f"sgd(lr={lr}, {m}, nesterov=True)",
                f"grad | {with_e(-(beta**2) / (1 - beta), beta)} | sgd(lr={lr / (1 - beta)})",
            ),
            (f"sgd(lr={lr}, {m}, average='ema')", f"sgd(lr={lr * (1 - beta)}, {m})"),
            (f"adamw(lr={lr}, weight_decay={rate})", f"adam(lr={lr}) | decay(rate={rate})"),
            (
                f"adamw(lr={lr}, {decays}, weight_decay={rate})",
                f"lamb(lr={lr}, {decays}, weight_decay={rate}, eps1=1e-8, layerwise=False)",
            ),
            (f"sgd(lr={lr}, weight_decay={rate})", f"sgd(lr={lr}) | decay(rate={rate})"),
            (
                f"grad | grokfast(beta={beta}, strength={strength}) | sgd(lr={lr}, momentum={slower})",
                f"grad | {with_e(grokfast, beta)} | sgd(lr={lr * (1 + strength)}, momentum={slower})",
            ),
            (
                f"grad | {with_e(mixed, slower)} | sgd(lr={lr}, {m}, average='ema')",
                f"sgd(lr={lr}, momentum={slower}, average='ema')",
            ),
            (f"grad | {with_e(0, beta)} | noise(std=0) | {behind} | decay(rate=0)", behind),
            (f"grad | {e} | {behind}", f"grad | {e} | {behind} | lookahead(every=3, share=1)"),
        ]
        pairs.append(known[number % IDENTITIES])
    return [tuple(edsl.parse(text, stages=(Grokfast,)) for text in pair) for pair in pairs]


def with_e(alpha, beta1, buffers=1):
    return f"e(alpha={alpha}, beta1={beta1}, buffers={buffers})"


SAME, MAPPED, IDENTITIES = 117, 6, 13


def verdict(first, second):
    try:
        return compare(first, second).verdict
    except edsl.EdslError:
        return "refused"


@pytest.mark.filterwarnings("ignore:.* is not below")  # betas are random too
@pytest.mark.parametrize(("count", "seed"), [(120, 1), pytest.param(1000, 2, marks=pytest.mark.slow)])
def test_no_two_random_pipelines_are_falsely_called_equal_or_different(count, seed):
    """Each verdict against runs of the optimizers: equal ones never part, different ones do, on some gradients."""
    told = {"equal": 0, "linear part": 0, "different": 0, "refused": 0}
    for first, second in random_pairs(count, seed):
        found = verdict(first, second)
        told[found] += 1
        apart = parting(first, second) if found in ("equal", "different") else None
        if found == "equal":
            assert apart <= 1e-9, (first, second)
        if found == "different" and apart == 0:  # signs and bounds may agree on one quadratic
            assert compare(first, second).first_parting, (first, second)
    assert min(told.values()) > count / 30, told


def test_all_pairs_that_are_equal_by_construction_are_found():
    for number, pair in enumerate(same_pairs(SAME, seed=1)):
        assert compare(*pair).verdict == "equal", pair
        if number < IDENTITIES:
            assert parting(*pair) <= 1e-9, pair


def test_every_map_makes_the_second_take_the_firsts_steps():
    found = 0
    for first, second in random_pairs(MAPPED, seed=2):
        if verdict(first, second) in ("linear part", "different"):
            for values in compare(first, second).maps:
                found += 1
                assert parting(first, second.override(**values)) <= 1e-9, (first, second, values)
    assert found > 1


def test_maps_are_found_wherever_a_known_identity_has_one():
    """The second of two that are equal, with other numbers: there is a way back."""
    rng = random.Random(3)
    for first, second in same_pairs(IDENTITIES, seed=5):
        numbers = {key: value for key, value in second.hyperparameters.items() if value and not key.startswith("eps")}
        moved = second
        for key, value in numbers.items():
            with contextlib.suppress(edsl.EdslError):  # |α| < 1/(1−β₁)
                moved = moved.override(**{key: value * rng.uniform(0.6, 0.95)})
        found = find_map(first, moved)
        assert found is not None, (first, moved)
        assert parting(first, moved.override(**found)) <= 1e-9, (first, moved, found)


ALIKE_IN_PART = [
    ("sgd(weight_decay=0.3)", "sgd", "weight decay: weight_decay=0.3 in the first"),
    ("adam", "adam(beta3=0.5)", "√v̂, frozen in adam"),
    ("adam", "adam(eps1=1e-3)", "√v̂, frozen in adam"),
    ("adam", "adamw", "weight decay"),
    ("adam", "adabelief", "√v̂, frozen in adam and adabelief"),
    ("adam", "sgd(lr=0.001, momentum=0.9, average='ema')", "debiasing in adam"),
    ("adam(lr=0.1, beta2=0.99)", "grad | e(alpha=-80) | adam(lr=0.1, beta2=0.95)", "√v̂"),
    ("grad | e(start='first') | sgd", "grad | e | sgd", "the first step of e"),
    ("grad | noise(std=1) | sgd", "sgd", "noise, which is 0 on average"),
    ("grad(accumulate=2) | sgd", "sgd", "grad(accumulate=2) in the first, grad in the second"),
    ("spsa | sgd", "sgd", "the estimator: spsa"),
    ("spsa(seed=1) | sgd", "spsa | sgd", "the estimator: spsa"),
    ("rmsprop(lr=0.01, momentum=0.9)", "sgd(lr=0.01, momentum=0.9)", "√v̂, frozen in rmsprop"),
    ("lamb(lr=0.01, layerwise=False, bias_correction=False, weight_decay=0)", "adam(lr=0.01)", "debiasing in adam"),
    ("grad | e | lamb(layerwise=False, v_reads='g')", "grad | e | lamb(layerwise=False)", "what v reads"),
    ("grad | guard | sgd", "sgd", "gradients that are not finite, judged by guard"),
    ("sgd | ema_weights", "sgd", "the averaged weights"),
    ("sgd | decay", "sgd", "weight decay: weight_decay=0, rate=0.01 in the first"),
]


@pytest.mark.parametrize(("first", "second", "left_out"), ALIKE_IN_PART)
def test_what_a_linear_model_leaves_out_is_named_and_not_called_equal(first, second, left_out):
    found = compare(edsl.parse(first), edsl.parse(second))
    assert (found.verdict, found.equal) == ("linear part", False)
    assert any(left_out in line for line in found.left_out), found.left_out


def test_no_more_is_named_than_they_differ_in():
    found = compare(edsl.parse("adam | decay"), edsl.parse("grad | noise | adam"))
    assert [line.split(":")[0].split(",")[0] for line in found.left_out] == ["noise", "weight decay"]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("sgd(lr=0.1)", "sgd(lr=0.10000001)"),
        ("grad | e | sgd", "grad | e(beta1=0.990001) | sgd"),
        ("sgd(momentum=0.9)", "sgd(momentum=0.9, nesterov=True)"),
        ("sgd(momentum=0.9, nesterov=True)", "grad | e(alpha=-8.1, beta1=0.9) | sgd(lr=0.01, momentum=0.01)"),
        ("grad | e | lamb(layerwise=False, m_reads='g')", "grad | e | lamb(layerwise=False)"),
        ("adan(weight_decay=0.5)", "adan"),
        ("lion(lr=0.1)", "lion(lr=0.2)"),
        ("grad | clip(norm=1e6) | lamb", "grad | clip(norm=2e6) | lamb"),
        ("grad | clip(norm=1) | lamb", "grad | clip(value=1) | lamb"),
        ("emuon", "grad | e | route(matrix=muon, other=adamw(lr=0.1))"),
    ],
)
def test_different_pipelines_are_different(first, second):
    assert compare(edsl.parse(first), edsl.parse(second)).verdict == "different"


@pytest.mark.parametrize(
    "spec",
    ["lion", "muon", "emuon", "esoap", "alto", "sam | e | sgd", "eadahessian", "ezo", "torch.AdamW(lr=0.1)",
     "grad | guard | clip(norm=1) | lion | caution | ema_weights", "grad(accumulate=2) | noise | sgd | lookahead"],
)  # fmt: skip
def test_a_pipeline_equals_itself_whatever_it_holds(spec):
    assert compare(edsl.parse(spec), edsl.parse(f"({spec})")).equal


@pytest.mark.parametrize("text", RECIPES)
def test_a_recipe_equals_its_text(text):
    assert compare(edsl.parse(text), edsl.parse(RECIPES[text].text)).equal


@pytest.mark.parametrize(
    "behind", ["muon", "shampoo", "soap", "lion | caution", "torch.AdamW(lr=0.1)", "clip(value=0.1) | adam",
               "route(matrix=muon, other=adamw)", "sgd | lookahead(every=1000)"],
)  # fmt: skip
def test_what_stands_behind_e_need_not_be_linear(behind):
    one, two = (edsl.parse(f"grad | e(buffers={buffers}) | {behind}") for buffers in (1, 2))
    found = compare(one, two)
    assert found.equal
    assert [relation.name for relation in found.relations] == ["one buffer for two"]


@pytest.mark.parametrize(
    ("first", "second", "name", "source"),
    [
        ("sgd(lr=0.1, momentum=0.9)", "grad | e(alpha=-9, beta1=0.9) | sgd(lr=1)", "heavy ball", "Polyak 1964"),
        ("grad | e(alpha=-8.1, beta1=0.9) | sgd(lr=1)", "sgd(lr=0.1, momentum=0.9, nesterov=True)", "Nesterov", "1983"),
        ("grad | e(alpha=-5, beta1=0.5, unchecked=True) | sgd", "qhm(lr=0.001, momentum=0.5, nu=5)", "QHM", "Yarats"),
        (
            "grad | e | e(alpha=1, beta1=0.2) | lion",
            "grad | e(alpha=1, beta1=0.2) | e | lion",
            "reordered E's",
            "eq. 3",
        ),
    ],
)
@pytest.mark.filterwarnings("ignore:e. .alpha. >=")
def test_known_relations_are_named_with_their_sources(first, second, name, source):
    found = compare(edsl.parse(first), edsl.parse(second))
    assert found.equal
    assert [relation.name for relation in found.relations] == [name]
    assert source in found.relations[0].source


def test_reordered_es_that_begin_otherwise_are_not_equal():
    texts = ["e(start='first')", "e(alpha=1, beta1=0.2)"]
    one, two = edsl.parse(f"grad | {' | '.join(texts)} | sgd"), edsl.parse(f"grad | {' | '.join(texts[::-1])} | sgd")
    assert compare(one, two).verdict == "linear part"
    assert parting(one, two) > 1e-9


def test_grokfast_is_e():
    """g + λ·EMA_β(g) is 1+λ times E with α = −λβ/((1+λ)(1−β)), β₁ = β; the relation gives β and λ back."""
    for beta, strength in ((0.98, 2.0), (0.9, 5.0), (0.5, 0.3)):
        alpha = -strength * beta / ((1 + strength) * (1 - beta))
        adapted = edsl.parse(f"grad | e(alpha={alpha}, beta1={beta}) | adam(eps1=0, weight_decay=0)")
        relation = next(one for one in relations(adapted) if one.name == "Grokfast-EMA")
        assert f"λ = {strength:g}, EMA decay {beta:g}" in relation.statement
        assert relation.source == "Lee et al. 2024"
        grokfast = f"grad | grokfast(beta={beta}, strength={strength}) | adam(eps1=0, weight_decay=0)"
        assert compare(edsl.parse(grokfast, stages=(Grokfast,)), adapted).equal


MAPS = [
    ("sgd(lr=0.1, momentum=0.9, nesterov=True)", "grad | e | sgd", {"alpha": -8.1, "beta1": 0.9, "lr": 1.0}),
    ("sgd(lr=0.1, momentum=0.9)", "grad | e | sgd", {"alpha": -9.0, "beta1": 0.9, "lr": 1.0}),
    ("grad | e(alpha=-3, beta1=0.7) | sgd(lr=0.2)", "qhm", {"lr": 0.2, "momentum": 0.7, "nu": 9 / 7}),
    ("grad | e(alpha=-5, beta1=0.9) | adan(lr=0.1)", "grad | e(alpha=-1, beta1=0.8) | adan(lr=0.2)",
     {"alpha": -5.0, "beta1": 0.9, "lr": 0.1}),
    ("adan(weight_decay=0.5)", "adan", {"weight_decay": 0.5}),
    ("sgd(lr=0.1, weight_decay=0.2)", "sgd | decay", {"lr": 0.1, "rate": 0.2}),
    ("sgd(lr=0.1, momentum=0.9)", "sgd", {"lr": 0.1, "momentum": 0.9}),
    ("sgd(lr=0.1)", "grad | e | sgd", {"alpha": 0.0, "lr": 0.1}),
    ("adam", "adam(beta3=0.5)", {"beta3": 0.999}),
    ("alto", "grad | e(alpha=0) | lamb(lr=1)", {"alpha": -5.0, "lr": 0.01}),
]  # fmt: skip


@pytest.mark.parametrize(("first", "second", "values"), MAPS)
def test_maps_are_found(first, second, values):
    one, two = edsl.parse(first), edsl.parse(second)
    (found,) = compare(one, two).maps
    assert found == pytest.approx(values, rel=1e-12)
    assert parting(one, two.override(**found)) <= 1e-9


def test_pipelines_without_a_map_say_where_they_differ():
    found = compare(edsl.parse("esgd(lr=0.1)"), edsl.parse("sgd(lr=0.1)"))
    assert found.verdict == "different"
    assert found.maps == ()
    assert found.first_difference == (0, pytest.approx(0.095), pytest.approx(0.1))


@pytest.mark.parametrize(
    ("first", "second", "reason"),
    [
        ("alto", "sgd", "lamb has no linear model: a factor that depends on the layer's norm"),
        ("sam | sgd", "sgd", "sam has no linear model"),
        ("torch.AdamW(lr=0.1)", "adamw(lr=0.1)", "torch.AdamW is another package's optimizer"),
        ("emuon", "muon", "parameters are led apart, to matrix, other and to no routes"),
        ("route(matrix=muon, other=sgd)", "route(matrix=muon, vector=sgd)", "parameters are led apart"),
    ],
)
def test_what_cannot_be_compared_is_named(first, second, reason):
    with pytest.raises(NotLinear, match=reason):
        compare(edsl.parse(first), edsl.parse(second))


@dataclass(frozen=True)
class TorchOnly(Adaptor):
    name = "torch_only"

    def step(self, x, memory, at):
        return torch.tanh(x), memory


@dataclass(frozen=True)
class Fading(Adaptor):
    name = "fading"
    rate: float = field(1.0, Number())

    def step(self, x, memory, at):
        return x * (1 + self.rate / at.k), memory


def test_a_plugin_that_cannot_be_read_or_changes_with_k_is_refused_by_name():
    def parsed(text):
        return edsl.parse(text, stages=(TorchOnly, Fading))

    with pytest.raises(edsl.EdslError, match="torch_only can't be read: TypeError"):
        compare(parsed("grad | torch_only | sgd"), parsed("sgd"))
    with pytest.raises(edsl.EdslError, match="has no linear model"):
        compare(parsed("grad | fading | sgd"), parsed("sgd"))
    assert compare(parsed("grad | fading | e(buffers=2) | sgd"), parsed("grad | fading | e | sgd")).equal
    assert compare(parsed("grad | fading | lion"), parsed("grad | fading(rate=2) | lion")).verdict == "different"


@pytest.mark.parametrize("name", [name for name in STAGES if name != "route"])
def test_extreme_numbers_give_a_verdict_or_an_edsl_error(name):
    rng = random.Random(name)
    own = edsl.parse(pipeline_with(name))
    other = own
    for key in own.hyperparameters:
        with contextlib.suppress(edsl.EdslError):  # outside its domain
            other = other.override(**{key: drawn(rng, 0, 1e-300, 1e-9, 1 - 1e-9, 1, -3, 1e300)})
    with contextlib.suppress(edsl.EdslError):  # and nothing else
        found = compare(own, other)
        assert found.verdict == "equal" or found.left_out or found.first_parting or found.first_difference
        assert isinstance(found.maps, tuple)


def command(capsys, monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["edsl", "equivalent", *words])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return ended.value.code, capsys.readouterr().out


def test_the_command_has_three_verdicts_and_three_exit_codes(capsys, monkeypatch):
    def told(*words):
        return command(capsys, monkeypatch, *words)

    code, out = told("sgd(lr=0.1, momentum=0.9)", "grad | e(alpha=-9, beta1=0.9) | sgd(lr=1)")
    assert code == 0
    for part in ("Equal: the same steps", "heavy ball", "Polyak 1964", "20 steps of a small network in float64"):
        assert part in out
    code, out = told("sgd(lr=0.1, momentum=0.9)", "grad | e | sgd")
    assert (code, "With alpha=-9, beta1=0.9, lr=1 the second takes" in out) == (1, True)
    code, out = told("adam", "adamw", "--json")
    found = json.loads(out)
    assert (code, found["verdict"], found["equal"]) == (3, "linear part", False)
    assert found["maps"] == [{"weight_decay": 0}]
    code, out = told("muon(lr=0.1)", "muon", "--json")
    found = json.loads(out)
    assert (code, found["verdict"], found["maps"]) == (1, "different", [{"lr": 0.1}])
    assert found["run"]["parted"]["step"] == 1
    code, out = told("torch.AdamW(lr=0.1)", "torch.AdamW(lr=0.1)", "--json")
    assert (code, json.loads(out)["equal"]) == (0, True)
    assert told("torch.AdamW(lr=0.1)", "torch.AdamW(lr=0.1)")[1].startswith("Equal")
